//! Environments, and who belongs to them.

use http::Method;
use serde_json::json;
use uuid::Uuid;

use super::{Backend, Confirmation, Done, OnPart, Seen};
use crate::cli::remote::{Body, RemoteError, read};
use crate::cli::site::Site;
use crate::management::document::ACCOUNT_ID_TYPE;
use crate::model::{AccountId, Description, Environment, EnvironmentId, Membership, Name, Role, State};
use crate::store::{
    Edit, Entry, Expected, MemberEntry, MembersOf, NewEnvironment, SeenBy, Settled, StoreError,
};

const PATH: &str = "/v2-beta/projects";
const MEMBERS: &str = "/v2-beta/projectmembers";

fn path(id: &EnvironmentId) -> String {
    format!("{PATH}/{id}")
}

impl Backend {
    /// The environment with this id, or else the only one with this name.
    pub(in crate::cli) fn environment(&mut self, id_or_name: &str) -> anyhow::Result<Seen<Environment>> {
        let client = match self {
            Self::Store(site) => {
                let id = site.store.find_environment(id_or_name)?.id;
                let settled = site.store.settled();
                return Ok(seen(site.store.environment_entry(&id)?, settled));
            }
            Self::Api(client) => client,
        };
        if let Ok(id) = id_or_name.parse::<EnvironmentId>()
            && let Some(answer) = client.find(&path(&id))?
        {
            return Ok(super::seen(client, answer, read::environment, |environment| environment.id == id)?);
        }
        let target = super::with_query(PATH, &[("name", id_or_name)]);
        let is_meant = |environment: &Environment| {
            environment.name.as_ref().is_some_and(|name| name.as_str() == id_or_name)
        };
        let found = super::matching(client, &target, read::environment, is_meant)?;
        Ok(super::only_one("environment", id_or_name, found, |environment| environment.id.to_string())?)
    }

    /// All environments, in the order of their creation.
    pub(in crate::cli) fn environments(
        &mut self,
        on_part: &mut OnPart<'_, Environment>,
    ) -> anyhow::Result<()> {
        match self {
            Self::Store(site) => {
                let settled = site.store.settled();
                super::stored_parts(
                    |query| site.store.environment_page(&SeenBy::Everyone, query),
                    |entry| seen(entry, settled),
                    on_part,
                )
            }
            Self::Api(client) => super::sent_parts(client, PATH, read::environment, on_part),
        }
    }

    /// Makes an environment, without an id with a minted one. Over the API its first owner is the account whose key asks, where none is named.
    pub(in crate::cli) fn create_environment(
        &mut self,
        id: Option<EnvironmentId>,
        name: Option<Name>,
        description: Option<Description>,
        members: Vec<(AccountId, Role)>,
    ) -> anyhow::Result<Done<Environment>> {
        let client = match self {
            Self::Store(site) => {
                let id = id.unwrap_or_else(|| EnvironmentId::minted(Uuid::new_v4().as_u64_pair().1));
                let new = NewEnvironment { id, name, description, members };
                let (environment, number) = site.store.create_environment(&new)?;
                return Ok(Done::ours(environment, number));
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
        Ok(super::done(client, answer, read::environment, is_meant)?)
    }

    /// Changes an environment's name or description.
    pub(in crate::cli) fn edit_environment(
        &mut self,
        environment: &str,
        edit: &Edit,
    ) -> anyhow::Result<Done<Environment>> {
        let id = self.environment(environment)?.object.id;
        match self {
            Self::Store(site) => {
                site.store.edit_environment(&id, edit)?;
                stored(site, &id)
            }
            Self::Api(client) => {
                let answer = client.send(&Method::PUT, &path(&id), Some(&super::edit_body(edit)))?;
                Ok(super::done(client, answer, read::environment, |environment| environment.id == id)?)
            }
        }
    }

    /// Activates, deactivates or removes an environment; an active one is removed too.
    pub(in crate::cli) fn set_environment_state(
        &mut self,
        environment: &str,
        state: State,
    ) -> anyhow::Result<Done<Environment>> {
        let id = self.environment(environment)?.object.id;
        match self {
            Self::Store(site) => {
                match state {
                    State::Removed => site.store.remove_environment(&id, &Expected::Any)?,
                    State::Active | State::Inactive => site.store.set_environment_state(&id, state)?,
                };
                stored(site, &id)
            }
            Self::Api(client) => {
                let answer = super::change_state(client, &path(&id), state, Confirmation::NONE)?;
                Ok(super::done(client, answer, read::environment, |environment| environment.id == id)?)
            }
        }
    }

    /// An environment's members, by account.
    pub(in crate::cli) fn members(
        &mut self,
        environment: &EnvironmentId,
        on_part: &mut OnPart<'_, MemberEntry>,
    ) -> anyhow::Result<()> {
        match self {
            Self::Store(site) => {
                let of = MembersOf::Environment(environment.clone());
                super::stored_parts(|query| site.store.member_page(&of, query), Seen::ours, on_part)
            }
            Self::Api(client) => {
                let path = format!("{}/projectmembers", path(environment));
                super::sent_parts(client, &path, read::member, on_part)
            }
        }
    }

    /// Makes an account a member, or gives a member another role.
    pub(in crate::cli) fn add_member(
        &mut self,
        membership: &Membership,
    ) -> anyhow::Result<Done<MemberEntry>> {
        let Membership { account, environment, role } = membership;
        match self {
            Self::Store(site) => {
                let number = site.store.add_member(membership)?;
                Ok(Done::ours(site.store.member_entry(*account, environment)?, number))
            }
            Self::Api(client) => {
                let body = Body::json(&json!({
                    "projectId": environment.as_str(),
                    "externalId": account.to_string(),
                    "externalIdType": ACCOUNT_ID_TYPE,
                    "role": role.as_str(),
                }));
                let answer = client.send(&Method::POST, MEMBERS, Some(&body))?;
                Ok(super::done(client, answer, read::member, |entry| entry.membership == *membership)?)
            }
        }
    }

    /// Ends a membership; what it was.
    pub(in crate::cli) fn remove_member(
        &mut self,
        account: AccountId,
        environment: &EnvironmentId,
    ) -> anyhow::Result<Done<MemberEntry>> {
        match self {
            Self::Store(site) => {
                let entry = site.store.member_entry(account, environment)?;
                let number = site.store.remove_member(account, environment)?;
                Ok(Done::ours(entry, number))
            }
            Self::Api(client) => {
                let target = format!("{MEMBERS}/{environment}:{account}");
                let answer = client.send(&Method::DELETE, &target, None).map_err(|error| match error {
                    RemoteError::NotFound { .. } => anyhow::Error::from(StoreError::NotFound {
                        what: "member",
                        wanted: format!("{account} in {environment}"),
                    }),
                    error => error.into(),
                })?;
                let is_meant = |entry: &MemberEntry| {
                    (entry.membership.account, &entry.membership.environment) == (account, environment)
                };
                Ok(super::done(client, answer, read::member, is_meant)?)
            }
        }
    }
}

fn seen(entry: Entry<Environment>, settled: Settled) -> Seen<Environment> {
    let state = entry.object.state;
    Seen::stored(entry.object, entry.revision, state, settled)
}

fn stored(site: &Site, id: &EnvironmentId) -> anyhow::Result<Done<Environment>> {
    let entry = site.store.environment_entry(id)?;
    Ok(Done::ours(entry.object, entry.revision))
}
