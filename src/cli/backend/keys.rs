//! API keys.

use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use http::Method;
use jiff::Timestamp;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::owner_names::OwnerNames;
use super::{Backend, OnListPart, api, owner_names, with_hint};
use crate::auth::{ChosenPair, ChosenPairError, Peppers, looks_like_secret, max_entropy_bits, new_secret};
use crate::cli::arguments::{ConfirmSelf, SECRET_AS_NAME};
use crate::cli::chosen_pair;
use crate::cli::issue_key::issue_key;
use crate::cli::local_store::LocalStore;
use crate::cli::output::Format;
use crate::cli::remote::{Body, Client, resources};
use crate::cli::results::{Changed, Fetched};
use crate::model::{AccessKey, AccountKind, ApiKey, KeyId, KeyOwner, Scope, State, WantedOverlap};
use crate::store::{ConfirmedUpTo, ExpectedRevision, KeyEdit, KeyEntry, Overlap, PageQuery, StoreError};

/// Room for the largest body of a new key.
const BODY_BYTES: usize = 32 << 10;

/// A new key, with the secret that is shown this once.
pub(in crate::cli) struct NewKey {
    pub(in crate::cli) changed: Changed<KeyEntry>,
    pub(in crate::cli) secret: Zeroizing<String>,
}

impl NewKey {
    /// Takes the secret out of what the API has sent.
    fn of(mut changed: Changed<KeyEntry>) -> Option<Self> {
        let secret = changed.fetched.sent.as_mut().and_then(|document| document.get_mut("secretValue"));
        let Some(Value::String(secret)) = secret.map(Value::take) else { return None };
        Some(Self { changed, secret: Zeroizing::new(secret) })
    }
}

/// A pair that somebody brings.
pub(in crate::cli) struct ImportedPair {
    pub(in crate::cli) access_key: AccessKey,
    pub(in crate::cli) secret: Zeroizing<Vec<u8>>,
}

/// What is said of a key, as the API reads it.
fn said_fields(said: &KeyEdit) -> Map<String, Value> {
    let mut fields = api::edit_fields(&said.common);
    if let Some(expires) = said.expires {
        fields.insert("expires".to_owned(), json!(expires.map(|time| time.to_string())));
    }
    if let Some(scope) = &said.scope {
        fields.insert("scope".to_owned(), json!(scope.as_ref().map(Scope::json)));
    }
    fields
}

/// What a new key is made from, as the API reads it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NewKeyBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    account_id: Option<String>,
    #[serde(flatten)]
    said: Map<String, Value>,
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

const PATH: &str = "/v2-beta/apikeys";

