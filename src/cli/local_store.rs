//! What the commands that manage keys work on: a configuration and the store that it names.

use std::path::Path;

use super::output::eprint_line;
use crate::config::{self, Config};
use crate::store::{Store, StoreError};

/// A configuration and its store, opened for changes.
pub(super) struct LocalStore {
    pub(super) config: Config,
    pub(super) store: Store,
}

impl LocalStore {
    /// Reads the configuration and opens the store.
    pub(super) fn open(config: &Path) -> anyhow::Result<Self> {
        let config = config::load(config)?;
        let store = open_store(&config)?;
        Ok(Self { config, store })
    }

    /// Says so when the change that was just made left no admin who could log in.
    pub(super) fn warn_without_admin_key(&self) -> anyhow::Result<()> {
        if !self.store.has_working_admin_key()? {
            eprint_line(
                "warning: no active admin account has an active key now; `portcullis key create --account ADMIN` \
                 makes one, and `portcullis account create --kind admin --name ADMIN` an account for it",
            );
        }
        Ok(())
    }
}

/// Opens the record; says what it waits for where that takes long.
pub(super) fn open_store(config: &Config) -> Result<Store, StoreError> {
    Store::open_configured(&config.store, &mut |progress| eprint_line(format_args!("portcullis: {progress}")))
}
