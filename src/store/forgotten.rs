//! What a record that was put back to an earlier state has forgotten: the deactivations and removals that an old
//! replica still knows. They are made again, so that no key comes back to life.

use rusqlite::{Connection, OptionalExtension, ToSql};

use super::change::{self, ChangeNumber};
use super::database::Database;
use super::delta::Touched;
use super::error::Fault;
use super::rowset::{CHANGES, Cell};
use super::{Author, Store, StoreError};
use crate::model::{AccountId, EnvironmentId, KeyId, Membership, Role, State};

// what a thing is, apart from its id, and its state
const KEY: &str = "SELECT uuid, state FROM keys WHERE id = ?1";
const ACCOUNT: &str = "SELECT uuid, state FROM accounts WHERE id = ?1";
const ENVIRONMENT: &str = "SELECT uuid, state FROM environments WHERE id = ?1";

/// Rights that were taken away, and that the record gives again.
#[derive(Debug, Default)]
pub(super) struct Forgotten {
    keys: Vec<(KeyId, State)>,
    accounts: Vec<(AccountId, State)>,
    environments: Vec<(EnvironmentId, State)>,
    /// Without a role: a membership that had ended.
    memberships: Vec<(AccountId, EnvironmentId, Option<Role>)>,
}

impl Forgotten {
    /// What `old` knows beyond what both know, and `new` does not.
    pub(super) fn between(old: &Database, new: &Database) -> Result<Self, StoreError> {
        let (old_head, new_head) = (old.read(change::head)?, new.read(change::head)?);
        let hash =
            |database: &Database, number| database.read(|at| change::hash_of(at, ChangeNumber(number)));
        let common = change::last_common(old_head.number.min(new_head.number), |number| {
            let here = hash(old, number)?;
            Ok::<_, StoreError>(here.is_some() && here == hash(new, number)?)
        })?;
        let touched = old.read(|at| {
            let after = [Cell::Int(common.cast_signed())];
            Touched::by(&CHANGES.get(at, "WHERE number > ?", after)?)
        })?;
        let mut forgotten = Self::default();
        for id in touched.keys {
            if let Some(state) = lost_of(state_of(old, KEY, &id)?, state_of(new, KEY, &id)?) {
                forgotten.keys.push((KeyId::from_row(id), state));
            }
        }
        for id in touched.accounts {
            if let Some(state) = lost_of(state_of(old, ACCOUNT, &id)?, state_of(new, ACCOUNT, &id)?) {
                forgotten.accounts.push((AccountId::from_row(id), state));
            }
        }
        for id in touched.environments {
            if let Some(state) = lost_of(state_of(old, ENVIRONMENT, &id)?, state_of(new, ENVIRONMENT, &id)?)
                && let Ok(id) = id.parse()
            {
                forgotten.environments.push((id, state));
            }
        }
        for (account, environment) in touched.memberships {
            let is_another = |select: &str, id: &dyn ToSql| -> Result<bool, StoreError> {
                let of =
                    |database| Ok::<_, StoreError>(state_of(database, select, id)?.map(|(uuid, _)| uuid));
                Ok(of(old)? != of(new)?)
            };
            if is_another(ACCOUNT, &account)? || is_another(ENVIRONMENT, &environment)? {
                continue;
            }
            let (had, has) = (role_of(old, account, &environment)?, role_of(new, account, &environment)?);
            if let Some(has) = has
                && had.is_none_or(|had| rank(had) < rank(has))
                && let Ok(environment) = environment.parse()
            {
                forgotten.memberships.push((AccountId::from_row(account), environment, had));
            }
        }
        Ok(forgotten)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len() + self.accounts.len() + self.environments.len() + self.memberships.len()
    }

    /// Makes them again. One that a rule forbids now is told, and does not keep the others.
    pub(super) fn write_back(&self, store: &mut Store) -> Result<(), StoreError> {
        store.set_author(Author::Gateway);
        for (id, state) in &self.keys {
            for state in steps(*state) {
                told(store.set_key_state(*id, *state), || format!("key {id} is to be {state}"))?;
            }
        }
        for (account, environment, role) in &self.memberships {
            let done = match role {
                None => store.remove_member(*account, environment),
                Some(role) => {
                    let (account, environment, role) = (*account, environment.clone(), *role);
                    store.add_member(&Membership { account, environment, role })
                }
            };
            told(done, || format!("{account} is to have less rights in {environment}"))?;
        }
        for (id, state) in &self.environments {
            for state in steps(*state) {
                told(store.set_environment_state(id, *state), || {
                    format!("environment {id} is to be {state}")
                })?;
            }
        }
        for (id, state) in &self.accounts {
            for state in steps(*state) {
                told(store.set_account_state(*id, *state), || format!("account {id} is to be {state}"))?;
            }
        }
        Ok(())
    }
}

/// The state that a record which was put back has lost: one with fewer rights than there are now.
pub fn lost(was: State, is: State) -> Option<State> {
    let rank = |state: State| match state {
        State::Removed => 0,
        State::Inactive => 1,
        State::Active => 2,
    };
    (rank(was) < rank(is)).then_some(was)
}

/// [`lost`], of one thing: the record may have given the id to another one since.
fn lost_of(was: Option<(String, State)>, is: Option<(String, State)>) -> Option<State> {
    let ((was_of, was), (is_of, is)) = was.zip(is)?;
    if was_of == is_of { lost(was, is) } else { None }
}

/// From any state to this one.
fn steps(state: State) -> &'static [State] {
    match state {
        State::Active => &[],
        State::Inactive => &[State::Inactive],
        State::Removed => &[State::Inactive, State::Removed],
    }
}

fn rank(role: Role) -> u8 {
    match role {
        Role::Readonly => 0,
        Role::Restricted => 1,
        Role::Member => 2,
        Role::Owner => 3,
    }
}

fn told<T>(done: Result<T, StoreError>, what: impl FnOnce() -> String) -> Result<(), StoreError> {
    match done {
        Ok(_) => Ok(()),
        Err(error) if error.is_refusal() => {
            tracing::error!(%error, "{} by what this gateway knew, and the record forbids it", what());
            Ok(())
        }
        Err(error) => Err(error),
    }
}

fn state_of(
    database: &Database,
    select: &str,
    id: &dyn ToSql,
) -> Result<Option<(String, State)>, StoreError> {
    let text = |connection: &Connection| -> Result<Option<(String, String)>, Fault> {
        Ok(connection.query_row(select, [id], |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
    };
    Ok(database.read(text)?.and_then(|(uuid, state)| Some((uuid, state.parse().ok()?))))
}

fn role_of(database: &Database, account: i64, environment: &str) -> Result<Option<Role>, StoreError> {
    let select = "SELECT role FROM memberships
        WHERE account = ?1 AND environment = (SELECT row FROM environments WHERE id = ?2)";
    let text = |connection: &Connection| -> Result<Option<String>, Fault> {
        Ok(connection.query_row(select, (account, environment), |row| row.get(0)).optional()?)
    };
    Ok(database.read(text)?.and_then(|text| text.parse().ok()))
}