fn path(id: KeyId) -> String {
    format!("{PATH}/{id}")
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
    pub(in crate::cli) fn key(&mut self, id_or_access_key: &str) -> anyhow::Result<Fetched<KeyEntry>> {
        self.find_key(id_or_access_key).map_err(|error| match error.downcast_ref() {
            Some(StoreError::NotFound { wanted, .. }) if looks_like_secret(wanted) => anyhow!(SECRET_AS_NAME),
            _ => with_hint(
                error,
                "name a key by its id or its access key, `portcullis key list` shows those that you may see",
            ),
        })
    }

    fn find_key(&mut self, id_or_access_key: &str) -> anyhow::Result<Fetched<KeyEntry>> {
        // a key that has leaked is often at hand as a pair; what follows the colon is a secret, and printed nowhere
        let id_or_access_key = id_or_access_key.split(':').next().unwrap_or_default();
        let client = match self {
            Self::Store(local_store) => {
                let id = local_store.store.find_key(id_or_access_key)?.id;
                let confirmed_up_to = local_store.store.confirmed_up_to();
                return Ok(fetched(local_store.store.key_entry(id)?, confirmed_up_to));
            }
            Self::Api(client) => client,
        };
        let segment = utf8_percent_encode(id_or_access_key, NON_ALPHANUMERIC);
        // every id could be an access key by its characters
        let answer = match id_or_access_key.parse::<AccessKey>() {
            Ok(_) => client.find(&format!("{PATH}/{segment}"))?,
            Err(_) => None,
        };
        let Some(answer) = answer else {
            return Err(StoreError::NotFound { what: "key", wanted: id_or_access_key.to_owned() }.into());
        };
        let is_meant = |entry: &KeyEntry| {
            entry.key.id.to_string() == id_or_access_key || entry.key.access_key.as_str() == id_or_access_key
        };
        Ok(api::fetched(client, answer, resources::key, is_meant)?)
    }

    /// All keys, or those of one owner; of them only those that end within a time, the first to end first. For people with
    /// the names of their owners.
    pub(in crate::cli) fn keys(
        &mut self,
        owner: Option<&KeyOwner>,
        expiring: Option<Duration>,
        output: Format,
        on_part: &mut OnListPart<'_, KeyEntry>,
    ) -> anyhow::Result<()> {
        match self {
            Self::Store(local_store) => {
                let confirmed_up_to = local_store.store.confirmed_up_to();
                super::stored_parts(
                    expiring.map_or_else(PageQuery::default, |within| {
                        PageQuery::keys_that_end_within(Timestamp::now(), within)
                    }),
                    |query| local_store.store.key_page(owner, query),
                    |entry| fetched(entry, confirmed_up_to),
                    &mut |mut part| {
                        owner_names::fill_in_from_store(&local_store.store, &mut part)?;
                        on_part(part)
                    },
                )
            }
            Self::Api(client) => {
                let path = match owner {
                    None => PATH.to_owned(),
                    Some(KeyOwner::Account(id)) => format!("/v2-beta/accounts/{id}/apikeys"),
                    Some(KeyOwner::Environment(id)) => format!("/v2-beta/projects/{id}/apikeys"),
                };
                let path = match expiring {
                    None => path,
                    Some(within) => {
                        let now = Timestamp::now();
                        let until = now.checked_add(within).unwrap_or(Timestamp::MAX);
                        let (now, until) = (now.to_string(), until.to_string());
                        let only = [
                            ("expires_gt", now.as_str()),
                            ("expires_lte", &until),
                            ("state", "active"),
                            ("sort", "expires"),
                        ];
                        api::with_query(&path, &only)
                    }
                };
                let names = match output {
                    Format::Table => owner_names::ask(client, owner)?,
                    Format::Json => OwnerNames::default(),
                };
                api::sent_parts(client, &path, resources::key, &mut |mut part| {
                    owner_names::fill_in(&names, &mut part);
                    on_part(part)
                })
            }
        }
    }

    /// Makes a key.
    pub(in crate::cli) fn create_key(&mut self, owner: KeyOwner, said: KeyEdit) -> anyhow::Result<NewKey> {
        match self {
            Self::Store(local_store) => {
                let properties = said.into_properties(&local_store.config.keys, Timestamp::now())?;
                let peppers = Peppers::load(&local_store.config.pepper_files)?;
                let LocalStore { config, store } = &mut **local_store;
                let issued = issue_key(store, config, &peppers, owner, properties)?;
                let secret = Zeroizing::new(issued.secret.as_str().to_owned());
                let revision = issued.entry.revision;
                Ok(NewKey { changed: Changed::in_store(issued.entry, revision), secret })
            }
            Self::Api(client) => {
                let changed = post(client, &owner, &said, None)?;
                let id = changed.fetched.object.key.id;
                NewKey::of(changed).ok_or_else(|| {
                    anyhow!(
                        "the gateway has made key {id}, and not shown its secret: deactivate and delete it"
                    )
                })
            }
        }
    }

    /// Gives a key another secret.
    pub(in crate::cli) fn rotate_key(
        &mut self,
        key: &ApiKey,
        wanted: WantedOverlap,
    ) -> anyhow::Result<NewKey> {
        let id = key.id;
        match self {
            Self::Store(local_store) => {
                let LocalStore { config, store } = &mut **local_store;
                let peppers = Peppers::load(&config.pepper_files)?;
                let (secret, verifier) =
                    new_secret(&config.key_prefix, &config.argon2, &peppers, &key.access_key)
                        .context("cannot hash the new secret")?;
                let overlap = Overlap::of(wanted, Timestamp::now());
                store.rotate_key(id, &verifier, overlap, &ExpectedRevision::Any)?;
                let secret = Zeroizing::new(secret.as_str().to_owned());
                Ok(NewKey { changed: changed_in_store(local_store, id)?, secret })
            }
            Self::Api(client) => {
                let text = |duration: Duration| humantime::format_duration(duration).to_string();
                let body = match wanted {
                    WantedOverlap::None => json!({ "overlap": "0" }),
                    WantedOverlap::For(lasts) => json!({ "overlap": text(lasts) }),
                    WantedOverlap::UntilUnused { idle, at_most } => {
                        json!({ "untilUnused": text(idle), "atMost": text(at_most) })
                    }
                };
                let target = api::with_query(&path(id), &[("action", "rotate")]);
                let answer = client.send(&Method::POST, &target, Some(&Body::json(&body)))?;
                let changed = api::changed(client, answer, resources::key, |entry| entry.key.id == id)?;
                NewKey::of(changed).ok_or_else(|| {
                    anyhow!("the gateway has rotated key {id}, and not shown its new secret: end the rotation, and rotate again")
                })
            }
        }
    }

    /// Ends the former secret of a key that was rotated.
    pub(in crate::cli) fn end_rotation(&mut self, key: &str) -> anyhow::Result<Changed<KeyEntry>> {
        let id = self.key(key)?.object.key.id;
        match self {
            Self::Store(local_store) => {
                local_store.store.end_rotation(id, &ExpectedRevision::Any)?;
                changed_in_store(local_store, id)
            }
            Self::Api(client) => {
                let target = api::with_query(&path(id), &[("action", "endrotation")]);
                let answer = client.send(&Method::POST, &target, None)?;
                Ok(api::changed(client, answer, resources::key, |entry| entry.key.id == id)?)
            }
        }
    }

    /// Makes a key from a pair that somebody brings, and says so where its secret is weak.
    pub(in crate::cli) fn import_key(
        &mut self,
        owner: KeyOwner,
        said: KeyEdit,
        imported: ImportedPair,
    ) -> anyhow::Result<Changed<KeyEntry>> {
        match self {
            Self::Store(local_store) => {
                let properties = said.into_properties(&local_store.config.keys, Timestamp::now())?;
                let pair =
                    ChosenPair::new(imported.access_key, imported.secret, &local_store.config.key_prefix)?;
                let (key, number) = chosen_pair::import_key(local_store, owner, &pair, properties)?;
                Ok(Changed::in_store(local_store.store.key_entry(key.id)?, number))
            }
            Self::Api(client) => {
                // who is none would get another pair instead
                if !client.is_admin() {
                    bail!("only an admin's key can bring a pair from elsewhere");
                }
                chosen_pair::warn_where_weak(max_entropy_bits(&imported.secret));
                post(client, &owner, &said, Some(&imported))
            }
        }
    }

    /// Changes what the owner of a key decides.
    pub(in crate::cli) fn edit_key(&mut self, key: &str, edit: KeyEdit) -> anyhow::Result<Changed<KeyEntry>> {
        let key = self.key(key)?.object.key;
        let id = key.id;
        match self {
            Self::Store(local_store) => {
                let edit = edit.checked(&key, &local_store.config.keys, Timestamp::now())?;
                local_store.store.edit_key(id, &edit)?;
                changed_in_store(local_store, id)
            }
            Self::Api(client) => {
                let body = Body::json(&said_fields(&edit).into());
                let answer = client.send(&Method::PUT, &path(id), Some(&body))?;
                Ok(api::changed(client, answer, resources::key, |entry| entry.key.id == id)?)
            }
        }
    }

    /// Activates, deactivates or removes a key.
    pub(in crate::cli) fn set_key_state(
        &mut self,
        key: &str,
        state: State,
        confirmation: ConfirmSelf,
    ) -> anyhow::Result<Changed<KeyEntry>> {
        let id = self.key(key)?.object.key.id;
        match self {
            Self::Store(local_store) => {
                local_store.store.set_key_state(id, state)?;
                changed_in_store(local_store, id)
            }
            Self::Api(client) => {
                let answer = api::change_state(client, &path(id), state, confirmation)?;
                Ok(api::changed(client, answer, resources::key, |entry| entry.key.id == id)?)
            }
        }
    }

    /// Says so where a key of an environment is made, and no route has environments.
    pub(in crate::cli) fn warn_where_nothing_is_reached(&self, owner: &KeyOwner) {
        if let (Self::Store(local_store), KeyOwner::Environment(_)) = (self, owner) {
            local_store.warn_without_environments();
        }
    }

    /// Says so where a key has stopped that was the last with which an admin could log in.
    pub(in crate::cli) fn warn_where_no_admin_is_left(&self, owner: &KeyOwner) -> anyhow::Result<()> {
        match (self, owner) {
            (Self::Store(local_store), KeyOwner::Account(id))
                if local_store.store.account_entry(*id)?.object.kind == AccountKind::Admin =>
            {
                local_store.warn_without_admin_key()
            }
            _ => Ok(()),
        }
    }
}

