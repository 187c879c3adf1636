//! `portcullis store`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::bail;
use clap::Subcommand;

use super::output::tell;
use crate::config::{Postgres, parse_record_url};
use crate::store::Store;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Copy all keys, accounts, environments, logs and ids to another store, which must be empty
    #[command(
        long_about = "Copies a whole store: an embedded one (a file) into PostgreSQL (a URL), or back, with every id, \
            the change log and the audit log. Nothing is overwritten: the target must be empty or not there. The \
            source is read in one state and stays as it is; stop the gateways that use it first, so that nothing is \
            written there that the copy lacks. The peppers are not in the store: take the pepper files along.",
        after_help = "Examples:\n  portcullis store copy --from portcullis.db --to \"$DATABASE_URL\"\n  \
            portcullis store copy --from \"$DATABASE_URL\" --to portcullis.db"
    )]
    Copy {
        /// The store that is read: a file, or a URL of PostgreSQL
        #[arg(long, value_name = "FILE|URL")]
        from: Place,
        /// The store that is made
        #[arg(long, value_name = "FILE|URL")]
        to: Place,
    },
}

/// Where a store is.
#[derive(Clone)]
pub(super) enum Place {
    File(PathBuf),
    Record(Box<Postgres>),
}

/// A URL may hold a password.
impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.fmt(f),
            Self::Record(postgres) => f.write_str(&postgres.shown()),
        }
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !text.contains("://") {
            return Ok(Self::File(text.into()));
        }
        let (connection, trust) = parse_record_url(text, Path::new(""))?;
        Ok(Self::Record(Box::new(Postgres { connection, trust, replica: PathBuf::new() })))
    }
}

impl Command {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let Self::Copy { from, to } = self;
        let report = &mut |progress: &str| tell(format_args!("portcullis: {progress}"));
        match (from, to) {
            (Place::File(from), Place::Record(to)) => Store::open(from)?.copy_to(to, report)?,
            (Place::Record(from), Place::File(to)) => Store::copy_from(from, to, report)?,
            (Place::File(_), Place::File(_)) => bail!(
                "one of the two must be a URL of PostgreSQL; a file is copied with `sqlite3 FILE '.backup COPY'`"
            ),
            (Place::Record(_), Place::Record(_)) => {
                bail!("one of the two must be a file; a database is copied with pg_dump")
            }
        }
        tell("portcullis: everything is copied");
        Ok(())
    }
}
