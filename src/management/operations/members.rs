//! Operations on memberships.

use super::{Caller, Changed, Operations};
use crate::management::refusal::Refusal;
use crate::model::{AccountId, EnvironmentId, KeyOwner, Membership, Role};
use crate::policy::ManagementAction;
use crate::store::{ExpectedRevision, MembershipScope, Page, PageQuery};

pub use crate::store::MemberEntry;

impl Operations {
    /// A page of an environment's members. Without one, of the memberships that the caller may see: all for admins, the
    /// own ones for users, those of its environment for an environment key.
    pub async fn members(
        &self,
        caller: &Caller,
        environment: Option<&EnvironmentId>,
        query: PageQuery,
    ) -> Result<Page<MemberEntry>, Refusal> {
        let of = match (environment, caller.owner()) {
            (Some(id), _) => {
                self.existing_environment(caller, id).await?;
                caller.require(&ManagementAction::SeeMembers(id.clone()))?;
                MembershipScope::Environment(id.clone())
            }
            (None, _) if caller.is_admin() => MembershipScope::All,
            (None, KeyOwner::Account(id)) => MembershipScope::Account(*id),
            (None, KeyOwner::Environment(id)) => MembershipScope::Environment(id.clone()),
        };
        self.list(caller, move |store| store.member_page(&of, &query)).await
    }

    /// One membership that the caller may see.
    pub async fn member(
        &self,
        caller: &Caller,
        environment: &EnvironmentId,
        account: AccountId,
    ) -> Result<MemberEntry, Refusal> {
        self.existing_environment(caller, environment).await?;
        let is_own = caller.account().is_some_and(|own| own.id == account);
        if !is_own {
            caller.require(&ManagementAction::SeeMembers(environment.clone()))?;
        }
        let environment = environment.clone();
        Ok(self.store.read(move |store| store.member_entry(account, &environment)).await?)
    }

    /// Adds a member, or gives a member another role.
    pub async fn add_member(
        &self,
        caller: &Caller,
        membership: Membership,
    ) -> Result<Changed<MemberEntry>, Refusal> {
        self.existing_environment(caller, &membership.environment).await?;
        caller.require(&ManagementAction::ChangeMembers(membership.environment.clone()))?;
        let added = self
            .store
            .write(caller.author(), move |store| {
                let number = store.add_member(&membership)?;
                Ok((store.member_entry(membership.account, &membership.environment)?, number))
            })
            .await;
        Ok(self.with_receipt(added.map_err(missing_account)?).await)
    }

    /// Gives a member another role.
    pub async fn set_role(
        &self,
        caller: &Caller,
        membership: Membership,
    ) -> Result<Changed<MemberEntry>, Refusal> {
        self.member(caller, &membership.environment, membership.account).await?;
        caller.require(&ManagementAction::ChangeMembers(membership.environment.clone()))?;
        let changed = self
            .store
            .write(caller.author(), move |store| {
                let number = store.set_role(&membership)?;
                Ok((store.member_entry(membership.account, &membership.environment)?, number))
            })
            .await?;
        Ok(self.with_receipt(changed).await)
    }

    /// Ends a membership, and returns what it was.
    pub async fn remove_member(
        &self,
        caller: &Caller,
        environment: &EnvironmentId,
        account: AccountId,
    ) -> Result<Changed<MemberEntry>, Refusal> {
        let member = self.member(caller, environment, account).await?;
        caller.require(&ManagementAction::ChangeMembers(environment.clone()))?;
        let environment = environment.clone();
        let number = self
            .store
            .write(caller.author(), move |store| store.remove_member(account, &environment))
            .await?;
        Ok(self.with_receipt((member, number)).await)
    }

    /// Replaces the members of an environment.
    pub async fn set_members(
        &self,
        caller: &Caller,
        environment: &EnvironmentId,
        members: Vec<(AccountId, Role)>,
        expected: ExpectedRevision,
    ) -> Result<Changed<()>, Refusal> {
        self.existing_environment(caller, environment).await?;
        caller.require(&ManagementAction::ChangeMembers(environment.clone()))?;
        let environment = environment.clone();
        let number = self
            .store
            .write(caller.author(), move |store| store.set_members(&environment, &members, &expected))
            .await
            .map_err(missing_account)?;
        Ok(self.with_receipt(((), number)).await)
    }
}

/// A new member's account that does not exist is an invalid field of the request, and no 404.
pub(super) fn missing_account(error: crate::store::StoreError) -> Refusal {
    match error {
        crate::store::StoreError::NotFound { what: "account", .. } => {
            Refusal::invalid("InvalidReference", "externalId", error.to_string())
        }
        error => error.into(),
    }
}
