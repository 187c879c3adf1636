//! Queries and changes of memberships.

use rusqlite::{Connection, OptionalExtension, Row};

use super::audit::Attempt;
use super::change::{self, ChangeNumber, Subject};
use super::error::TransactionError;
use super::object::{self, ObjectKind};
use super::page::{ListDefinition, ListScope, Page, PageQuery};
use super::row_mapping::{self, Parsed};
use super::write_transaction::WriteTransaction;
use super::{ExpectedRevision, Store, StoreError, accounts, environments};
use crate::model::{AccountId, EnvironmentId, Membership, Role};
use crate::policy::ManagementAction;

/// A membership with its environment's id.
const SELECT: &str = "SELECT memberships.account, memberships.role, environments.id AS environment_id
    FROM memberships JOIN environments ON environments.row = memberships.environment";

/// Which memberships are listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MembershipScope {
    /// All.
    All,
    /// Those of one environment.
    Environment(EnvironmentId),
    /// Those of one account.
    Account(AccountId),
}

/// A membership, with the account's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberEntry {
    /// Who, where, as what.
    pub membership: Membership,
    /// The account's name.
    pub name: String,
}

fn entry(row: &Row<'_>) -> rusqlite::Result<MemberEntry> {
    Ok(MemberEntry { membership: row_mapping::membership(row)?, name: row.get("name")? })
}

impl Store {
    /// Makes an account a member of an environment. If it is one already, its role is changed.
    pub fn add_member(&mut self, membership: &Membership) -> Result<ChangeNumber, StoreError> {
        let Membership { account, environment, .. } = membership;
        self.change(&Attempt::new("add", "membership", &format!("{environment}:{account}")), |at| {
            at.authorize(&ManagementAction::ChangeMembers(environment.clone()))?;
            keeping_an_owner(at, environment, || add(at, membership))
        })
    }

    /// Gives a member another role.
    pub fn set_role(&mut self, membership: &Membership) -> Result<ChangeNumber, StoreError> {
        let Membership { account, environment, .. } = membership;
        self.change(&Attempt::new("role", "membership", &format!("{environment}:{account}")), |at| {
            at.authorize(&ManagementAction::ChangeMembers(environment.clone()))?;
            let (row, _) = environments::get_existing(at, environment)?;
            role(at, *account, row)?.ok_or_else(|| not_a_member(*account, environment))?;
            keeping_an_owner(at, environment, || add(at, membership))
        })
    }

    /// Ends a membership.
    pub fn remove_member(
        &mut self,
        account: AccountId,
        environment: &EnvironmentId,
    ) -> Result<ChangeNumber, StoreError> {
        self.change(&Attempt::new("remove", "membership", &format!("{environment}:{account}")), |at| {
            at.authorize(&ManagementAction::ChangeMembers(environment.clone()))?;
            let (row, _) = environments::get_existing(at, environment)?;
            let role = role(at, account, row)?.ok_or_else(|| not_a_member(account, environment))?;
            let membership = Membership { account, environment: environment.clone(), role };
            keeping_an_owner(at, environment, || remove(at, &membership, row))
        })
    }

    /// Makes these the only members of an environment, with these roles. All or nothing. Refused if the environment has
    /// another revision than expected.
    pub fn set_members(
        &mut self,
        environment: &EnvironmentId,
        members: &[(AccountId, Role)],
        expected: &ExpectedRevision,
    ) -> Result<ChangeNumber, StoreError> {
        self.change(&Attempt::new("edit", "membership", &environment), |at| {
            at.authorize(&ManagementAction::ChangeMembers(environment.clone()))?;
            let (row, _) = environments::get_existing(at, environment)?;
            object::refuse_changed(at, ObjectKind::Environment, row, environment, expected)?;
            add_all(at, environment, members)?;
            for membership in of_environment(at, row)? {
                if !members.iter().any(|(account, _)| *account == membership.account) {
                    remove(at, &membership, row)?;
                }
            }
            Ok(change::head(at)?.number)
        })
    }

    /// A page of memberships. An environment must exist and not be removed.
    pub fn member_page(
        &self,
        of: &MembershipScope,
        query: &PageQuery,
    ) -> Result<Page<MemberEntry>, StoreError> {
        let scope = match of {
            MembershipScope::All => ListScope::everything(),
            MembershipScope::Environment(id) => ListScope::matching(
                "memberships.environment = (SELECT row FROM environments WHERE id = ?)",
                vec![id.as_str().to_owned().into()],
            ),
            MembershipScope::Account(id) => {
                ListScope::matching("memberships.account = ?", vec![id.row().into()])
            }
        };
        self.database.read(|at| {
            if let MembershipScope::Environment(id) = of {
                environments::get_existing(at, id)?;
            }
            ListDefinition::MEMBERS.page(at, query, &scope, entry)
        })
    }

    /// One membership, with the account's name.
    pub fn member_entry(
        &self,
        account: AccountId,
        environment: &EnvironmentId,
    ) -> Result<MemberEntry, StoreError> {
        self.database.read(|at| {
            at.prepare_cached(
                "SELECT memberships.account, memberships.role, environments.id AS environment_id, accounts.name
                 FROM memberships JOIN environments ON environments.row = memberships.environment
                 JOIN accounts ON accounts.id = memberships.account
                 WHERE memberships.account = ?1 AND environments.id = ?2",
            )?
            .query_row((account.row(), environment.as_str()), entry)
            .optional()?
            .filter(|entry| entry.membership.environment == *environment)
            .ok_or_else(|| not_a_member(account, environment))
        })
    }

