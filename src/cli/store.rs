//! `portcullis store`.

use std::convert::Infallible;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context as _, bail};
use clap::Subcommand;
use clap::error::ErrorKind;

use super::output::eprint_line;
use crate::config::{self, Postgres, parse_record_url};
use crate::store::{Backup, Restored, Store};

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
        from: StoreArgument,
        /// The store that is made
        #[arg(long, value_name = "FILE|URL")]
        to: StoreArgument,
    },
    /// Copy the store into a file while it is in use
    #[command(
        long_about = "Copies the embedded store, or this gateway's replica of a record in PostgreSQL, into a file, while \
            gateways and commands use it. The copy is one state of the store. It is checked whole before it gets its \
            name, so nobody ever sees half a copy; only its owner can read it. Every copy is an embedded store: it can \
            be put back with 'store restore', and taken into an empty database of PostgreSQL with 'store copy'. The \
            peppers are not in it: keep them elsewhere.",
        after_help = "Examples:\n  portcullis store backup /var/backups/portcullis.db\n  \
            portcullis store backup /var/backups/portcullis.db --overwrite"
    )]
    Backup {
        /// The copy
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Replace a file of that name
        #[arg(long)]
        overwrite: bool,
    },
    /// Put a copy in the place of the embedded store
    #[command(
        long_about = "Puts a copy that 'store backup' has made in the place of the embedded store. The copy is checked \
            whole first, and stays as it is. Refused while a gateway, or anything else, has the store open, and where \
            the store has changes that the copy lacks. With --discard-newer these are lost, but for what they took \
            away: deactivations, removals and lesser roles are made again, so that no key comes back to life. A record \
            in PostgreSQL is restored by PostgreSQL's own means.",
        after_help = "Examples:\n  portcullis store restore /var/backups/portcullis.db\n  \
            portcullis store restore /var/backups/portcullis.db --discard-newer"
    )]
    Restore {
        /// The copy
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Go back behind changes that the store has and the copy lacks
        #[arg(long)]
        discard_newer: bool,
    },
}

/// An argument as it was given. A URL may hold a password, and an error of clap's would repeat it: what it means is
/// asked afterwards.
#[derive(Clone)]
pub(super) struct StoreArgument(String);

impl fmt::Debug for StoreArgument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("..")
    }
}

impl FromStr for StoreArgument {
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

impl StoreArgument {
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
    pub(super) fn run(&self, config: &Path) -> anyhow::Result<()> {
        match self {
            Self::Copy { from, to } => copy(from, to),
            Self::Backup { file, overwrite } => backup(config, file, *overwrite),
            Self::Restore { file, discard_newer } => restore(config, file, *discard_newer),
        }
    }
}

fn progress(progress: &str) {
    eprint_line(format_args!("portcullis: {progress}"));
}

fn backup(config: &Path, file: &Path, overwrite: bool) -> anyhow::Result<()> {
    let config = config::load(config)?;
    let Backup { change, bytes } = Store::backup(config.store.path(), file, overwrite, &mut progress)
        .with_context(|| format!("the store was not copied to {}", file.display()))?;
    eprint_line(format_args!(
        "portcullis: the store is in {}, up to change {change} ({bytes} bytes)",
        file.display()
    ));
    Ok(())
}

fn restore(config: &Path, file: &Path, discard_newer: bool) -> anyhow::Result<()> {
    let config = config::load(config)?;
    let path = match &config.store {
        config::Store::Sqlite { path } => path,
        config::Store::Postgres(_) => bail!(
            "the record is in PostgreSQL, and restored by PostgreSQL's own means; a copy of a replica is taken into an \
             empty database with `portcullis store copy --from {} --to URL`",
            file.display()
        ),
    };
    let Restored { change, lost, reapplied } = Store::restore(path, file, discard_newer, &mut progress)
        .with_context(|| format!("{} was not put back, and the store is as it was", file.display()))?;
    eprint_line(format_args!(
        "portcullis: {} is as {} has it, up to change {change}",
        path.display(),
        file.display()
    ));
    if lost > 0 {
        eprint_line(format_args!(
            "portcullis: {lost} newer changes are lost, and their numbers will be given to others; {reapplied} \
             deactivations, removals and lesser roles among them were made again"
        ));
    }
    Ok(())
}

fn copy(from: &StoreArgument, to: &StoreArgument) -> anyhow::Result<()> {
    let (from, to) = (from.place("--from")?, to.place("--to")?);
    let report = &mut progress;
    match (from, to) {
        (Place::File(from), Place::Record(to)) => Store::open(&from)?.copy_to(&to, report)?,
        (Place::Record(from), Place::File(to)) => Store::copy_from(&from, &to, report)?,
        (Place::File(_), Place::File(_)) => bail!(
            "one of the two must be a URL of PostgreSQL; a file is copied with `portcullis store backup`"
        ),
        (Place::Record(_), Place::Record(_)) => {
            bail!("one of the two must be a file; a database is copied with pg_dump")
        }
    }
    eprint_line("portcullis: everything is copied");
    Ok(())
}
