//! `store:`: where keys, accounts and environments are kept.

use std::path::PathBuf;
use std::time::Duration;

use super::DEFAULT_MAX_STALENESS;
use super::node::Node;
use super::reader::{Files, Reader};

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

/// Reads `store:`: the record, and `max_staleness`.
pub(super) fn read(reader: &mut Reader<'_>, node: &Node) -> Option<(Store, Duration)> {
    let section = reader.section(node, &["sqlite", "postgres", "max_staleness"])?;
    let mut max_staleness = DEFAULT_MAX_STALENESS;
    reader.set(&mut max_staleness, section.get("max_staleness"), |reader, node| {
        reader.duration(node, Duration::from_millis(100)..=Duration::from_hours(24))
    });
    if let Some(entry) = section.entry("postgres") {
        if let Some(postgres) = reader.section(&entry.node, &["url", "replica"]) {
            for key in ["url", "replica"] {
                if let Some(node) = reader.required(&postgres, key) {
                    reader.text(node, "text");
                }
            }
        }
        reader.error_at(
            entry.place,
            &entry.node.path,
            "this build has only the embedded store: expected 'sqlite' with the path of a file",
        );
        return None;
    }
    let sqlite = reader.required(&section, "sqlite")?;
    let path = reader.path(sqlite)?;
    if reader.files == Files::Check && !path.is_file() {
        reader.error(
            sqlite,
            format!(
                "there is no store '{}': 'portcullis init' makes a new one, without any keys; a lost one comes from a \
                 backup",
                path.display()
            ),
        );
    }
    Some((Store::Sqlite { path }, max_staleness))
}
