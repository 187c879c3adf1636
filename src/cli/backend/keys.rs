//! API keys.

use anyhow::bail;
use http::Method;
use serde::Serialize;
use serde_json::Value;
use zeroize::Zeroizing;

use super::{Backend, Confirmation, Done, OnPart, Seen};
use crate::auth::{ChosenPair, ChosenPairError, Peppers, secret_bits};
use crate::cli::import;
use crate::cli::issue;
use crate::cli::remote::{Body, Client, read};
use crate::cli::site::Site;
use crate::model::{AccessKey, AccountKind, Description, KeyId, KeyOwner, Name, State};
use crate::store::{Edit, KeyEntry, Settled};

/// Room for the largest body of a new key.
const BODY_BYTES: usize = 32 << 10;

/// A new key, with the secret that is shown this once.
pub(in crate::cli) struct NewKey {
    pub(in crate::cli) done: Done<KeyEntry>,
    pub(in crate::cli) secret: Zeroizing<String>,
}

/// A pair that somebody brings.
pub(in crate::cli) struct Brought {
    pub(in crate::cli) access_key: AccessKey,
    pub(in crate::cli) secret: Zeroizing<Vec<u8>>,
}

/// What a new key is made from, as the API reads it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NewKeyBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    account_id: Option<String>,
    name: Option<&'a str>,
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    public_value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret_value: Option<&'a str>,
}

impl NewKeyBody<'_> {
    fn write(&self) -> anyhow::Result<Body> {
        // with all its room at once: a buffer that grows leaves copies behind
        let mut json = Zeroizing::new(Vec::with_capacity(BODY_BYTES));
        serde_json::to_writer(&mut *json, self)?;
        Ok(Body::of(json))
    }
}

fn path(id: KeyId) -> String {
    format!("/v2-beta/apikeys/{id}")
}

impl Backend {
    /// The owner that the options name.
    pub(in crate::cli) fn owner(
        &mut self,
        account: Option<&str>,
        environment: Option<&str>,
    ) -> anyhow::Result<Option<KeyOwner>> {
        Ok(match (account, environment) {
            (Some(account), _) => Some(KeyOwner::Account(self.account(account)?.object.id)),
            (None, Some(environment)) => {
                Some(KeyOwner::Environment(self.environment(environment)?.object.id))
            }
            (None, None) => None,
        })
    }

    /// The key with this id or access key.
    pub(in crate::cli) fn key(&mut self, id_or_access_key: &str) -> anyhow::Result<Seen<KeyEntry>> {
        let client = match self {
            Self::Store(site) => {
                let id = site.store.find_key(id_or_access_key)?.id;
                let settled = site.store.settled();
                return Ok(seen(site.store.key_entry(id)?, settled));
            }
            Self::Api(client) => client,
        };
        if let Ok(id) = id_or_access_key.parse::<KeyId>()
            && let Some(answer) = client.find(&path(id))?
        {
            return Ok(super::seen(client, answer, read::key, |entry| entry.key.id == id)?);
        }
        let target = super::with_query("/v2-beta/apikeys", &[("publicValue", id_or_access_key)]);
        let is_meant = |entry: &KeyEntry| entry.key.access_key.as_str() == id_or_access_key;
        let found = super::matching(client, &target, read::key, is_meant)?;
        if found.is_empty() && !client.is_admin() {
            // the list at the top holds the own account's keys only
            bail!(
                "there is no key '{id_or_access_key}' that the key that asks may see by its access key; an \
                 environment's key is named by its id, which `portcullis key list --environment` shows"
            );
        }
        Ok(super::only_one("key", id_or_access_key, found, |entry| entry.key.id.to_string())?)
    }

    /// All keys, or those of one owner.
    pub(in crate::cli) fn keys(
        &mut self,
        owner: Option<&KeyOwner>,
        on_part: &mut OnPart<'_, KeyEntry>,
    ) -> anyhow::Result<()> {
        match self {
            Self::Store(site) => {
                let settled = site.store.settled();
                super::stored_parts(
                    |query| site.store.key_page(owner, query),
                    |entry| seen(entry, settled),
                    on_part,
                )
            }
            Self::Api(client) => {
                let path = match owner {
                    None => "/v2-beta/apikeys".to_owned(),
                    Some(KeyOwner::Account(id)) => format!("/v2-beta/accounts/{id}/apikeys"),
                    Some(KeyOwner::Environment(id)) => format!("/v2-beta/projects/{id}/apikeys"),
                };
                super::sent_parts(client, &path, read::key, on_part)
            }
        }
    }

