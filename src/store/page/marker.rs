//! Markers: where a page ended, as clients send it for the next page.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rusqlite::types::Value as Sql;
use serde_json::{Value, json};

use super::super::StoreError;
use super::super::error::TransactionError;

/// Where a page ended: opaque to clients, and good only for the order it was made for.
#[derive(Debug, Clone, PartialEq)]
pub struct Marker {
    sort: String,
    value: Value,
    row: i64,
}

/// A text that is no marker of this list in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the marker is not one that a page of this list gave: begin again without it")]
pub struct InvalidMarker;

impl fmt::Display for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = json!([self.sort, self.value, self.row]).to_string();
        write!(f, "m{}", URL_SAFE_NO_PAD.encode(text))
    }
}

impl FromStr for Marker {
    type Err = InvalidMarker;

    fn from_str(text: &str) -> Result<Self, InvalidMarker> {
        let encoded = text.strip_prefix('m').ok_or(InvalidMarker)?;
        let bytes = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| InvalidMarker)?;
        let (sort, value, row) = serde_json::from_slice(&bytes).map_err(|_| InvalidMarker)?;
        Ok(Self { sort, value, row })
    }
}

impl Marker {
    /// After this row of a list that is sorted by `sort`.
    pub(super) fn at(sort: &str, value: Sql, row: i64) -> Self {
        let value = match value {
            Sql::Integer(number) => number.into(),
            Sql::Text(text) => text.into(),
            _ => Value::Null,
        };
        Self { sort: sort.to_owned(), value, row }
    }

    /// The row's value and number, for a list that is sorted by `sort`.
    pub(super) fn place(&self, sort: &str) -> Result<[Sql; 2], TransactionError> {
        let value = match &self.value {
            _ if self.sort != sort => None,
            Value::String(text) => Some(Sql::Text(text.clone())),
            Value::Number(number) => number.as_i64().map(Sql::Integer),
            _ => None,
        };
        let value = value.ok_or(TransactionError::Store(StoreError::Marker(InvalidMarker)))?;
        Ok([value, self.row.into()])
    }
}