    /// Where an account is a member.
    pub fn memberships_of(&self, account: AccountId) -> Result<Vec<Membership>, StoreError> {
        self.database.read(|at| of_account(at, account))
    }
}

fn not_a_member(account: AccountId, environment: &EnvironmentId) -> TransactionError {
    StoreError::NotFound { what: "member", wanted: format!("{account} of environment {environment}") }.into()
}

/// Runs `work`, and refuses if it leaves the environment without its last owner: the holder of a key cannot do that
/// (Rancher's rule). The command line can.
fn keeping_an_owner<T>(
    at: &WriteTransaction<'_>,
    environment: &EnvironmentId,
    work: impl FnOnce() -> Result<T, TransactionError>,
) -> Result<T, TransactionError> {
    let is_owned = || -> Result<bool, TransactionError> {
        let (row, _) = environments::get_existing(at, environment)?;
        let found = at
            .prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM memberships WHERE environment = ?1 AND role = 'owner')",
            )?
            .query_row([row], |row| row.get(0))?;
        Ok(found)
    };
    let had_owner = is_owned()?;
    let done = work()?;
    if at.author_is_key_holder() && had_owner && !is_owned()? {
        return Err(StoreError::LastOwner { environment: environment.clone() }.into());
    }
    Ok(done)
}

/// Adds members to an environment. One of them must be an owner.
pub(super) fn add_all(
    at: &WriteTransaction<'_>,
    environment: &EnvironmentId,
    members: &[(AccountId, Role)],
) -> Result<(), TransactionError> {
    for (account, role) in members {
        add(at, &Membership { account: *account, environment: environment.clone(), role: *role })?;
    }
    if at.author_is_key_holder() && !members.iter().any(|(_, role)| *role == Role::Owner) {
        return Err(StoreError::LastOwner { environment: environment.clone() }.into());
    }
    Ok(())
}

/// Adds a membership, or gives it another role.
fn add(
    transaction: &WriteTransaction<'_>,
    membership: &Membership,
) -> Result<ChangeNumber, TransactionError> {
    accounts::get_existing(transaction, membership.account)?;
    let (row, _) = environments::get_existing(transaction, &membership.environment)?;
    let before = role(transaction, membership.account, row)?;
    let action = match before {
        Some(role) if role == membership.role => return Ok(change::head(transaction)?.number),
        Some(_) => "role",
        None => "add",
    };
    transaction
        .prepare_cached(
            "INSERT OR REPLACE INTO memberships (account, environment, role) VALUES (?1, ?2, ?3)",
        )?
        .execute((membership.account.row(), row, membership.role.as_str()))?;
    log(transaction, membership, action, before, Some(membership.role))
}

pub(super) fn remove_all_of_account(
    transaction: &WriteTransaction<'_>,
    account: AccountId,
) -> Result<(), TransactionError> {
    for membership in of_account(transaction, account)? {
        let (row, _) = environments::get_existing(transaction, &membership.environment)?;
        remove(transaction, &membership, row)?;
    }
    Ok(())
}

pub(super) fn remove_all_of_environment(
    transaction: &WriteTransaction<'_>,
    row: i64,
) -> Result<(), TransactionError> {
    of_environment(transaction, row)?.iter().try_for_each(|membership| {
        remove(transaction, membership, row)?;
        Ok(())
    })
}

fn remove(
    transaction: &WriteTransaction<'_>,
    membership: &Membership,
    row: i64,
) -> Result<ChangeNumber, TransactionError> {
    transaction
        .prepare_cached("DELETE FROM memberships WHERE account = ?1 AND environment = ?2")?
        .execute((membership.account.row(), row))?;
    log(transaction, membership, "remove", Some(membership.role), None)
}

fn of_account(connection: &Connection, account: AccountId) -> Result<Vec<Membership>, TransactionError> {
    let mut statement =
        connection.prepare_cached(&format!("{SELECT} WHERE account = ?1 ORDER BY environment"))?;
    Ok(statement.query_map([account.row()], row_mapping::membership)?.collect::<Result<_, _>>()?)
}

fn of_environment(connection: &Connection, row: i64) -> Result<Vec<Membership>, TransactionError> {
    let mut statement =
        connection.prepare_cached(&format!("{SELECT} WHERE environment = ?1 ORDER BY account"))?;
    Ok(statement.query_map([row], row_mapping::membership)?.collect::<Result<_, _>>()?)
}

fn role(
    connection: &Connection,
    account: AccountId,
    environment_row: i64,
) -> Result<Option<Role>, TransactionError> {
    let found = connection
        .prepare_cached("SELECT role FROM memberships WHERE account = ?1 AND environment = ?2")?
        .query_row((account.row(), environment_row), |row| row.get::<_, Parsed<Role>>(0))
        .optional()?;
    Ok(found.map(|role| role.0))
}

/// Adds rows to the logs, with the role before and now.
fn log(
    at: &WriteTransaction<'_>,
    membership: &Membership,
    action: &str,
    before: Option<Role>,
    after: Option<Role>,
) -> Result<ChangeNumber, TransactionError> {
    let subject =
        Subject::Membership { account: membership.account, environment: membership.environment.clone() };
    let content = |role| row_mapping::membership_json(membership, role);
    let before = before.map(|role| content(Some(role)));
    change::append(at, &subject, action, before.as_ref(), &content(after))
}
