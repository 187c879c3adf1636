//! Revocations that a restored record has lost: deactivations, removals, earlier ends, narrower scopes and lesser roles that an old replica,
//! or the store that was replaced, still has. They are reapplied, so that no key works again.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, ToSql};

use super::change::{self, ChangeNumber};
use super::database::Database;
use super::delta::ChangedObjects;
use super::error::TransactionError;
use super::key_secrets::LostSecrets;
use super::tables::{CHANGES, Cell};
use super::{Author, KeyEdit, Store, StoreError, keys, lookup};
use crate::model::{AccountId, EnvironmentId, Incomparable, KeyId, Membership, Role, Scope, State};

// the uuid tells whether an id was given to another object since
const ACCOUNT: &str = "SELECT uuid, state FROM accounts WHERE id = ?1";
const ENVIRONMENT: &str = "SELECT uuid, state FROM environments WHERE id = ?1";

/// Rights that `old` has taken away and `new` gives.
#[derive(Debug, Default)]
pub(super) struct LostRevocations {
    keys: Vec<LostOfKey>,
    accounts: Vec<(AccountId, State)>,
    environments: Vec<(EnvironmentId, State)>,
    /// Without a role: a membership that was ended.
    memberships: Vec<(AccountId, EnvironmentId, Option<Role>)>,
}

/// What was taken away from a key.
#[derive(Debug)]
struct LostOfKey {
    id: KeyId,
    state: Option<State>,
    /// An earlier end.
    expires: Option<Timestamp>,
    /// A narrower scope.
    scope: Option<Scope>,
    /// That it was rotated, or that its former secret was ended.
    secrets: Option<LostSecrets>,
}

impl LostOfKey {
    /// What the key has in `new` and had in `old` no more.
    fn between(old: &Database, new: &Database, id: KeyId) -> Result<Option<Self>, StoreError> {
        let Some((was, is)) = old.read(|at| keys::get(at, id))?.zip(new.read(|at| keys::get(at, id))?) else {
            return Ok(None);
        };
        // an id may have been given to another key since
        if was.uuid != is.uuid {
            return Ok(None);
        }
        let mut state = lost_revocation(was.state, is.state);
        let (mut expires, mut scope) = (None, None);
        // a removed key can be given nothing else, and needs nothing else
        if was.state != State::Removed && is.state != State::Removed {
            expires = was.expires.filter(|was| is.expires.is_none_or(|is| *was < is));
            match lost_scope(was.scope.as_deref(), is.scope.as_deref()) {
                Ok(lost) => scope = lost,
                // no scope allows what both allow and nothing else
                Err(Incomparable) => state = lost_revocation(State::Inactive, is.state),
            }
        }
        // a secret that `new` accepts and `old` had replaced or ended
        let is_accepted_again = was.secret_since > is.secret_since
            || was.secret_since == is.secret_since && was.former.is_none() && is.former.is_some();
        let secrets = if is_accepted_again && was.state != State::Removed && is.state != State::Removed {
            let read = old.read(|at| lookup::key(at, was.access_key.as_str()))?;
            read.record.map(|record| LostSecrets { key: was, verifiers: record.verifiers })
        } else {
            None
        };
        let is_lost = state.is_some() || expires.is_some() || scope.is_some() || secrets.is_some();
        Ok(is_lost.then_some(Self { id, state, expires, scope, secrets }))
    }

    fn reapply(&self, store: &mut Store) -> Result<(), StoreError> {
        let id = self.id;
        if let Some(expires) = self.expires {
            let edit = KeyEdit { expires: Some(Some(expires)), ..KeyEdit::default() };
            log_refusal(store.edit_key(id, &edit), || format!("key {id} is to end at {expires}"))?;
        }
        if let Some(scope) = &self.scope {
            let edit = KeyEdit { scope: Some(Some(scope.clone())), ..KeyEdit::default() };
            log_refusal(store.edit_key(id, &edit), || format!("key {id} is to have the scope {scope}"))?;
        }
        if let Some(secrets) = &self.secrets {
            log_refusal(store.restore_secrets(secrets), || format!("key {id} is to have its newer secret"))?;
        }
        for state in self.state.map_or(&[][..], steps) {
            log_refusal(store.set_key_state(id, *state), || format!("key {id} is to be {state}"))?;
        }
        Ok(())
    }
}

