//! Environments, and who belongs to them.

use http::Method;
use serde_json::json;
use uuid::Uuid;

use super::{Backend, OnListPart, api, with_hint};
use crate::cli::arguments::ConfirmSelf;
use crate::cli::local_store::LocalStore;
use crate::cli::remote::{Body, Client, RemoteError, resources};
use crate::cli::results::{Changed, Fetched};
use crate::management::resource_json::ACCOUNT_ID_TYPE;
use crate::model::{AccountId, Description, Environment, EnvironmentId, Membership, Name, Role, State};
use crate::store::{
    ConfirmedUpTo, Edit, EnvironmentScope, ExpectedRevision, MemberEntry, MembershipScope, NewEnvironment,
    PageQuery, StoreError, WithRevision,
};

pub(super) const PATH: &str = "/v2-beta/projects";
const MEMBERS: &str = "/v2-beta/projectmembers";

pub(super) fn path(id: &EnvironmentId) -> String {
    format!("{PATH}/{id}")
}

/// The environments with this name that the key that asks may see.
pub(super) fn named(client: &mut Client, name: &str) -> Result<Vec<Fetched<Environment>>, RemoteError> {
    let target = api::with_query(PATH, &[("name", name)]);
    let is_meant =
        |environment: &Environment| environment.name.as_ref().is_some_and(|it| it.as_str() == name);
    api::matching(client, &target, resources::environment, is_meant)
}

impl Backend {
    /// The environment with this id, or else the only one with this name.
    pub(in crate::cli) fn environment(&mut self, id_or_name: &str) -> anyhow::Result<Fetched<Environment>> {
        self.find_environment(id_or_name).map_err(|error| {
            with_hint(
                error,
                "`portcullis environment list` shows all, `portcullis environment create` makes one",
            )
        })
    }

    fn find_environment(&mut self, id_or_name: &str) -> anyhow::Result<Fetched<Environment>> {
        let client = match self {
            Self::Store(local_store) => {
                let id = local_store.store.find_environment(id_or_name)?.id;
                let confirmed_up_to = local_store.store.confirmed_up_to();
                return Ok(fetched(local_store.store.environment_entry(&id)?, confirmed_up_to));
            }
            Self::Api(client) => client,
        };
        if let Ok(id) = id_or_name.parse::<EnvironmentId>()
            && let Some(answer) = client.find(&path(&id))?
        {
            return Ok(api::fetched(client, answer, resources::environment, |environment| {
                environment.id == id
            })?);
        }
        let found = named(client, id_or_name)?;
        Ok(api::only_one("environment", id_or_name, found, |environment| environment.id.to_string())?)
    }

    /// All environments, in the order of their creation.
    pub(in crate::cli) fn environments(
        &mut self,
        on_part: &mut OnListPart<'_, Environment>,
    ) -> anyhow::Result<()> {
        match self {
            Self::Store(local_store) => {
                let confirmed_up_to = local_store.store.confirmed_up_to();
                super::stored_parts(
                    PageQuery::default(),
                    |query| local_store.store.environment_page(&EnvironmentScope::All, query),
                    |entry| fetched(entry, confirmed_up_to),
                    on_part,
                )
            }
            Self::Api(client) => api::sent_parts(client, PATH, resources::environment, on_part),
        }
    }

    /// Makes an environment, without an id with a minted one. Over the API its first owner is the account whose key asks, where none is named.
    pub(in crate::cli) fn create_environment(
        &mut self,
        id: Option<EnvironmentId>,
        name: Option<Name>,
        description: Option<Description>,
        members: Vec<(AccountId, Role)>,
    ) -> anyhow::Result<Changed<Environment>> {
        let client = match self {
            Self::Store(local_store) => {
                let id = id.unwrap_or_else(|| EnvironmentId::minted(Uuid::new_v4().as_u64_pair().1));
                let new = NewEnvironment { id, name, description, members };
                let (environment, number) = local_store.store.create_environment(&new)?;
                local_store.warn_without_environments();
                return Ok(Changed::in_store(environment, number));
            }
            Self::Api(client) => client,
        };
        let member = |(account, role): &(AccountId, Role)| json!({ "externalId": account.to_string(), "externalIdType": ACCOUNT_ID_TYPE, "role": role.as_str() });
        let body = Body::json(&json!({
            "id": id.as_ref().map(EnvironmentId::as_str),
            "name": name.as_ref().map(Name::as_str),
            "description": description.as_ref().map(Description::as_str),
            "members": members.iter().map(member).collect::<Vec<_>>(),
        }));
        let is_meant = |environment: &Environment| id.as_ref().is_none_or(|id| environment.id == *id);
        let answer = client.send(&Method::POST, PATH, Some(&body))?;
        Ok(api::changed(client, answer, resources::environment, is_meant)?)
    }

