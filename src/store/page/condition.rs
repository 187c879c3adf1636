//! The conditions of a WHERE clause.

use std::fmt;

use rusqlite::types::Value as Sql;

use super::field::{FieldKind, Filter, Modifier, Operand};

/// Conditions that must all hold, and the values in them.
#[derive(Default)]
pub(super) struct Conditions {
    text: Vec<String>,
    pub(super) parameters: Vec<Sql>,
}

impl fmt::Display for Conditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.text.is_empty() { Ok(()) } else { write!(f, "WHERE {}", self.all()) }
    }
}

impl Conditions {
    /// As one expression.
    pub(super) fn all(&self) -> String {
        if self.text.is_empty() { "1".to_owned() } else { self.text.join(" AND ") }
    }

    pub(super) fn add(&mut self, condition: String) {
        self.text.push(condition);
    }

    /// `finds`: SQLite may look up rows by it.
    pub(super) fn filter(&mut self, filter: &Filter, finds: bool) {
        let sign = if finds { "" } else { "+" };
        let column = format!("{sign}{}", filter.field.column);
        let collation = if filter.field.kind == FieldKind::Text { " COLLATE NOCASE" } else { "" };
        // the columns that have a collation of their own, and those of indexes, keep it
        let collation = if filter.field.is_looked_up { "" } else { collation };
        let compare = |operator: &str| format!("{column} {operator} ?{collation}");
        let condition = match (filter.comparison.modifier(), filter.comparison.operand()) {
            // those that are looked up are never NULL
            (Modifier::Null, _) if filter.field.is_looked_up && filter.field.kind == FieldKind::Text => {
                format!("{column} = ''")
            }
            (Modifier::Null, _)
                if filter.field.is_looked_up
                    && matches!(filter.field.kind, FieldKind::Time | FieldKind::Number) =>
            {
                format!("{column} = 0")
            }
            (Modifier::Null, _) => format!("coalesce({}, '') IN ('', 0)", filter.field.column),
            (Modifier::Notnull, _) => format!("coalesce({}, '') NOT IN ('', 0)", filter.field.column),
            (Modifier::Ne, Operand::Nothing) => return,
            (_, Operand::Nothing | Operand::None) => "0".to_owned(),
            (modifier, Operand::Owner(account, environment)) => {
                self.parameters.extend([account.map_or(Sql::Null, Sql::Integer), environment.clone().into()]);
                let not = if modifier == Modifier::Ne { "NOT " } else { "" };
                // 0 is no row: a NULL in a NOT IN would make it true for none
                format!(
                    "{column} {not}IN (coalesce(?, 0), coalesce((SELECT -row FROM environments WHERE id = ?), 0))"
                )
            }
            (_, Operand::AnyOf(texts)) => {
                self.parameters.extend(texts.iter().map(|text| Sql::from(text.clone())));
                format!("{column} IN ({})", vec!["?"; texts.len()].join(", "))
            }
            (Modifier::Prefix, Operand::Text(text)) => {
                self.parameters.extend([text.clone().into(), format!("{text}\u{10ffff}").into()]);
                format!("{column} >= ?{collation} AND {column} < ?{collation}")
            }
            (modifier, operand) => {
                self.parameters.push(match operand {
                    Operand::Number(number) => (*number).into(),
                    Operand::Text(text) => text.clone().into(),
                    _ => Sql::Null,
                });
                // no time is 0, and comes before none
                let after_none = if filter.field.kind == FieldKind::Time
                    && matches!(modifier, Modifier::Lt | Modifier::Lte)
                {
                    format!(" AND {column} > 0")
                } else {
                    String::new()
                };
                match modifier {
                    Modifier::Ne => compare("<>"),
                    Modifier::Lt => compare("<") + &after_none,
                    Modifier::Lte => compare("<=") + &after_none,
                    Modifier::Gt => compare(">"),
                    Modifier::Gte => compare(">="),
                    Modifier::Like => format!("{column} LIKE ?"),
                    Modifier::Notlike => format!("coalesce({column}, '') NOT LIKE ?"),
                    _ => compare("="),
                }
            }
        };
        self.add(condition);
    }

    pub(super) fn search(&mut self, columns: &[&str], text: &str) {
        let pattern = format!("%{}%", text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_"));
        let any: Vec<_> = columns.iter().map(|column| format!("+{column} LIKE ? ESCAPE '\\'")).collect();
        self.parameters.extend(columns.iter().map(|_| Sql::from(pattern.clone())));
        self.add(format!("({})", any.join(" OR ")));
    }
}