impl LostRevocations {
    /// Compares the objects that `old` has changed after the last change that both have.
    pub(super) fn between(old: &Database, new: &Database) -> Result<Self, StoreError> {
        let (old_head, new_head) = (old.read(change::head)?, new.read(change::head)?);
        let hash =
            |database: &Database, number| database.read(|at| change::hash_of(at, ChangeNumber(number)));
        let common = change::last_common_change(old_head.number.min(new_head.number), |number| {
            let here = hash(old, number)?;
            Ok::<_, StoreError>(here.is_some() && here == hash(new, number)?)
        })?;
        let changed = old.read(|at| {
            let after = [Cell::Int(common.cast_signed())];
            ChangedObjects::of_changes(&CHANGES.select(at, "WHERE number > ?", after)?)
        })?;
        let mut lost = Self::default();
        for id in changed.keys {
            lost.keys.extend(LostOfKey::between(old, new, KeyId::from_row(id))?);
        }
        for id in changed.accounts {
            if let Some(state) =
                lost_revocation_of(state_of(old, ACCOUNT, &id)?, state_of(new, ACCOUNT, &id)?)
            {
                lost.accounts.push((AccountId::from_row(id), state));
            }
        }
        for id in changed.environments {
            if let Some(state) =
                lost_revocation_of(state_of(old, ENVIRONMENT, &id)?, state_of(new, ENVIRONMENT, &id)?)
                && let Ok(id) = id.parse()
            {
                lost.environments.push((id, state));
            }
        }
        for (account, environment) in changed.memberships {
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
                lost.memberships.push((AccountId::from_row(account), environment, had));
            }
        }
        Ok(lost)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len() + self.accounts.len() + self.environments.len() + self.memberships.len()
    }

    /// Makes the changes again. If a rule forbids one now, it is logged, and the others are made.
    pub(super) fn reapply(&self, store: &mut Store) -> Result<(), StoreError> {
        store.set_author(Author::Gateway);
        for key in &self.keys {
            key.reapply(store)?;
        }
        for (account, environment, role) in &self.memberships {
            let done = match role {
                None => store.remove_member(*account, environment),
                Some(role) => {
                    let (account, environment, role) = (*account, environment.clone(), *role);
                    store.add_member(&Membership { account, environment, role })
                }
            };
            log_refusal(done, || format!("{account} is to have less rights in {environment}"))?;
        }
        for (id, state) in &self.environments {
            for state in steps(*state) {
                log_refusal(store.set_environment_state(id, *state), || {
                    format!("environment {id} is to be {state}")
                })?;
            }
        }
        for (id, state) in &self.accounts {
            for state in steps(*state) {
                log_refusal(store.set_account_state(*id, *state), || {
                    format!("account {id} is to be {state}")
                })?;
            }
        }
        Ok(())
    }
}

/// The state that a restored record has lost, if that had fewer rights than the one that it has now.
pub fn lost_revocation(was: State, is: State) -> Option<State> {
    let rank = |state: State| match state {
        State::Removed => 0,
        State::Inactive => 1,
        State::Active => 2,
    };
    (rank(was) < rank(is)).then_some(was)
}

/// The scope that a restored record has lost, if that was narrower than the one that it has now: what both allow.
fn lost_scope(was: Option<&Scope>, is: Option<&Scope>) -> Result<Option<Scope>, Incomparable> {
    match (was, is) {
        (None, _) => Ok(None),
        (Some(was), None) => Ok(Some(was.clone())),
        (Some(was), Some(is)) => Ok(Some(is.intersection(was)?).filter(|both| both != is)),
    }
}

/// [`lost_revocation`] of one object, unless the id was given to another one since.
fn lost_revocation_of(was: Option<(String, State)>, is: Option<(String, State)>) -> Option<State> {
    let ((was_of, was), (is_of, is)) = was.zip(is)?;
    if was_of == is_of { lost_revocation(was, is) } else { None }
}

/// The transitions that lead from any state to this one.
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

fn log_refusal<T>(done: Result<T, StoreError>, what: impl FnOnce() -> String) -> Result<(), StoreError> {
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
    let text = |connection: &Connection| -> Result<Option<(String, String)>, TransactionError> {
        Ok(connection.query_row(select, [id], |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
    };
    Ok(database.read(text)?.and_then(|(uuid, state)| Some((uuid, state.parse().ok()?))))
}

fn role_of(database: &Database, account: i64, environment: &str) -> Result<Option<Role>, StoreError> {
    let select = "SELECT role FROM memberships
        WHERE account = ?1 AND environment = (SELECT row FROM environments WHERE id = ?2)";
    let text = |connection: &Connection| -> Result<Option<String>, TransactionError> {
        Ok(connection.query_row(select, (account, environment), |row| row.get(0)).optional()?)
    };
    Ok(database.read(text)?.and_then(|text| text.parse().ok()))
}
