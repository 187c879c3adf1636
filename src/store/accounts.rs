//! Accounts in the record.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row};
use uuid::Uuid;

use super::audit::Attempt;
use super::author::Writing;
use super::change::{self, ChangeNumber, Subject};
use super::error::Fault;
use super::object::{self, Kind};
use super::page::{Cursor, Listing, Page, Query};
use super::{Edit, Entry, Store, StoreError, Transition, keys, memberships, rows};
use crate::model::{Account, AccountId, AccountKind, Description, KeyOwner, Name, State};
use crate::policy::Act;

/// What a new account is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAccount {
    /// What operators call it.
    pub name: Name,
    /// Admin or user.
    pub kind: AccountKind,
    /// Free text.
    pub description: Option<Description>,
}

impl Store {
    /// Makes an account; it is active.
    pub fn create_account(&mut self, new: &NewAccount) -> Result<(Account, ChangeNumber), StoreError> {
        self.change(&Attempt::new("create", "account", &new.name), |at| {
            at.permit(&Act::ManageAccounts)?;
            create(at, new)
        })
    }

    /// Makes the first account of a record. Where several are to be made at once, one is.
    pub fn create_first_account(&mut self, new: &NewAccount) -> Result<(Account, ChangeNumber), StoreError> {
        self.change(&Attempt::new("create", "account", &new.name), |at| {
            refuse_begun(at)?;
            create(at, new)
        })
    }

    /// Refuses a record in which something was made already.
    pub fn refuse_begun(&self) -> Result<(), StoreError> {
        self.database.read(refuse_begun)
    }

    /// The account with this id, a removed one too, or else the only one with this name.
    pub fn find_account(&self, id_or_name: &str) -> Result<Account, StoreError> {
        self.database.read(|at| {
            if let Ok(id) = id_or_name.parse()
                && let Some(account) = get(at, id)?
            {
                return Ok(account);
            }
            let found = at
                .prepare_cached("SELECT * FROM accounts WHERE name = ?1 AND state <> 'removed' ORDER BY id")?
                .query_map([id_or_name], rows::account)?
                .collect::<Result<_, _>>()?;
            object::only_one(Kind::Account, id_or_name, found, |account: &Account| account.id.to_string())
        })
    }

    /// The account with this id, a removed one too, with what is kept beside it.
    pub fn account_entry(&self, id: AccountId) -> Result<Entry<Account>, StoreError> {
        self.database.read(|at| {
            at.prepare_cached("SELECT * FROM accounts WHERE id = ?1")?
                .query_row([id.row()], entry)
                .optional()?
                .ok_or_else(|| Kind::Account.not_found(id))
        })
    }

    /// A page of all accounts, or of only that one.
    pub fn account_page(
        &self,
        only: Option<AccountId>,
        query: &Query,
    ) -> Result<Page<Entry<Account>>, StoreError> {
        let cursor = match only {
            None => Cursor::everything(),
            Some(id) => Cursor::few("accounts.id = ?", vec![id.row().into()]),
        };
        self.database.read(|at| Listing::ACCOUNTS.page(at, query, &cursor, entry))
    }

    /// Changes an account's name or description.
    pub fn edit_account(
        &mut self,
        id: AccountId,
        edit: &Edit,
    ) -> Result<(Account, ChangeNumber), StoreError> {
        self.change(&Attempt::new("edit", "account", &id), |at| {
            at.permit(&Act::ManageAccounts)?;
            let account = present(at, id)?;
            object::refuse_changed(at, Kind::Account, id.row(), &id, &edit.expected)?;
            match &edit.name {
                Some(Some(name)) => refuse_like_an_id(name)?,
                Some(None) => {
                    return Err(Fault::refused("an account always has a name: give it another one"));
                }
                None => {}
            }
            let (name, description) = (Some(&account.name), account.description.as_ref());
            if object::edit(at, Kind::Account, id.row(), edit, name, description)? {
                log(at, id, "edit", Some(&account))
            } else {
                Ok((account, change::head(at)?.number))
            }
        })
    }

