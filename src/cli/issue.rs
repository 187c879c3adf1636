//! Makes API keys: what `init`, `key create` and `demo` share.

use anyhow::Context as _;

use crate::auth::{Peppers, Secret, hash_secret, mint_access_key, mint_secret};
use crate::config::Config;
use crate::model::{ApiKey, Description, KeyOwner, Name};
use crate::store::{KeyVerifier, NewKey, Store};

/// A new key, with the secret that is shown this once.
#[derive(Debug)]
pub(super) struct IssuedKey {
    /// The key as it is stored.
    pub(super) key: ApiKey,
    /// Its other half.
    pub(super) secret: Secret,
}

/// Mints a pair for `owner` and stores what verifies it.
pub(super) fn issue_key(
    store: &mut Store,
    config: &Config,
    peppers: &Peppers,
    owner: KeyOwner,
    name: Option<Name>,
    description: Option<Description>,
) -> anyhow::Result<IssuedKey> {
    let access_key = mint_access_key(&config.key_prefix, &owner);
    let secret = mint_secret(&config.key_prefix);
    let verifier = KeyVerifier {
        phc: hash_secret(&config.argon2, secret.as_str().as_bytes()).context("cannot hash the new secret")?,
        fingerprint: Some(peppers.fingerprint(&access_key, secret.as_str().as_bytes())),
    };
    let (key, _) = store.create_key(&NewKey { owner, access_key, name, description, verifier })?;
    Ok(IssuedKey { key, secret })
}
