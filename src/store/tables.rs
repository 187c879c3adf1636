//! The record's tables and their plain rows, which are copied between PostgreSQL and SQLite.
//!
//! Both have the same tables with the same columns, so that one list of columns serves for both.

use bytes::BytesMut;
use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, Row, params_from_iter};
use tokio_postgres::types::{self as pg, IsNull, Type};

use super::error::TransactionError;

/// One value.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Cell {
    Null,
    Int(i64),
    Text(String),
    Bytes(Vec<u8>),
}

/// Rows hold what verifies secrets, so a cell prints nothing.
impl std::fmt::Debug for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("..")
    }
}

/// A row's values, in the order of its table's columns.
pub(super) type TableRow = Vec<Cell>;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ColumnType {
    Int,
    Text,
    Bytes,
}

/// A table of the record.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) columns: &'static [(&'static str, ColumnType)],
    /// How many of the first columns are the primary key.
    key_columns: usize,
    /// Whether rows are only added, and never change.
    is_log: bool,
}

use ColumnType::{Bytes, Int, Text};

pub(super) const ACCOUNTS: Table = Table {
    name: "accounts",
    columns: &[
        ("id", Int),
        ("name", Text),
        ("description", Text),
        ("kind", Text),
        ("state", Text),
        ("uuid", Text),
        ("created", Int),
        ("removed", Int),
        ("revision", Int),
    ],
    key_columns: 1,
    is_log: false,
};

pub(super) const ENVIRONMENTS: Table = Table {
    name: "environments",
    columns: &[
        ("\"row\"", Int),
        ("id", Text),
        ("name", Text),
        ("description", Text),
        ("state", Text),
        ("uuid", Text),
        ("created", Int),
        ("removed", Int),
        ("revision", Int),
    ],
    key_columns: 1,
    is_log: false,
};

pub(super) const MEMBERSHIPS: Table = Table {
    name: "memberships",
    columns: &[("account", Int), ("environment", Int), ("role", Text)],
    key_columns: 2,
    is_log: false,
};

pub(super) const KEYS: Table = Table {
    name: "keys",
    columns: &[
        ("id", Int),
        ("access_key", Text),
        ("account", Int),
        ("environment", Int),
        ("name", Text),
        ("description", Text),
        ("state", Text),
        ("uuid", Text),
        ("phc", Text),
        ("created", Int),
        ("expires", Int),
        ("scope", Text),
        ("secret_since", Int),
        ("former_phc", Text),
        ("former_since", Int),
        ("former_ends", Int),
        ("former_idle", Int),
        ("removed", Int),
        ("revision", Int),
        ("\"inner\"", Text),
        ("former_inner", Text),
    ],
    key_columns: 1,
    is_log: false,
};

pub(super) const CHANGES: Table = Table {
    name: "changes",
    columns: &[
        ("number", Int),
        ("at", Int),
        ("subject", Text),
        ("object", Text),
        ("action", Text),
        ("content", Text),
        ("hash", Bytes),
    ],
    key_columns: 1,
    is_log: true,
};

pub(super) const AUDIT: Table = Table {
    name: "audit",
    columns: &[
        ("id", Int),
        ("at", Int),
        ("via", Text),
        ("actor", Text),
        ("access_key", Text),
        ("address", Text),
        ("request", Text),
        ("action", Text),
        ("subject", Text),
        ("object", Text),
        ("outcome", Text),
        ("reason", Text),
        ("change", Int),
        ("before", Text),
        ("after", Text),
    ],
    key_columns: 1,
    is_log: true,
};

/// In PostgreSQL the row holds the pepper's id. In SQLite, [`super::uses_and_fingerprints`] writes these.
pub(super) const FINGERPRINTS: Table = Table {
    name: "fingerprints",
    columns: &[("key", Int), ("secret", Int), ("pepper", Bytes), ("mac", Bytes)],
    key_columns: 2,
    is_log: false,
};

/// In PostgreSQL only; in SQLite they are columns of `keys`.
pub(super) const KEY_USES: Table = Table {
    name: "key_uses",
    columns: &[("key", Int), ("last_used", Int), ("address", Text), ("uses", Int)],
    key_columns: 1,
    is_log: false,
};

/// Since the last rotation, for both secrets of a key. As long as there are two.
pub(super) const SECRET_USES: Table = Table {
    name: "secret_uses",
    columns: &[("key", Int), ("secret", Int), ("last_used", Int), ("address", Text), ("uses", Int)],
    key_columns: 2,
    is_log: false,
};

impl Table {
    /// The columns' names, with commas between them.
    pub(super) fn column_names(&self) -> String {
        self.columns.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    }