    /// Changes an environment's name or description.
    pub(in crate::cli) fn edit_environment(
        &mut self,
        environment: &str,
        edit: &Edit,
    ) -> anyhow::Result<Changed<Environment>> {
        let id = self.environment(environment)?.object.id;
        match self {
            Self::Store(local_store) => {
                local_store.store.edit_environment(&id, edit)?;
                changed_in_store(local_store, &id)
            }
            Self::Api(client) => {
                let answer = client.send(&Method::PUT, &path(&id), Some(&api::edit_body(edit)))?;
                Ok(api::changed(client, answer, resources::environment, |environment| environment.id == id)?)
            }
        }
    }

    /// Activates, deactivates or removes an environment; an active one is removed too.
    pub(in crate::cli) fn set_environment_state(
        &mut self,
        environment: &str,
        state: State,
    ) -> anyhow::Result<Changed<Environment>> {
        let id = self.environment(environment)?.object.id;
        match self {
            Self::Store(local_store) => {
                match state {
                    State::Removed => local_store.store.remove_environment(&id, &ExpectedRevision::Any)?,
                    State::Active | State::Inactive => local_store.store.set_environment_state(&id, state)?,
                };
                changed_in_store(local_store, &id)
            }
            Self::Api(client) => {
                let answer = api::change_state(client, &path(&id), state, ConfirmSelf::NONE)?;
                Ok(api::changed(client, answer, resources::environment, |environment| environment.id == id)?)
            }
        }
    }

    /// An environment's members, by account.
    pub(in crate::cli) fn members(
        &mut self,
        environment: &EnvironmentId,
        on_part: &mut OnListPart<'_, MemberEntry>,
    ) -> anyhow::Result<()> {
        match self {
            Self::Store(local_store) => {
                let of = MembershipScope::Environment(environment.clone());
                super::stored_parts(
                    PageQuery::default(),
                    |query| local_store.store.member_page(&of, query),
                    Fetched::from_store,
                    on_part,
                )
            }
            Self::Api(client) => {
                let path = format!("{}/projectmembers", path(environment));
                api::sent_parts(client, &path, resources::member, on_part)
            }
        }
    }

    /// Makes an account a member, or gives a member another role.
    pub(in crate::cli) fn add_member(
        &mut self,
        membership: &Membership,
    ) -> anyhow::Result<Changed<MemberEntry>> {
        let Membership { account, environment, role } = membership;
        match self {
            Self::Store(local_store) => {
                let number = local_store.store.add_member(membership)?;
                Ok(Changed::in_store(local_store.store.member_entry(*account, environment)?, number))
            }
            Self::Api(client) => {
                let body = Body::json(&json!({
                    "projectId": environment.as_str(),
                    "externalId": account.to_string(),
                    "externalIdType": ACCOUNT_ID_TYPE,
                    "role": role.as_str(),
                }));
                let answer = client.send(&Method::POST, MEMBERS, Some(&body))?;
                Ok(api::changed(client, answer, resources::member, |entry| entry.membership == *membership)?)
            }
        }
    }

    /// Ends a membership; what it was.
    pub(in crate::cli) fn remove_member(
        &mut self,
        account: AccountId,
        environment: &EnvironmentId,
    ) -> anyhow::Result<Changed<MemberEntry>> {
        match self {
            Self::Store(local_store) => {
                let entry = local_store.store.member_entry(account, environment)?;
                let number = local_store.store.remove_member(account, environment)?;
                Ok(Changed::in_store(entry, number))
            }
            Self::Api(client) => {
                let target = format!("{MEMBERS}/{environment}:{account}");
                let answer = client.send(&Method::DELETE, &target, None).map_err(|error| match error {
                    RemoteError::NotFound { .. } => anyhow::Error::from(StoreError::NotFound {
                        what: "member",
                        wanted: format!("{account} of environment {environment}"),
                    }),
                    error => error.into(),
                })?;
                let is_meant = |entry: &MemberEntry| {
                    (entry.membership.account, &entry.membership.environment) == (account, environment)
                };
                Ok(api::changed(client, answer, resources::member, is_meant)?)
            }
        }
    }
}

fn fetched(entry: WithRevision<Environment>, confirmed_up_to: ConfirmedUpTo) -> Fetched<Environment> {
    let state = entry.object.state;
    Fetched::from_store_at_revision(entry.object, entry.revision, state, confirmed_up_to)
}

fn changed_in_store(local_store: &LocalStore, id: &EnvironmentId) -> anyhow::Result<Changed<Environment>> {
    let entry = local_store.store.environment_entry(id)?;
    Ok(Changed::in_store(entry.object, entry.revision))
}
