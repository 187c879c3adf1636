//! The fields that lists are filtered and sorted by, and comparisons of their values.

use std::str::FromStr;

use jiff::Timestamp;

use crate::model::AccountId;

/// A field by which lists are filtered and sorted.
#[derive(Debug)]
pub struct Field {
    /// Its name in the API.
    pub name: &'static str,
    /// What its values are.
    pub kind: FieldKind,
    /// What filters compare.
    pub(super) column: &'static str,
    /// What the list is sorted by; `None`: it cannot be.
    pub(super) order: Option<&'static str>,
    /// Whether an index finds equal values, and ranges of them.
    pub(super) is_looked_up: bool,
}

/// What a field's values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldKind {
    /// Free text, compared without regard to case.
    Text,
    /// One of a few words, or a text that is compared byte for byte.
    Word,
    /// A number with this prefix.
    Id(&'static str),
    /// Milliseconds; 0 or NULL is none.
    Time,
    /// An account or an environment.
    Owner,
    /// A count.
    Number,
}

/// One condition.
#[derive(Debug, Clone)]
pub struct Filter {
    /// What is compared.
    pub field: &'static Field,
    /// How, and with what.
    pub comparison: Comparison,
}

impl Filter {
    /// That a field of texts is one of these.
    pub fn any_of(field: &'static Field, values: Vec<String>) -> Self {
        Self { field, comparison: Comparison { modifier: Modifier::Eq, operand: Operand::AnyOf(values) } }
    }

    /// Whether the rows that match it are next to each other in an index.
    pub(super) fn is_a_range(&self) -> bool {
        use Modifier::{Like, Ne, Notlike, Notnull, Null};
        let is_one = match self.comparison.modifier {
            Ne | Like | Notlike | Notnull => false,
            Null => matches!(self.field.kind, FieldKind::Text | FieldKind::Time | FieldKind::Number),
            _ => true,
        };
        self.field.is_looked_up && is_one
    }
}

/// How a field is compared; the words are those of the API's modifiers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Modifier {
    /// Equal.
    Eq,
    /// Not equal.
    Ne,
    /// Less.
    Lt,
    /// Less or equal.
    Lte,
    /// Greater.
    Gt,
    /// Greater or equal.
    Gte,
    /// Begins with.
    Prefix,
    /// SQL's LIKE.
    Like,
    /// Not SQL's LIKE.
    Notlike,
    /// Has no value.
    Null,
    /// Has a value.
    Notnull,
}

impl Modifier {
    /// Every modifier, in the order of the API's documents.
    pub const ALL: [Self; 11] = [
        Self::Eq,
        Self::Ne,
        Self::Lt,
        Self::Lte,
        Self::Gt,
        Self::Gte,
        Self::Prefix,
        Self::Like,
        Self::Notlike,
        Self::Null,
        Self::Notnull,
    ];

    /// The word in a query string.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Eq => "eq",
            Self::Ne => "ne",
            Self::Lt => "lt",
            Self::Lte => "lte",
            Self::Gt => "gt",
            Self::Gte => "gte",
            Self::Prefix => "prefix",
            Self::Like => "like",
            Self::Notlike => "notlike",
            Self::Null => "null",
            Self::Notnull => "notnull",
        }
    }
}

/// A modifier with its value.
#[derive(Debug, Clone)]
pub struct Comparison {
    pub(super) modifier: Modifier,
    pub(super) operand: Operand,
}

#[derive(Debug, Clone)]
pub(super) enum Operand {
    None,
    Text(String),
    Number(i64),
    /// Any of these texts.
    AnyOf(Vec<String>),
    /// The account with this number, if it can be one, or the environment with this id.
    Owner(Option<i64>, String),
    /// No row has such a value.
    Nothing,
}

/// A filter value that is not a date.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{value}' is no date: use RFC 3339 (2026-01-05T10:20:30Z) or milliseconds since 1970")]
pub struct InvalidDate {
    /// What was given.
    pub value: String,
}

impl Comparison {
    pub(in crate::store) fn modifier(&self) -> Modifier {
        self.modifier
    }

    pub(super) fn operand(&self) -> &Operand {
        &self.operand
    }

    /// The account's number and the environment's id, for a field that is an owner.
    pub(in crate::store) fn owner(&self) -> Option<(Option<i64>, &str)> {
        match &self.operand {
            Operand::Owner(account, environment) => Some((*account, environment)),
            _ => None,
        }
    }
}

impl Field {
    /// Whether lists can be sorted by it.
    pub fn is_sortable(&self) -> bool {
        self.order.is_some()
    }

    /// The modifiers that it can be filtered with.
    pub fn modifiers(&self) -> &'static [Modifier] {
        use Modifier::{Eq, Gt, Gte, Like, Lt, Lte, Ne, Notlike, Notnull, Null, Prefix};
        match self.kind {
            FieldKind::Text => &[Eq, Ne, Prefix, Like, Notlike, Null, Notnull],
            FieldKind::Word | FieldKind::Owner => &[Eq, Ne, Null, Notnull],
            FieldKind::Id(_) | FieldKind::Time | FieldKind::Number => {
                &[Eq, Ne, Lt, Lte, Gt, Gte, Null, Notnull]
            }
        }
    }

    /// Reads how, and with what, a filter compares. An id that is none is no error: no row has it.
    pub fn parse_comparison(&self, modifier: Modifier, value: &str) -> Result<Comparison, InvalidDate> {
        let operand = match (modifier, self.kind) {
            (Modifier::Null | Modifier::Notnull, _) => Operand::None,
            (_, FieldKind::Text | FieldKind::Word) => Operand::Text(value.to_owned()),
            (_, FieldKind::Id(prefix)) => value
                .strip_prefix(prefix)
                .and_then(|n| n.parse().ok())
                .map_or(Operand::Nothing, Operand::Number),
            (_, FieldKind::Number) => value.parse().map_or(Operand::Nothing, Operand::Number),
            (_, FieldKind::Time) => Operand::Number(milliseconds(value)?),
            (_, FieldKind::Owner) => {
                let account = AccountId::from_str(value).ok().map(AccountId::row);
                Operand::Owner(account, value.to_owned())
            }
        };
        Ok(Comparison { modifier, operand })
    }
}

fn milliseconds(value: &str) -> Result<i64, InvalidDate> {
    let date = || value.parse::<Timestamp>().ok().map(Timestamp::as_millisecond);
    let number = value.bytes().all(|byte| byte.is_ascii_digit()).then(|| value.parse().ok()).flatten();
    number.or_else(date).ok_or_else(|| InvalidDate { value: value.to_owned() })
}

pub(super) const fn field(
    name: &'static str,
    kind: FieldKind,
    column: &'static str,
    order: Option<&'static str>,
    is_looked_up: bool,
) -> Field {
    Field { name, kind, column, order, is_looked_up }
}