    /// What to do if there is a row with this key already.
    fn on_conflict(&self) -> String {
        let (key, others) = self.columns.split_at(self.key_columns);
        let names = |columns: &[(&'static str, ColumnType)], format: fn(&str) -> String| {
            columns.iter().map(|(name, _)| format(name)).collect::<Vec<_>>().join(", ")
        };
        if self.is_log {
            // rows of a log never change: adding one twice is an error
            return String::new();
        }
        format!(
            " ON CONFLICT ({}) DO UPDATE SET {}",
            names(key, str::to_owned),
            names(others, |name| format!("{name} = excluded.{name}"))
        )
    }

    /// Writes a row into SQLite, in place of an older one with its key.
    pub(super) fn upsert(&self, connection: &Connection, cells: &[Cell]) -> Result<(), TransactionError> {
        let places = vec!["?"; self.columns.len()].join(", ");
        let statement = format!(
            "INSERT INTO {} ({}) VALUES ({places}){}",
            self.name,
            self.column_names(),
            self.on_conflict()
        );
        connection.prepare_cached(&statement)?.execute(params_from_iter(cells))?;
        Ok(())
    }

    /// Reads rows from SQLite.
    pub(super) fn select(
        &self,
        connection: &Connection,
        rest: &str,
        parameters: impl IntoIterator<Item = Cell>,
    ) -> Result<Vec<TableRow>, TransactionError> {
        let statement = format!("SELECT {} FROM {} {rest}", self.column_names(), self.name);
        let mut statement = connection.prepare_cached(&statement)?;
        let found = statement.query_map(params_from_iter(parameters), |row| self.read_row(row))?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    /// A row of SQLite that begins with this table's columns.
    pub(super) fn read_row(&self, row: &Row<'_>) -> rusqlite::Result<TableRow> {
        (0..self.columns.len())
            .map(|at| {
                Ok(match row.get_ref(at)? {
                    ValueRef::Null => Cell::Null,
                    ValueRef::Integer(number) => Cell::Int(number),
                    ValueRef::Text(_) => Cell::Text(row.get(at)?),
                    ValueRef::Blob(bytes) => Cell::Bytes(bytes.to_vec()),
                    ValueRef::Real(_) => {
                        let name = self.columns[at].0.to_owned();
                        return Err(rusqlite::Error::InvalidColumnType(
                            at,
                            name,
                            rusqlite::types::Type::Real,
                        ));
                    }
                })
            })
            .collect()
    }

    /// The statement that writes many rows into PostgreSQL: its parameters are [`Table::column_arrays`].
    pub(super) fn upsert_many(&self) -> String {
        let arrays = self.columns.iter().enumerate().map(|(at, (_, kind))| {
            let of = match kind {
                Int => "bigint",
                Text => "text",
                Bytes => "bytea",
            };
            format!("${}::{of}[]", at + 1)
        });
        let arrays = arrays.collect::<Vec<_>>().join(", ");
        format!(
            "INSERT INTO {} ({}) SELECT * FROM unnest({arrays}){}",
            self.name,
            self.column_names(),
            self.on_conflict()
        )
    }

    /// The rows column by column, for [`Table::upsert_many`].
    pub(super) fn column_arrays(&self, rows: &[TableRow]) -> Vec<Vec<Cell>> {
        (0..self.columns.len()).map(|at| rows.iter().map(|row| row[at].clone()).collect()).collect()
    }

    /// The types of [`Table::column_arrays`] in PostgreSQL.
    pub(super) fn array_types(&self) -> impl Iterator<Item = Type> {
        self.columns.iter().map(|(_, kind)| match kind {
            Int => Type::INT8_ARRAY,
            Text => Type::TEXT_ARRAY,
            Bytes => Type::BYTEA_ARRAY,
        })
    }

    /// A row of PostgreSQL that begins with this table's columns.
    pub(super) fn read_postgres_row(
        &self,
        row: &tokio_postgres::Row,
    ) -> Result<TableRow, tokio_postgres::Error> {
        (0..self.columns.len()).map(|at| row.try_get(at)).collect()
    }

    /// The types of the columns in PostgreSQL.
    pub(super) fn types(&self) -> Vec<Type> {
        let of = |kind: &ColumnType| match kind {
            Int => Type::INT8,
            Text => Type::TEXT,
            Bytes => Type::BYTEA,
        };
        self.columns.iter().map(|(_, kind)| of(kind)).collect()
    }
}

impl rusqlite::ToSql for Cell {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Null => ToSqlOutput::Owned(Value::Null),
            Self::Int(number) => ToSqlOutput::Owned(Value::Integer(*number)),
            Self::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            Self::Bytes(bytes) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
        })
    }
}

type Boxed = Box<dyn std::error::Error + Sync + Send>;

impl pg::ToSql for Cell {
    fn to_sql(&self, of: &Type, out: &mut BytesMut) -> Result<IsNull, Boxed> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Int(number) => number.to_sql(of, out),
            Self::Text(text) => text.to_sql(of, out),
            Self::Bytes(bytes) => bytes.to_sql(of, out),
        }
    }

    fn accepts(of: &Type) -> bool {
        matches!(*of, Type::INT8 | Type::TEXT | Type::BYTEA)
    }

    pg::to_sql_checked!();
}

impl<'a> pg::FromSql<'a> for Cell {
    fn from_sql(of: &Type, raw: &'a [u8]) -> Result<Self, Boxed> {
        Ok(match *of {
            Type::INT8 => Self::Int(i64::from_sql(of, raw)?),
            Type::BYTEA => Self::Bytes(raw.to_vec()),
            _ => Self::Text(String::from_sql(of, raw)?),
        })
    }

    fn from_sql_null(_: &Type) -> Result<Self, Boxed> {
        Ok(Self::Null)
    }

    fn accepts(of: &Type) -> bool {
        matches!(*of, Type::INT8 | Type::TEXT | Type::BYTEA)
    }
}
