//! `store:`: where keys, accounts and environments are kept.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::environment_variables::substitute;
use super::reader::{Files, Reader};
use super::yaml::{Node, Value};
use super::{DEFAULT_MAX_STALENESS, Postgres, postgres};

/// The record of keys, accounts and environments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Store {
    /// The embedded store: one SQLite file.
    Sqlite {
        /// The database's file.
        path: PathBuf,
    },
    /// PostgreSQL, with a replica of this gateway's own.
    Postgres(Box<Postgres>),
}

impl Store {
    /// The file that the request path reads.
    pub fn path(&self) -> &Path {
        match self {
            Self::Sqlite { path } => path,
            Self::Postgres(postgres) => &postgres.replica,
        }
    }
}

/// Reads nothing of a configuration but where its [`Store::path`] is.
pub(super) fn read_path(reader: &mut Reader<'_>, root: Node) -> Option<PathBuf> {
    let position = root.position;
    let path = root.into_value_of("store").and_then(|store| match &store.value {
        Value::Map(entries) if entries.iter().any(|entry| entry.key == "postgres") => {
            store.into_value_of("postgres")?.into_value_of("replica")
        }
        _ => store.into_value_of("sqlite"),
    });
    let Some(mut path) = path else {
        reader.error_at(position, "", "the setting 'store.sqlite' or 'store.postgres.replica' is missing");
        return None;
    };
    substitute(reader, &mut path);
    reader.path(&path)
}

/// What `store:` says.
pub(super) struct Section {
    pub(super) store: Store,
    pub(super) max_staleness: Duration,
    pub(super) gateway: Option<String>,
}

/// Reads `store:`: the record, `max_staleness` and `gateway`.
pub(super) fn read(reader: &mut Reader<'_>, node: &Node) -> Option<Section> {
    let section = reader.section(node, &["sqlite", "postgres", "max_staleness", "gateway"])?;
    let mut max_staleness = DEFAULT_MAX_STALENESS;
    reader.set(&mut max_staleness, section.get("max_staleness"), |reader, node| {
        reader.duration(node, Duration::from_millis(100)..=Duration::from_hours(24))
    });
    let mut gateway = None;
    reader.set(&mut gateway, section.get("gateway"), |reader, node| {
        let name = |text: &str| {
            let is_name = text.len() <= 100 && !text.chars().any(char::is_control);
            is_name.then(|| text.to_owned())
        };
        reader.parsed(node, "a name of at most 100 bytes", name).map(Some)
    });
    let store = match (section.entry("sqlite"), section.entry("postgres")) {
        (Some(_), Some(second)) => {
            reader.error_at(
                second.position,
                &second.node.path,
                "the record is one: give 'sqlite' or 'postgres'",
            );
            return None;
        }
        (None, Some(entry)) => Store::Postgres(Box::new(postgres::read(reader, &entry.node)?)),
        (sqlite, None) => {
            if sqlite.is_none() {
                reader.error(section.node, "the setting 'sqlite' or 'postgres' is missing");
            }
            let sqlite = &sqlite?.node;
            let path = reader.path(sqlite)?;
            if reader.files == Files::Check && !path.is_file() {
                reader.error(
                    sqlite,
                    format!(
                        "there is no store '{}': 'portcullis init' makes a new one, without any keys; a lost one comes \
                         from a backup",
                        path.display()
                    ),
                );
            }
            Store::Sqlite { path }
        }
    };
    Some(Section { store, max_staleness, gateway })
}
