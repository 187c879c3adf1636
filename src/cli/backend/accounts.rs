//! Accounts.

use http::Method;
use serde_json::json;

use super::{Backend, Confirmation, Done, OnPart, Seen};
use crate::cli::remote::{Body, read};
use crate::cli::site::Site;
use crate::model::{Account, AccountId, Description, State};
use crate::store::{Edit, Entry, NewAccount, Settled};

const PATH: &str = "/v2-beta/accounts";

fn path(id: AccountId) -> String {
    format!("{PATH}/{id}")
}

impl Backend {
    /// The account with this id, or else the only one with this name.
    pub(in crate::cli) fn account(&mut self, id_or_name: &str) -> anyhow::Result<Seen<Account>> {
        let client = match self {
            Self::Store(site) => {
                let id = site.store.find_account(id_or_name)?.id;
                let settled = site.store.settled();
                return Ok(seen(site.store.account_entry(id)?, settled));
            }
            Self::Api(client) => client,
        };
        if let Ok(id) = id_or_name.parse::<AccountId>()
            && let Some(answer) = client.find(&path(id))?
        {
            return Ok(super::seen(client, answer, read::account, |account| account.id == id)?);
        }
        let target = super::with_query(PATH, &[("name", id_or_name)]);
        let is_meant = |account: &Account| account.name.as_str() == id_or_name;
        let found = super::matching(client, &target, read::account, is_meant)?;
        Ok(super::only_one("account", id_or_name, found, |account| account.id.to_string())?)
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
    pub(in crate::cli) fn accounts(&mut self, on_part: &mut OnPart<'_, Account>) -> anyhow::Result<()> {
        match self {
            Self::Store(site) => {
                let settled = site.store.settled();
                super::stored_parts(
                    |query| site.store.account_page(None, query),
                    |entry| seen(entry, settled),
                    on_part,
                )
            }
            Self::Api(client) => super::sent_parts(client, PATH, read::account, on_part),
        }
    }

    /// Makes an account.
    pub(in crate::cli) fn create_account(&mut self, new: &NewAccount) -> anyhow::Result<Done<Account>> {
        match self {
            Self::Store(site) => {
                let (account, number) = site.store.create_account(new)?;
                Ok(Done::ours(account, number))
            }
            Self::Api(client) => {
                let body = Body::json(&json!({
                    "name": new.name.as_str(),
                    "kind": new.kind.as_str(),
                    "description": new.description.as_ref().map(Description::as_str),
                }));
                let answer = client.send(&Method::POST, PATH, Some(&body))?;
                Ok(super::done(client, answer, read::account, |account| account.kind == new.kind)?)
            }
        }
    }

    /// Changes an account's name or description.
    pub(in crate::cli) fn edit_account(
        &mut self,
        account: &str,
        edit: &Edit,
    ) -> anyhow::Result<Done<Account>> {
        let id = self.account(account)?.object.id;
        match self {
            Self::Store(site) => {
                site.store.edit_account(id, edit)?;
                stored(site, id)
            }
            Self::Api(client) => {
                let answer = client.send(&Method::PUT, &path(id), Some(&super::edit_body(edit)))?;
                Ok(super::done(client, answer, read::account, |account| account.id == id)?)
            }
        }
    }

    /// Activates, deactivates or removes an account.
    pub(in crate::cli) fn set_account_state(
        &mut self,
        account: &str,
        state: State,
        confirmation: Confirmation,
    ) -> anyhow::Result<Done<Account>> {
        let id = self.account(account)?.object.id;
        match self {
            Self::Store(site) => {
                site.store.set_account_state(id, state)?;
                stored(site, id)
            }
            Self::Api(client) => {
                let answer = super::change_state(client, &path(id), state, confirmation)?;
                Ok(super::done(client, answer, read::account, |account| account.id == id)?)
            }
        }
    }
}

fn seen(entry: Entry<Account>, settled: Settled) -> Seen<Account> {
    let state = entry.object.state;
    Seen::stored(entry.object, entry.revision, state, settled)
}

fn stored(site: &Site, id: AccountId) -> anyhow::Result<Done<Account>> {
    let entry = site.store.account_entry(id)?;
    Ok(Done::ours(entry.object, entry.revision))
}