fn fetched(entry: KeyEntry, confirmed_up_to: ConfirmedUpTo) -> Fetched<KeyEntry> {
    let (revision, state) = (entry.revision, entry.key.state);
    Fetched::from_store_at_revision(entry, revision, state, confirmed_up_to)
}

fn changed_in_store(local_store: &LocalStore, id: KeyId) -> anyhow::Result<Changed<KeyEntry>> {
    let entry = local_store.store.key_entry(id)?;
    let number = entry.revision;
    Ok(Changed::in_store(entry, number))
}

/// Has the API make a key.
fn post(
    client: &mut Client,
    owner: &KeyOwner,
    said: &KeyEdit,
    imported: Option<&ImportedPair>,
) -> anyhow::Result<Changed<KeyEntry>> {
    let (target, account_id) = match owner {
        KeyOwner::Account(id) => (PATH.to_owned(), Some(id.to_string())),
        KeyOwner::Environment(id) => (format!("/v2-beta/projects/{id}/apikeys"), None),
    };
    let secret = imported.map(|pair| std::str::from_utf8(&pair.secret)).transpose();
    let body = NewKeyBody {
        account_id,
        said: said_fields(said),
        public_value: imported.map(|pair| pair.access_key.as_str()),
        secret_value: secret.map_err(|_| ChosenPairError::NotText)?,
    };
    let answer = client.send(&Method::POST, &target, Some(&body.write()?))?;
    let is_meant = |entry: &KeyEntry| {
        entry.key.owner == *owner && imported.is_none_or(|pair| pair.access_key == entry.key.access_key)
    };
    Ok(api::changed(client, answer, resources::key, is_meant)?)
}
