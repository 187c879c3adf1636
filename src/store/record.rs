//! The record: the one connection that makes changes.

use std::path::Path;

use uuid::Uuid;

use super::database::{self, Database, Purpose};
use super::{ChangeNumber, KeyUse, PepperId, StoreError, change, lookup, notes};
use crate::model::{Description, KeyId, Name};

/// The store, opened for changes. Every method blocks on the disk: call it on a thread that may wait.
pub struct Store {
    pub(super) database: Database,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Store({})", self.database.path().display())
    }
}

/// What can be edited: `None` leaves a field as it is, `Some(None)` empties it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edit {
    /// The new name.
    pub name: Option<Option<Name>>,
    /// The new description.
    pub description: Option<Option<Description>>,
}

impl Store {
    /// Makes a new store, which only `init` does. Nothing is ever overwritten.
    pub fn create(path: &Path) -> Result<Self, StoreError> {
        Self::create_with(path, |_| Ok::<_, StoreError>(()))?;
        Self::open(path)
    }

    /// Makes a new store with what `fill` puts into it. The file gets its name when that is done and on the disk: a
    /// process that is killed on the way leaves no half-made store.
    pub fn create_with<T, E: From<StoreError>>(
        path: &Path,
        fill: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        if path.exists() {
            return Err(StoreError::Exists { path: path.to_owned() }.into());
        }
        let mut unfinished = path.as_os_str().to_owned();
        unfinished.push(format!(".{}.unfinished", Uuid::new_v4().simple()));
        let unfinished = Path::new(&unfinished);
        let make = || -> Result<T, E> {
            let mut store = Self { database: Database::create(unfinished, path)? };
            let filled = fill(&mut store)?;
            store.database.close()?;
            database::publish(unfinished, path)?;
            Ok(filled)
        };
        make().inspect_err(|_| {
            // nothing of value: it never had a name that anyone looks for
            for beside in ["", "-wal", "-shm"] {
                let mut name = unfinished.as_os_str().to_owned();
                name.push(beside);
                let _ = std::fs::remove_file(name);
            }
        })
    }

    /// Opens a store, checks it, and brings an older schema up to date.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let mut database = Database::open(path, Purpose::Record)?;
        database.migrate()?;
        database.check()?;
        Ok(Self { database })
    }

    /// Reads the whole file and the whole log for damage; takes seconds for a large store.
    pub fn check_whole(&self) -> Result<(), StoreError> {
        self.database.check_whole()
    }

    /// The newest change.
    pub fn head(&self) -> Result<ChangeNumber, StoreError> {
        self.database.read(|at| Ok(change::head(at)?.number))
    }

    /// The peppers under which the store keeps fingerprints.
    pub fn peppers(&self) -> Result<Vec<PepperId>, StoreError> {
        self.database.read(lookup::peppers)
    }

    /// When a key was last used, and how often it was used in all; a gateway writes it now and then, and it may be
    /// lost.
    pub fn last_use(&self, key: KeyId) -> Result<Option<KeyUse>, StoreError> {
        self.database.read(|at| notes::last_use(at, key))
    }
}