    /// Makes a key.
    pub(in crate::cli) fn create_key(
        &mut self,
        owner: KeyOwner,
        name: Option<Name>,
        description: Option<Description>,
    ) -> anyhow::Result<NewKey> {
        match self {
            Self::Store(site) => {
                let peppers = Peppers::load(&site.config.pepper_files)?;
                let Site { config, store } = &mut **site;
                let issued = issue::issue_key(store, config, &peppers, owner, name, description)?;
                let secret = Zeroizing::new(issued.secret.as_str().to_owned());
                let revision = issued.entry.revision;
                Ok(NewKey { done: Done::ours(issued.entry, revision), secret })
            }
            Self::Api(client) => {
                let mut done = post(client, &owner, name.as_ref(), description.as_ref(), None)?;
                let secret = done.seen.sent.as_mut().and_then(|document| document.get_mut("secretValue"));
                let Some(Value::String(secret)) = secret.map(Value::take) else {
                    bail!(
                        "the gateway has made key {}, and not shown its secret: deactivate and delete it",
                        done.seen.object.key.id
                    );
                };
                Ok(NewKey { done, secret: Zeroizing::new(secret) })
            }
        }
    }

    /// Makes a key from a pair that somebody brings, and says so where its secret is weak.
    pub(in crate::cli) fn import_key(
        &mut self,
        owner: KeyOwner,
        name: Option<Name>,
        description: Option<Description>,
        brought: Brought,
    ) -> anyhow::Result<Done<KeyEntry>> {
        match self {
            Self::Store(site) => {
                let pair = ChosenPair::new(brought.access_key, brought.secret, &site.config.key_prefix)?;
                let (key, number) = import::import_key(site, owner, &pair, name, description)?;
                Ok(Done::ours(site.store.key_entry(key.id)?, number))
            }
            Self::Api(client) => {
                // who is none would get another pair instead
                if !client.is_admin() {
                    bail!("only an admin's key can bring a pair from elsewhere");
                }
                import::warn_where_weak(secret_bits(&brought.secret));
                post(client, &owner, name.as_ref(), description.as_ref(), Some(&brought))
            }
        }
    }

    /// Changes a key's name or description.
    pub(in crate::cli) fn edit_key(&mut self, key: &str, edit: &Edit) -> anyhow::Result<Done<KeyEntry>> {
        let id = self.key(key)?.object.key.id;
        match self {
            Self::Store(site) => {
                site.store.edit_key(id, edit)?;
                stored(site, id)
            }
            Self::Api(client) => {
                let answer = client.send(&Method::PUT, &path(id), Some(&super::edit_body(edit)))?;
                Ok(super::done(client, answer, read::key, |entry| entry.key.id == id)?)
            }
        }
    }

    /// Activates, deactivates or removes a key.
    pub(in crate::cli) fn set_key_state(
        &mut self,
        key: &str,
        state: State,
        confirmation: Confirmation,
    ) -> anyhow::Result<Done<KeyEntry>> {
        let id = self.key(key)?.object.key.id;
        match self {
            Self::Store(site) => {
                site.store.set_key_state(id, state)?;
                stored(site, id)
            }
            Self::Api(client) => {
                let answer = super::change_state(client, &path(id), state, confirmation)?;
                Ok(super::done(client, answer, read::key, |entry| entry.key.id == id)?)
            }
        }
    }

    /// Says so where a key has stopped that was the last with which an admin could log in.
    pub(in crate::cli) fn warn_where_no_admin_is_left(&self, owner: &KeyOwner) -> anyhow::Result<()> {
        match (self, owner) {
            (Self::Store(site), KeyOwner::Account(id))
                if site.store.account_entry(*id)?.object.kind == AccountKind::Admin =>
            {
                site.warn_without_admin_key()
            }
            _ => Ok(()),
        }
    }
}

fn seen(entry: KeyEntry, settled: Settled) -> Seen<KeyEntry> {
    let (revision, state) = (entry.revision, entry.key.state);
    Seen::stored(entry, revision, state, settled)
}

fn stored(site: &Site, id: KeyId) -> anyhow::Result<Done<KeyEntry>> {
    let entry = site.store.key_entry(id)?;
    let number = entry.revision;
    Ok(Done::ours(entry, number))
}

/// Has the API make a key.
fn post(
    client: &mut Client,
    owner: &KeyOwner,
    name: Option<&Name>,
    description: Option<&Description>,
    brought: Option<&Brought>,
) -> anyhow::Result<Done<KeyEntry>> {
    let (target, account_id) = match owner {
        KeyOwner::Account(id) => ("/v2-beta/apikeys".to_owned(), Some(id.to_string())),
        KeyOwner::Environment(id) => (format!("/v2-beta/projects/{id}/apikeys"), None),
    };
    let secret = brought.map(|pair| std::str::from_utf8(&pair.secret)).transpose();
    let body = NewKeyBody {
        account_id,
        name: name.map(Name::as_str),
        description: description.map(Description::as_str),
        public_value: brought.map(|pair| pair.access_key.as_str()),
        secret_value: secret.map_err(|_| ChosenPairError::NotText)?,
    };
    let answer = client.send(&Method::POST, &target, Some(&body.write()?))?;
    let is_meant = |entry: &KeyEntry| {
        entry.key.owner == *owner && brought.is_none_or(|pair| pair.access_key == entry.key.access_key)
    };
    Ok(super::done(client, answer, read::key, is_meant)?)
}
