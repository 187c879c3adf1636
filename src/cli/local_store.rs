//! What the commands that manage keys work on: a configuration and the store that it names.

use std::path::Path;

use super::output::eprint_line;
use crate::config::{self, Access, Config, EnvironmentKeyAccess, Route, Selectors};
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

    /// Says so when no route of the configuration has paths that lie in an environment.
    pub(super) fn warn_without_environments(&self) {
        let has_environments = |route: &Route| match &route.access {
            Access::Keys(access) => {
                !access.environment.is_empty()
                    || access.selectors != Selectors::default()
                    || access.environment_key != EnvironmentKeyAccess::Deny
            }
            Access::Public { .. } => false,
        };
        if !self.config.routes.iter().any(has_environments) {
            eprint_line(format_args!(
                "warning: no route in {} says with 'environment:' how paths name an environment: keys of environments \
                 reach only what is shared",
                self.config.file.display()
            ));
        }
    }
}

/// Opens the record; says what it waits for where that takes long.
pub(super) fn open_store(config: &Config) -> Result<Store, StoreError> {
    Store::open_configured(&config.store, &mut |progress| eprint_line(format_args!("portcullis: {progress}")))
}