    /// Activates or deactivates an account; its keys work only while it is active. Where it is so already, nothing
    /// changes.
    pub fn set_account_state(
        &mut self,
        id: AccountId,
        transition: impl Into<Transition>,
    ) -> Result<(Account, ChangeNumber), StoreError> {
        let Transition { to: state, expected } = transition.into();
        self.change(&Attempt::new(object::action_to(state), "account", &id), |at| {
            at.permit(&Act::ManageAccounts)?;
            let account = get(at, id)?.ok_or_else(|| Kind::Account.not_found(id))?;
            object::refuse_changed(at, Kind::Account, id.row(), &id, &expected)?;
            let Some(action) = object::transition(at, Kind::Account, &id, account.state, state)? else {
                return Ok((account, change::head(at)?.number));
            };
            if state == State::Removed {
                keys::remove_all_of(at, &KeyOwner::Account(id))?;
                memberships::remove_all_of_account(at, id)?;
            }
            object::set_state(at, Kind::Account, id.row(), state)?;
            log(at, id, action, Some(&account))
        })
    }

    /// Removes an inactive account, with its keys and memberships.
    pub fn remove_account(&mut self, id: AccountId) -> Result<(Account, ChangeNumber), StoreError> {
        self.set_account_state(id, State::Removed)
    }

    /// Whether any active key of an active admin account exists. The store lets the last one go: a key that leaked
    /// must be stopped at once, and whoever can open the file can make another.
    pub fn has_working_admin_key(&self) -> Result<bool, StoreError> {
        self.database.read(|at| {
            // CROSS JOIN: SQLite then takes the few accounts first, and their keys by the index
            let found = at.query_row(
                "SELECT EXISTS (SELECT 1 FROM accounts
                 CROSS JOIN keys ON keys.owner = accounts.id AND keys.state <> 'removed'
                 WHERE accounts.kind = 'admin' AND accounts.state = 'active' AND keys.state = 'active')",
                [],
                |row| row.get(0),
            )?;
            Ok(found)
        })
    }
}

fn entry(row: &Row<'_>) -> rusqlite::Result<Entry<Account>> {
    Ok(Entry { object: rows::account(row)?, revision: rows::revision(row)? })
}

pub(super) fn get(connection: &Connection, id: AccountId) -> Result<Option<Account>, Fault> {
    let found = connection
        .prepare_cached("SELECT * FROM accounts WHERE id = ?1")?
        .query_row([id.row()], rows::account)
        .optional()?;
    Ok(found)
}

/// The account, which must be there and not removed.
pub(super) fn present(connection: &Connection, id: AccountId) -> Result<Account, Fault> {
    let account = get(connection, id)?.ok_or_else(|| Kind::Account.not_found(id))?;
    if account.state == State::Removed { Err(object::removed(Kind::Account, &id)) } else { Ok(account) }
}

/// Writes the logs' rows for an account as it is now, and as it was.
fn log(
    at: &Writing<'_>,
    id: AccountId,
    action: &str,
    before: Option<&Account>,
) -> Result<(Account, ChangeNumber), Fault> {
    let account = get(at, id)?.ok_or_else(|| Kind::Account.not_found(id))?;
    let before = before.map(rows::account_content);
    let after = rows::account_content(&account);
    let number = change::append(at, &Subject::Account(id), action, before.as_ref(), &after)?;
    object::set_revision(at, Kind::Account, id.row(), number)?;
    Ok((account, number))
}

fn refuse_begun(connection: &Connection) -> Result<(), Fault> {
    if change::head(connection)?.number == ChangeNumber(0) {
        return Ok(());
    }
    Err(Fault::refused(
        "the record holds keys already, and nothing is overwritten; to make more, use `portcullis key create`",
    ))
}

fn create(at: &Writing<'_>, new: &NewAccount) -> Result<(Account, ChangeNumber), Fault> {
    refuse_like_an_id(&new.name)?;
    at.prepare_cached(
        "INSERT INTO accounts (name, description, kind, state, uuid, created)
         VALUES (?1, ?2, ?3, 'active', ?4, ?5)",
    )?
    .execute((
        new.name.as_str(),
        new.description.as_ref().map(Description::as_str),
        new.kind.as_str(),
        Uuid::new_v4().to_string(),
        Timestamp::now().as_millisecond(),
    ))?;
    log(at, AccountId::from_row(at.last_insert_rowid()), "create", None)
}

/// A name that reads as an id would hide the account that has or will have the id, or be hidden by it.
fn refuse_like_an_id(name: &Name) -> Result<(), Fault> {
    if name.as_str().parse::<AccountId>().is_ok() {
        return Err(Fault::refused(format!("'{name}' has the form of an account id: give another name")));
    }
    Ok(())
}
