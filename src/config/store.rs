//! `store:`: where keys, accounts and environments are kept.

use std::path::PathBuf;

/// The record of keys, accounts and environments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Store {
    /// The embedded store: one SQLite file.
    Sqlite {
        /// The database's file.
        path: PathBuf,
    },
}

impl Store {
    /// The database's file.
    pub fn path(&self) -> &std::path::Path {
        let Self::Sqlite { path } = self;
        path
    }
}
