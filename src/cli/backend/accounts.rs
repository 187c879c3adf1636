//! Accounts.

use anyhow::bail;
use http::Method;
use serde_json::json;

use super::{Backend, OnListPart, api, with_hint};
use crate::cli::arguments::ConfirmSelf;
use crate::cli::local_store::LocalStore;
use crate::cli::remote::{Body, Client, RemoteError, resources};
use crate::cli::results::{Changed, Fetched};
use crate::model::{Account, AccountId, Description, State};
use crate::store::{ConfirmedUpTo, Edit, NewAccount, PageQuery, WithRevision};

pub(super) const PATH: &str = "/v2-beta/accounts";

pub(super) fn path(id: AccountId) -> String {
    format!("{PATH}/{id}")
}

/// The accounts with this name that the key that asks may see.
pub(super) fn named(client: &mut Client, name: &str) -> Result<Vec<Fetched<Account>>, RemoteError> {
    let target = api::with_query(PATH, &[("name", name)]);
    api::matching(client, &target, resources::account, |account| account.name.as_str() == name)
}

impl Backend {
    /// The account with this id, or else the only one with this name.
    pub(in crate::cli) fn account(&mut self, id_or_name: &str) -> anyhow::Result<Fetched<Account>> {
        self.find_account(id_or_name).map_err(|error| {
            with_hint(error, "`portcullis account list` shows all, `portcullis account create` makes one")
        })
    }

    fn find_account(&mut self, id_or_name: &str) -> anyhow::Result<Fetched<Account>> {
        let client = match self {
            Self::Store(local_store) => {
                let id = local_store.store.find_account(id_or_name)?.id;
                let confirmed_up_to = local_store.store.confirmed_up_to();
                return Ok(fetched(local_store.store.account_entry(id)?, confirmed_up_to));
            }
            Self::Api(client) => client,
        };
        if let Ok(id) = id_or_name.parse::<AccountId>()
            && let Some(answer) = client.find(&path(id))?
        {
            return Ok(api::fetched(client, answer, resources::account, |account| account.id == id)?);
        }
        let found = named(client, id_or_name)?;
        if found.is_empty() && !client.is_admin() && id_or_name.parse::<AccountId>().is_err() {
            bail!(
                "there is no account '{id_or_name}' that the key that asks may see: only admins find other accounts by \
                 name. Use its id, such as 1a2: its holder sees it with `portcullis account list --url …`, and so does an \
                 admin"
            );
        }
        Ok(api::only_one("account", id_or_name, found, |account| account.id.to_string())?)
    }

    /// The id of an account that is to become a member, or is one. Who owns an environment may name accounts that only
    /// admins can look at, by their ids; no name has the form of an id.
    pub(in crate::cli) fn account_id(&mut self, id_or_name: &str) -> anyhow::Result<AccountId> {
        match (&self, id_or_name.parse()) {
            (Self::Api(_), Ok(id)) => Ok(id),
            _ => Ok(self.account(id_or_name)?.object.id),
        }
    }

    /// All accounts.
    pub(in crate::cli) fn accounts(&mut self, on_part: &mut OnListPart<'_, Account>) -> anyhow::Result<()> {
        match self {
            Self::Store(local_store) => {
                let confirmed_up_to = local_store.store.confirmed_up_to();
                super::stored_parts(
                    PageQuery::default(),
                    |query| local_store.store.account_page(None, query),
                    |entry| fetched(entry, confirmed_up_to),
                    on_part,
                )
            }
            Self::Api(client) => api::sent_parts(client, PATH, resources::account, on_part),
        }
    }

    /// Makes an account.
    pub(in crate::cli) fn create_account(&mut self, new: &NewAccount) -> anyhow::Result<Changed<Account>> {
        match self {
            Self::Store(local_store) => {
                let (account, number) = local_store.store.create_account(new)?;
                Ok(Changed::in_store(account, number))
            }
            Self::Api(client) => {
                let body = Body::json(&json!({
                    "name": new.name.as_str(),
                    "kind": new.kind.as_str(),
                    "description": new.description.as_ref().map(Description::as_str),
                }));
                let answer = client.send(&Method::POST, PATH, Some(&body))?;
                Ok(api::changed(client, answer, resources::account, |account| account.kind == new.kind)?)
            }
        }
    }

    /// Changes an account's name or description.
    pub(in crate::cli) fn edit_account(
        &mut self,
        account: &str,
        edit: &Edit,
    ) -> anyhow::Result<Changed<Account>> {
        let id = self.account(account)?.object.id;
        match self {
            Self::Store(local_store) => {
                local_store.store.edit_account(id, edit)?;
                changed_in_store(local_store, id)
            }
            Self::Api(client) => {
                let answer = client.send(&Method::PUT, &path(id), Some(&api::edit_body(edit)))?;
                Ok(api::changed(client, answer, resources::account, |account| account.id == id)?)
            }
        }
    }

    /// Activates, deactivates or removes an account.
    pub(in crate::cli) fn set_account_state(
        &mut self,
        account: &str,
        state: State,
        confirmation: ConfirmSelf,
    ) -> anyhow::Result<Changed<Account>> {
        let id = self.account(account)?.object.id;
        match self {
            Self::Store(local_store) => {
                local_store.store.set_account_state(id, state)?;
                changed_in_store(local_store, id)
            }
            Self::Api(client) => {
                let answer = api::change_state(client, &path(id), state, confirmation)?;
                Ok(api::changed(client, answer, resources::account, |account| account.id == id)?)
            }
        }
    }
}

fn fetched(entry: WithRevision<Account>, confirmed_up_to: ConfirmedUpTo) -> Fetched<Account> {
    let state = entry.object.state;
    Fetched::from_store_at_revision(entry.object, entry.revision, state, confirmed_up_to)
}

fn changed_in_store(local_store: &LocalStore, id: AccountId) -> anyhow::Result<Changed<Account>> {
    let entry = local_store.store.account_entry(id)?;
    Ok(Changed::in_store(entry.object, entry.revision))
}
