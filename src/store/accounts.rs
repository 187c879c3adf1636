//! Queries and changes of accounts.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row};
use uuid::Uuid;

use super::audit::Attempt;
use super::change::{self, ChangeNumber, Subject};
use super::error::TransactionError;
use super::object::{self, ObjectKind};
use super::page::{ListDefinition, ListScope, Page, PageQuery};
use super::write_transaction::WriteTransaction;
use super::{Edit, StateTransition, Store, StoreError, WithRevision, keys, memberships, row_mapping};
use crate::model::{Account, AccountId, AccountKind, Description, KeyOwner, Name, State};
use crate::policy::ManagementAction;

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
            at.authorize(&ManagementAction::ManageAccounts)?;
            create(at, new)
        })
    }

    /// Creates the first account of a record. Of several that are created at once, one is.
    pub fn create_first_account(&mut self, new: &NewAccount) -> Result<(Account, ChangeNumber), StoreError> {
        self.change(&Attempt::new("create", "account", &new.name), |at| {
            refuse_unless_empty(at)?;
            create(at, new)
        })
    }

    /// Whether nothing was ever changed in the record.
    pub fn is_empty(&self) -> Result<bool, StoreError> {
        self.database.read(is_empty)
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
                .query_map([id_or_name], row_mapping::account)?
                .collect::<Result<_, _>>()?;
            object::only_one(ObjectKind::Account, id_or_name, found, |account: &Account| {
                account.id.to_string()
            })
        })
    }

    /// The account with this id, a removed one too, with its revision.
    pub fn account_entry(&self, id: AccountId) -> Result<WithRevision<Account>, StoreError> {
        self.database.read(|at| {
            at.prepare_cached("SELECT * FROM accounts WHERE id = ?1")?
                .query_row([id.row()], entry)
                .optional()?
                .ok_or_else(|| ObjectKind::Account.not_found(id))
        })
    }

    /// A page of all accounts, or of only that one.
    pub fn account_page(
        &self,
        only: Option<AccountId>,
        query: &PageQuery,
    ) -> Result<Page<WithRevision<Account>>, StoreError> {
        let scope = match only {
            None => ListScope::everything(),
            Some(id) => ListScope::matching("accounts.id = ?", vec![id.row().into()]),
        };
        self.database.read(|at| ListDefinition::ACCOUNTS.page(at, query, &scope, entry))
    }

    /// Changes an account's name or description.
    pub fn edit_account(
        &mut self,
        id: AccountId,
        edit: &Edit,
    ) -> Result<(Account, ChangeNumber), StoreError> {
        self.change(&Attempt::new("edit", "account", &id), |at| {
            at.authorize(&ManagementAction::ManageAccounts)?;
            let account = get_existing(at, id)?;
            object::refuse_changed(at, ObjectKind::Account, id.row(), &id, &edit.expected)?;
            match &edit.name {
                Some(Some(name)) => refuse_like_an_id(name)?,
                Some(None) => {
                    return Err(TransactionError::refused(
                        "an account always has a name: give it another one",
                    ));
                }
                None => {}
            }
            let (name, description) = (Some(&account.name), account.description.as_ref());
            if object::edit(at, ObjectKind::Account, id.row(), edit, name, description)? {
                log(at, id, "edit", Some(&account))
            } else {
                Ok((account, change::head(at)?.number))
            }
        })
    }

    /// Activates, deactivates or removes an account. Its keys work only while it is active.
    pub fn set_account_state(
        &mut self,
        id: AccountId,
        transition: impl Into<StateTransition>,
    ) -> Result<(Account, ChangeNumber), StoreError> {
        let StateTransition { to: state, expected } = transition.into();
        self.change(&Attempt::new(object::action_to(state), "account", &id), |at| {
            at.authorize(&ManagementAction::ManageAccounts)?;
            let account = get(at, id)?.ok_or_else(|| ObjectKind::Account.not_found(id))?;
            object::refuse_changed(at, ObjectKind::Account, id.row(), &id, &expected)?;
            let Some(action) = object::transition(at, ObjectKind::Account, &id, account.state, state)? else {
                return Ok((account, change::head(at)?.number));
            };
            if state == State::Removed {
                keys::remove_all_of(at, &KeyOwner::Account(id))?;
                memberships::remove_all_of_account(at, id)?;
            }
            object::set_state(at, ObjectKind::Account, id.row(), state)?;
            log(at, id, action, Some(&account))
        })
    }

    /// Removes an inactive account, with its keys and memberships.
    pub fn remove_account(&mut self, id: AccountId) -> Result<(Account, ChangeNumber), StoreError> {
        self.set_account_state(id, State::Removed)
    }

    /// Whether there is an active key of an active admin account. The last one may be stopped: a key that leaked must be
    /// stopped at once, and the command line can create another.
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

fn entry(row: &Row<'_>) -> rusqlite::Result<WithRevision<Account>> {
    Ok(WithRevision { object: row_mapping::account(row)?, revision: row_mapping::revision(row)? })
}

pub(super) fn get(connection: &Connection, id: AccountId) -> Result<Option<Account>, TransactionError> {
    let found = connection
        .prepare_cached("SELECT * FROM accounts WHERE id = ?1")?
        .query_row([id.row()], row_mapping::account)
        .optional()?;
    Ok(found)
}

/// The account, which must exist and not be removed.
pub(super) fn get_existing(connection: &Connection, id: AccountId) -> Result<Account, TransactionError> {
    let account = get(connection, id)?.ok_or_else(|| ObjectKind::Account.not_found(id))?;
    if account.state == State::Removed { Err(object::removed(ObjectKind::Account, &id)) } else { Ok(account) }
}

/// Adds rows to the logs, with the account as it is now and as it was.
fn log(
    at: &WriteTransaction<'_>,
    id: AccountId,
    action: &str,
    before: Option<&Account>,
) -> Result<(Account, ChangeNumber), TransactionError> {
    let account = get(at, id)?.ok_or_else(|| ObjectKind::Account.not_found(id))?;
    let before = before.map(row_mapping::account_json);
    let after = row_mapping::account_json(&account);
    let number = change::append(at, &Subject::Account(id), action, before.as_ref(), &after)?;
    object::set_revision(at, ObjectKind::Account, id.row(), number)?;
    Ok((account, number))
}

fn is_empty(connection: &Connection) -> Result<bool, TransactionError> {
    Ok(change::head(connection)?.number == ChangeNumber(0))
}

fn refuse_unless_empty(connection: &Connection) -> Result<(), TransactionError> {
    if is_empty(connection)? {
        return Ok(());
    }
    Err(TransactionError::refused(
        "the record holds keys already, and nothing is overwritten; to make more, use `portcullis key create`",
    ))
}

fn create(at: &WriteTransaction<'_>, new: &NewAccount) -> Result<(Account, ChangeNumber), TransactionError> {
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

/// A name that looks like an id would be mistaken for the account with that id.
fn refuse_like_an_id(name: &Name) -> Result<(), TransactionError> {
    if name.as_str().parse::<AccountId>().is_ok() {
        return Err(TransactionError::refused(format!(
            "'{name}' has the form of an account id: give another name"
        )));
    }
    Ok(())
}
