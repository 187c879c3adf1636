//! Operations on environments.

use std::sync::atomic::Ordering;

use uuid::Uuid;

use super::members::missing_account;
use super::{Caller, Changed, Operations};
use crate::management::refusal::Refusal;
use crate::model::{AccountId, Description, Environment, EnvironmentId, KeyOwner, Name, Role, State};
use crate::policy::ManagementAction;
use crate::store::{
    Edit, EnvironmentScope, ExpectedRevision, NewEnvironment, Page, PageQuery, StateTransition, WithRevision,
};

impl Operations {
    /// An environment that the caller may see, even a removed one.
    pub async fn environment(
        &self,
        caller: &Caller,
        id: &EnvironmentId,
    ) -> Result<WithRevision<Environment>, Refusal> {
        let wanted = id.clone();
        let entry = self.store.read(move |store| store.environment_entry(&wanted)).await?;
        caller.require(&ManagementAction::SeeEnvironment { id: id.clone(), state: entry.object.state })?;
        Ok(entry)
    }

    /// An environment that the caller may see and that is not removed.
    pub async fn existing_environment(
        &self,
        caller: &Caller,
        id: &EnvironmentId,
    ) -> Result<WithRevision<Environment>, Refusal> {
        let entry = self.environment(caller, id).await?;
        if entry.object.state == State::Removed { Err(Refusal::NotFound) } else { Ok(entry) }
    }

    /// A page of the environments that the caller may see.
    pub async fn environments(
        &self,
        caller: &Caller,
        query: PageQuery,
    ) -> Result<Page<WithRevision<Environment>>, Refusal> {
        let seen_by = match caller.owner() {
            _ if caller.is_admin() => EnvironmentScope::All,
            KeyOwner::Account(id) => EnvironmentScope::VisibleTo(*id),
            KeyOwner::Environment(id) => EnvironmentScope::Only(id.clone()),
        };
        self.list(caller, move |store| store.environment_page(&seen_by, &query)).await
    }

    /// Whether the caller may create environments, if only with minted ids.
    pub fn may_create_environments(&self, caller: &Caller) -> bool {
        caller.may(&ManagementAction::MintEnvironment {
            most: self.environments_per_user.load(Ordering::Relaxed),
        })
    }

    /// Creates an environment with these members. The caller becomes an owner if there are none; callers who are not
    /// admins always do. Without an id it gets a minted one.
    pub async fn create_environment(
        &self,
        caller: &Caller,
        id: Option<EnvironmentId>,
        name: Option<Name>,
        description: Option<Description>,
        mut members: Vec<(AccountId, Role)>,
    ) -> Result<Changed<WithRevision<Environment>>, Refusal> {
        let most = self.environments_per_user.load(Ordering::Relaxed);
        caller.require(&ManagementAction::MintEnvironment { most })?;
        if id.is_some() && !caller.may(&ManagementAction::CreateEnvironments) {
            return Err(Refusal::IdIsForAdmins);
        }
        if let Some(own) = caller.account().map(|account| account.id)
            && (members.is_empty() || !caller.is_admin())
        {
            members.retain(|(account, _)| *account != own);
            members.push((own, Role::Owner));
        }
        let created = self
            .store
            .write(caller.author(), move |store| {
                let (environment, number) = if let Some(id) = id {
                    store.create_environment(&NewEnvironment { id, name, description, members })?
                } else {
                    let id = EnvironmentId::minted(Uuid::new_v4().as_u64_pair().1);
                    store
                        .create_minted_environment(&NewEnvironment { id, name, description, members }, most)?
                };
                Ok((store.environment_entry(&environment.id)?, number))
            })
            .await
            .map_err(missing_account)?;
        Ok(self.with_receipt(created).await)
    }

    /// Changes an environment's name or description.
    pub async fn edit_environment(
        &self,
        caller: &Caller,
        id: EnvironmentId,
        edit: Edit,
    ) -> Result<Changed<WithRevision<Environment>>, Refusal> {
        self.environment(caller, &id).await?;
        caller.require(&ManagementAction::ChangeEnvironment(id.clone()))?;
        let edited = self
            .store
            .write(caller.author(), move |store| {
                let (_, number) = store.edit_environment(&id, &edit)?;
                Ok((store.environment_entry(&id)?, number))
            })
            .await?;
        Ok(self.with_receipt(edited).await)
    }

    /// Activates or deactivates an environment, or removes an inactive one. With it go its keys and memberships.
    pub async fn set_environment_state(
        &self,
        caller: &Caller,
        id: EnvironmentId,
        transition: impl Into<StateTransition>,
    ) -> Result<Changed<WithRevision<Environment>>, Refusal> {
        let transition = transition.into();
        self.environment(caller, &id).await?;
        caller.require(&ManagementAction::ChangeEnvironment(id.clone()))?;
        let (to, environment) = (transition.to, id.clone());
        let changed = self
            .store
            .write(caller.author(), move |store| {
                let (_, number) = store.set_environment_state(&id, transition)?;
                Ok((store.environment_entry(&id)?, number))
            })
            .await;
        let now = async || self.environment(caller, &environment).await.map(|entry| (entry.revision, entry));
        self.state_changed(to, changed, now).await
    }

    /// Removes an environment, even an active one. With it go its keys and memberships.
    pub async fn remove_environment(
        &self,
        caller: &Caller,
        id: EnvironmentId,
        expected: ExpectedRevision,
    ) -> Result<Changed<WithRevision<Environment>>, Refusal> {
        self.environment(caller, &id).await?;
        caller.require(&ManagementAction::ChangeEnvironment(id.clone()))?;
        let environment = id.clone();
        let removed = self
            .store
            .write(caller.author(), move |store| {
                let (_, number) = store.remove_environment(&id, &expected)?;
                Ok((store.environment_entry(&id)?, number))
            })
            .await;
        let now = async || self.environment(caller, &environment).await.map(|entry| (entry.revision, entry));
        self.state_changed(State::Removed, removed, now).await
    }
}
