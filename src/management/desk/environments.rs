//! Environments.

use std::sync::atomic::Ordering;

use uuid::Uuid;

use super::members::missing_account;
use super::{Caller, Desk, Done};
use crate::management::refusal::Refusal;
use crate::model::{AccountId, Description, Environment, EnvironmentId, KeyOwner, Name, Role, State};
use crate::policy::Act;
use crate::store::{Edit, Entry, Expected, NewEnvironment, Page, Query, SeenBy, Transition};

impl Desk {
    /// An environment that the caller may see, a removed one too.
    pub async fn environment(
        &self,
        caller: &Caller,
        id: &EnvironmentId,
    ) -> Result<Entry<Environment>, Refusal> {
        let wanted = id.clone();
        let entry = self.registry.read(move |store| store.environment_entry(&wanted)).await?;
        caller.require(&Act::SeeEnvironment { id: id.clone(), state: entry.object.state })?;
        Ok(entry)
    }

    /// An environment that the caller may see and that was not removed: what a path through it needs.
    pub async fn present_environment(
        &self,
        caller: &Caller,
        id: &EnvironmentId,
    ) -> Result<Entry<Environment>, Refusal> {
        let entry = self.environment(caller, id).await?;
        if entry.object.state == State::Removed { Err(Refusal::NotFound) } else { Ok(entry) }
    }

    /// A page of the environments that the caller may see.
    pub async fn environments(
        &self,
        caller: &Caller,
        query: Query,
    ) -> Result<Page<Entry<Environment>>, Refusal> {
        let seen_by = match caller.owner() {
            _ if caller.is_admin() => SeenBy::Everyone,
            KeyOwner::Account(id) => SeenBy::Member(*id),
            KeyOwner::Environment(id) => SeenBy::Itself(id.clone()),
        };
        self.list(caller, move |store| store.environment_page(&seen_by, &query)).await
    }

    /// Whether the caller may make environments, be it with minted ids only.
    pub fn may_create_environments(&self, caller: &Caller) -> bool {
        caller.may(&Act::MintEnvironment { most: self.environments_per_user.load(Ordering::Relaxed) })
    }

    /// Makes an environment with these members; the caller becomes its owner where none are named, and where the caller
    /// is no admin always. Without an id it gets a minted one.
    pub async fn create_environment(
        &self,
        caller: &Caller,
        id: Option<EnvironmentId>,
        name: Option<Name>,
        description: Option<Description>,
        mut members: Vec<(AccountId, Role)>,
    ) -> Result<Done<Entry<Environment>>, Refusal> {
        let most = self.environments_per_user.load(Ordering::Relaxed);
        caller.require(&Act::MintEnvironment { most })?;
        if id.is_some() && !caller.may(&Act::CreateEnvironments) {
            return Err(Refusal::IdIsNotForTheCaller);
        }
        if let Some(own) = caller.account().map(|account| account.id)
            && (members.is_empty() || !caller.is_admin())
        {
            members.retain(|(account, _)| *account != own);
            members.push((own, Role::Owner));
        }
        let made = self
            .registry
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
        Ok(self.done(made).await)
    }

    /// Changes an environment's name or description.
    pub async fn edit_environment(
        &self,
        caller: &Caller,
        id: EnvironmentId,
        edit: Edit,
    ) -> Result<Done<Entry<Environment>>, Refusal> {
        self.environment(caller, &id).await?;
        caller.require(&Act::ChangeEnvironment(id.clone()))?;
        let edited = self
            .registry
            .write(caller.author(), move |store| {
                let (_, number) = store.edit_environment(&id, &edit)?;
                Ok((store.environment_entry(&id)?, number))
            })
            .await?;
        Ok(self.done(edited).await)
    }

    /// Activates or deactivates an environment, or removes an inactive one; its keys and memberships go with it.
    pub async fn set_environment_state(
        &self,
        caller: &Caller,
        id: EnvironmentId,
        transition: impl Into<Transition>,
    ) -> Result<Done<Entry<Environment>>, Refusal> {
        let transition = transition.into();
        self.environment(caller, &id).await?;
        caller.require(&Act::ChangeEnvironment(id.clone()))?;
        let (to, environment) = (transition.to, id.clone());
        let changed = self
            .registry
            .write(caller.author(), move |store| {
                let (_, number) = store.set_environment_state(&id, transition)?;
                Ok((store.environment_entry(&id)?, number))
            })
            .await;
        let now = async || self.environment(caller, &environment).await.map(|entry| (entry.revision, entry));
        self.state_changed(to, changed, now).await
    }

    /// Removes an environment, an active one too; its keys and memberships go with it.
    pub async fn remove_environment(
        &self,
        caller: &Caller,
        id: EnvironmentId,
        expected: Expected,
    ) -> Result<Done<Entry<Environment>>, Refusal> {
        self.environment(caller, &id).await?;
        caller.require(&Act::ChangeEnvironment(id.clone()))?;
        let environment = id.clone();
        let removed = self
            .registry
            .write(caller.author(), move |store| {
                let (_, number) = store.remove_environment(&id, &expected)?;
                Ok((store.environment_entry(&id)?, number))
            })
            .await;
        let now = async || self.environment(caller, &environment).await.map(|entry| (entry.revision, entry));
        self.state_changed(State::Removed, removed, now).await
    }
}
