//! Makes API keys: what `init`, `key create` and `demo` share.

use anyhow::Context as _;

use crate::auth::{MintedPair, Peppers, Secret, mint_pair};
use crate::config::Config;
use crate::model::KeyOwner;
use crate::store::{KeyEntry, KeyProperties, NewKey, Store};

/// A new key, with the secret that is shown this once.
#[derive(Debug)]
pub(super) struct IssuedKey {
    /// The key as it is stored.
    pub(super) entry: KeyEntry,
    /// Its other half.
    pub(super) secret: Secret,
}

/// Mints a pair for `owner` and stores what verifies it.
pub(super) fn issue_key(
    store: &mut Store,
    config: &Config,
    peppers: &Peppers,
    owner: KeyOwner,
    properties: KeyProperties,
) -> anyhow::Result<IssuedKey> {
    let MintedPair { access_key, secret, verifier } =
        mint_pair(&config.key_prefix, &config.argon2, peppers, &owner)
            .context("cannot hash the new secret")?;
    let (key, revision) = store.create_key(&NewKey { owner, access_key, properties, verifier })?;
    Ok(IssuedKey { entry: KeyEntry::unused(key, revision), secret })
}
