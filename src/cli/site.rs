//! What the commands that manage keys work on: a configuration and the store that it names.

use std::path::Path;

use clap::Args;

use super::output::tell;
use crate::config::{self, Config};
use crate::model::{Description, Name};
use crate::store::{Edit, Store, StoreError};

/// A configuration and its store, opened for changes.
pub(super) struct Site {
    pub(super) config: Config,
    pub(super) store: Store,
}

impl Site {
    /// Reads the configuration and opens the store.
    pub(super) fn open(config: &Path) -> anyhow::Result<Self> {
        let config = config::load(config)?;
        let store = open_store(&config)?;
        Ok(Self { config, store })
    }

    /// Says so when the change that was just made left no admin who could log in.
    pub(super) fn warn_without_admin_key(&self) -> anyhow::Result<()> {
        if !self.store.has_working_admin_key()? {
            tell(
                "warning: no active admin account has an active key now; `portcullis key create --account ADMIN` \
                 makes one, and `portcullis account create --kind admin --name ADMIN` an account for it",
            );
        }
        Ok(())
    }
}

/// Opens the record; says what it waits for where that takes long.
pub(super) fn open_store(config: &Config) -> Result<Store, StoreError> {
    Store::of(&config.store, &mut |progress| tell(format_args!("portcullis: {progress}")))
}

/// The two fields that can be edited.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(super) struct EditArguments {
    /// The new name; "" takes it away
    #[arg(long)]
    name: Option<String>,
    /// The new description; "" takes it away
    #[arg(long)]
    description: Option<String>,
}

impl EditArguments {
    pub(super) fn edit(&self) -> anyhow::Result<Edit> {
        Ok(Edit {
            name: self.name.as_deref().map(Name::parse).transpose()?,
            description: self.description.as_deref().map(Description::parse).transpose()?,
            ..Edit::default()
        })
    }
}

/// An optional name from the command line.
pub(super) fn name(text: Option<&str>) -> anyhow::Result<Option<Name>> {
    Ok(text.map(Name::parse).transpose()?.flatten())
}

/// An optional description from the command line.
pub(super) fn description(text: Option<&str>) -> anyhow::Result<Option<Description>> {
    Ok(text.map(Description::parse).transpose()?.flatten())
}
