//! Memberships in the record.

use rusqlite::{Connection, OptionalExtension};

use super::change::{self, ChangeNumber, Subject};
use super::error::Fault;
use super::rows::{self, Parsed};
use super::{Store, StoreError, accounts, environments};
use crate::model::{AccountId, EnvironmentId, Membership, Role};

/// A membership with its environment's id.
const SELECT: &str = "SELECT memberships.account, memberships.role, environments.id AS environment_id
    FROM memberships JOIN environments ON environments.row = memberships.environment";

impl Store {
    /// Makes an account a member of an environment; an account that is one already gets the role instead of its own.
    pub fn add_member(&mut self, membership: &Membership) -> Result<ChangeNumber, StoreError> {
        self.database.write(|at| add(at, membership))
    }

    /// Ends a membership.
    pub fn remove_member(
        &mut self,
        account: AccountId,
        environment: &EnvironmentId,
    ) -> Result<ChangeNumber, StoreError> {
        self.database.write(|at| {
            let (row, _) = environments::present(at, environment)?;
            let Some(role) = role(at, account, row)? else {
                return Err(Fault::Store(StoreError::NotFound {
                    what: "member",
                    wanted: format!("{account} in {environment}"),
                }));
            };
            remove(at, &Membership { account, environment: environment.clone(), role }, row)
        })
    }

    /// The members of an environment, by account.
    pub fn members(&self, environment: &EnvironmentId) -> Result<Vec<Membership>, StoreError> {
        self.database.read(|at| {
            let (row, _) = environments::present(at, environment)?;
            of_environment(at, row)
        })
    }

    /// Where an account is a member.
    pub fn memberships_of(&self, account: AccountId) -> Result<Vec<Membership>, StoreError> {
        self.database.read(|at| of_account(at, account))
    }
}

/// Adds a membership, or gives it another role.
pub(super) fn add(transaction: &Connection, membership: &Membership) -> Result<ChangeNumber, Fault> {
    accounts::present(transaction, membership.account)?;
    let (row, _) = environments::present(transaction, &membership.environment)?;
    let action = match role(transaction, membership.account, row)? {
        Some(role) if role == membership.role => return Ok(change::head(transaction)?.number),
        Some(_) => "role",
        None => "add",
    };
    transaction
        .prepare_cached(
            "INSERT OR REPLACE INTO memberships (account, environment, role) VALUES (?1, ?2, ?3)",
        )?
        .execute((membership.account.row(), row, membership.role.as_str()))?;
    log(transaction, membership, action, true)
}

pub(super) fn remove_all_of_account(transaction: &Connection, account: AccountId) -> Result<(), Fault> {
    for membership in of_account(transaction, account)? {
        let (row, _) = environments::present(transaction, &membership.environment)?;
        remove(transaction, &membership, row)?;
    }
    Ok(())
}

pub(super) fn remove_all_of_environment(transaction: &Connection, row: i64) -> Result<(), Fault> {
    of_environment(transaction, row)?.iter().try_for_each(|membership| {
        remove(transaction, membership, row)?;
        Ok(())
    })
}

fn remove(transaction: &Connection, membership: &Membership, row: i64) -> Result<ChangeNumber, Fault> {
    transaction
        .prepare_cached("DELETE FROM memberships WHERE account = ?1 AND environment = ?2")?
        .execute((membership.account.row(), row))?;
    log(transaction, membership, "remove", false)
}

fn of_account(connection: &Connection, account: AccountId) -> Result<Vec<Membership>, Fault> {
    let mut statement =
        connection.prepare_cached(&format!("{SELECT} WHERE account = ?1 ORDER BY environment"))?;
    Ok(statement.query_map([account.row()], rows::membership)?.collect::<Result<_, _>>()?)
}

fn of_environment(connection: &Connection, row: i64) -> Result<Vec<Membership>, Fault> {
    let mut statement =
        connection.prepare_cached(&format!("{SELECT} WHERE environment = ?1 ORDER BY account"))?;
    Ok(statement.query_map([row], rows::membership)?.collect::<Result<_, _>>()?)
}

fn role(connection: &Connection, account: AccountId, environment_row: i64) -> Result<Option<Role>, Fault> {
    let found = connection
        .prepare_cached("SELECT role FROM memberships WHERE account = ?1 AND environment = ?2")?
        .query_row((account.row(), environment_row), |row| row.get::<_, Parsed<Role>>(0))
        .optional()?;
    Ok(found.map(|role| role.0))
}

fn log(
    transaction: &Connection,
    membership: &Membership,
    action: &str,
    exists: bool,
) -> Result<ChangeNumber, Fault> {
    let subject =
        Subject::Membership { account: membership.account, environment: membership.environment.clone() };
    change::append(transaction, &subject, action, &rows::membership_content(membership, exists))
}
