//! Keys brought from elsewhere: an access key and a secret that the gateway did not mint.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use zeroize::Zeroizing;

use super::output::tell;
use super::site::Site;
use crate::auth::hash_secret;
use crate::config::{Config, KeyPrefixes};
use crate::model::{AccessKey, ApiKey, Description, KeyOwner, Name};
use crate::store::{ChangeNumber, KeyVerifier, NewKey};

/// The longest secret; with the longest access key it still fits the 1 KiB that a credential may have in a request.
const MAX_SECRET_BYTES: usize = 768;

/// Below this many bits a secret is called weak: that is what a machine can go through.
const STRONG_BITS: u32 = 80;

/// An access key and a secret that people chose.
pub(super) struct ChosenPair {
    access_key: AccessKey,
    secret: Zeroizing<Vec<u8>>,
}

impl ChosenPair {
    /// Reads the secret from a file, or from stdin for `-`, and refuses a pair that could not work.
    pub(super) fn read(access_key: &AccessKey, file: &Path, config: &Config) -> anyhow::Result<Self> {
        let pair = Self { access_key: access_key.clone(), secret: read_secret(file)? };
        pair.check(&config.key_prefix)?;
        Ok(pair)
    }

    fn check(&self, prefixes: &KeyPrefixes) -> anyhow::Result<()> {
        let Ok(secret) = std::str::from_utf8(&self.secret) else {
            bail!("the secret is not UTF-8, which HTTP Basic needs");
        };
        if secret.is_empty() {
            bail!("the secret is empty");
        }
        if secret.len() > MAX_SECRET_BYTES {
            bail!(
                "the secret has {} bytes, and a request can carry {MAX_SECRET_BYTES} at most",
                secret.len()
            );
        }
        if secret.chars().any(char::is_control) {
            bail!(
                "the secret holds a line break or another control character, which HTTP Basic does not carry"
            );
        }
        for prefix in std::iter::once(&prefixes.current).chain(&prefixes.former) {
            let is_minted = |text: &str, kind: &str| {
                text.strip_prefix(prefix.as_str()).is_some_and(|rest| rest.starts_with(kind))
            };
            let access_key = self.access_key.as_str();
            if is_minted(access_key, "a_") || is_minted(access_key, "e_") || is_minted(secret, "s_") {
                bail!(
                    "what begins with {prefix}a_, {prefix}e_ or {prefix}s_ is the gateway's own: bring another pair"
                );
            }
        }
        Ok(())
    }

    /// An upper bound of what guessing the secret takes, from its length and the kinds of characters in it.
    fn bits(&self) -> u32 {
        let any = |kind: fn(&u8) -> bool| self.secret.iter().any(kind);
        let mut alphabet = 0;
        alphabet += if any(u8::is_ascii_digit) { 10 } else { 0 };
        alphabet += if any(u8::is_ascii_lowercase) { 26 } else { 0 };
        alphabet += if any(u8::is_ascii_uppercase) { 26 } else { 0 };
        alphabet += if any(|byte| !byte.is_ascii_alphanumeric()) { 34 } else { 0 };
        let mut different = self.secret.to_vec();
        different.sort_unstable();
        different.dedup();
        let different = Zeroizing::new(different).len();
        // "aaaaaaaaaaaaaaaaaaaa" is long, and no better than "aa"
        let counted = self.secret.len().min(different * 2);
        u32::try_from(counted).unwrap_or(u32::MAX).saturating_mul(u32::ilog2(u32::max(alphabet, 2)))
    }
}

/// Stores a chosen pair: argon2id only, never a fingerprint, because people choose secrets that can be guessed.
pub(super) fn import_key(
    site: &mut Site,
    owner: KeyOwner,
    pair: &ChosenPair,
    name: Option<Name>,
    description: Option<Description>,
) -> anyhow::Result<(ApiKey, ChangeNumber)> {
    let bits = pair.bits();
    if bits < STRONG_BITS {
        tell(format_args!(
            "warning: this secret is weak (about {bits} bits at most): use one of 20 random characters or more, \
             or let the gateway mint one"
        ));
    }
    let phc = hash_secret(&site.config.argon2, &pair.secret).context("cannot hash the secret")?;
    let verifier = KeyVerifier { phc, fingerprint: None };
    let access_key = pair.access_key.clone();
    Ok(site.store.create_key(&NewKey { owner, access_key, name, description, verifier })?)
}

/// A small file's content, without the line end that editors and `echo` put there.
fn read_secret(path: &Path) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    /// Enough to tell a secret that is too long from one that is not.
    const LIMIT: usize = 4096;
    // with all its room at once: a buffer that grows leaves copies behind
    let mut bytes = Zeroizing::new(vec![0; LIMIT]);
    let mut length = 0;
    let mut source: Box<dyn io::Read> = if path == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        Box::new(File::open(path).with_context(|| format!("cannot read {}", path.display()))?)
    };
    while length < LIMIT {
        match source.read(&mut bytes[length..]).with_context(|| format!("cannot read {}", path.display()))? {
            0 => break,
            read => length += read,
        }
    }
    bytes.truncate(length);
    for end in [b'\n', b'\r'] {
        if bytes.last() == Some(&end) {
            bytes.pop();
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(access_key: &str, secret: &str) -> ChosenPair {
        ChosenPair {
            access_key: access_key.parse().unwrap(),
            secret: Zeroizing::new(secret.as_bytes().to_vec()),
        }
    }

    #[test]
    fn what_could_not_work_is_refused() {
        let prefixes = KeyPrefixes { current: "pc".to_owned(), former: vec!["old".to_owned()] };
        let refused = |access_key: &str, secret: &str| pair(access_key, secret).check(&prefixes).is_err();
        assert!(!refused("0123456789ABCDEF0123", "abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQ"));
        assert!(!refused("deploy", "pass:word with spaces, ünïcode"));
        assert!(!refused("pcx", "pc"));
        assert!(refused("deploy", ""));
        assert!(refused("deploy", "two\nlines"));
        assert!(refused("deploy", &"x".repeat(MAX_SECRET_BYTES + 1)));
        for access_key in ["pca_1", "pce_1", "olda_1"] {
            assert!(refused(access_key, "chosen"), "{access_key}");
        }
        assert!(refused("deploy", "pcs_chosen") && refused("deploy", "olds_chosen"));
    }

    #[test]
    fn short_and_repeated_secrets_are_weak() {
        for weak in ["secret", "Tr0ub4dor&3", &"a".repeat(60), "123456789012345"] {
            assert!(pair("a", weak).bits() < STRONG_BITS, "{weak}");
        }
        for strong in ["abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQ", "hV7q0sPz3XkLmB1yRtEw"] {
            assert!(pair("a", strong).bits() >= STRONG_BITS, "{strong}");
        }
    }
}
