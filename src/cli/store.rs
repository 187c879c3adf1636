//! `portcullis store`.

use std::convert::Infallible;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::bail;
use clap::Subcommand;
use clap::error::ErrorKind;

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
            written there that the copy lacks. The peppers are not in the store: take the pepper files along. Other \
            users of the machine can see a password in a URL while the command runs.",
        after_help = "Examples:\n  portcullis store copy --from portcullis.db --to \"$DATABASE_URL\"\n  \
            portcullis store copy --from \"$DATABASE_URL\" --to portcullis.db"
    )]
    Copy {
        /// The store that is read: a file, or a URL of PostgreSQL
        #[arg(long, value_name = "FILE|URL")]
        from: Hidden,
        /// The store that is made
        #[arg(long, value_name = "FILE|URL")]
        to: Hidden,
    },
}

/// An argument as it was given. A URL may hold a password, and an error of clap's would repeat it: what it means is
/// asked afterwards.
#[derive(Clone)]
pub(super) struct Hidden(String);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("..")
    }
}

impl FromStr for Hidden {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

/// Where a store is.
enum Place {
    File(PathBuf),
    Record(Box<Postgres>),
}

impl Hidden {
    fn place(&self, option: &str) -> Result<Place, clap::Error> {
        let Self(text) = self;
        if !text.contains("://") {
            return Ok(Place::File(text.into()));
        }
        let (connection, trust) = parse_record_url(text, Path::new("")).map_err(|why| {
            clap::Error::raw(
                ErrorKind::ValueValidation,
                format!("the value of '{option}' is not a URL of PostgreSQL: {why}\n"),
            )
        })?;
        Ok(Place::Record(Box::new(Postgres { connection, trust, replica: PathBuf::new() })))
    }
}

impl Command {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let Self::Copy { from, to } = self;
        let (from, to) = (from.place("--from")?, to.place("--to")?);
        let report = &mut |progress: &str| tell(format_args!("portcullis: {progress}"));
        match (from, to) {
            (Place::File(from), Place::Record(to)) => Store::open(&from)?.copy_to(&to, report)?,
            (Place::Record(from), Place::File(to)) => Store::copy_from(&from, &to, report)?,
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
