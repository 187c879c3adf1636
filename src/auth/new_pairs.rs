//! New pairs of access key and secret: minted here, or chosen by a person or another system and imported.

use zeroize::Zeroizing;

use super::argon::{ArgonError, hash_secret};
use super::key_format::{Secret, is_minted_access_key, mint_access_key, mint_secret, plain_secret};
use super::{Credential, Peppers};
use crate::config::{self, KeyPrefixes};
use crate::model::{AccessKey, KeyOwner};
use crate::store::KeyVerifier;

/// A secret of fewer bits is called weak: a machine can try them all.
pub const STRONG_SECRET_BITS: u32 = 80;

/// A new pair of the gateway's own making, with what verifies it.
#[derive(Debug)]
pub struct MintedPair {
    /// The public half.
    pub access_key: AccessKey,
    /// The secret half, to be shown once.
    pub secret: Secret,
    /// What the store keeps.
    pub verifier: KeyVerifier,
}

/// Mints a pair for `owner`. Takes as long as [`hash_secret`].
pub fn mint_pair(
    prefixes: &KeyPrefixes,
    argon2: &config::Argon2,
    peppers: &Peppers,
    owner: &KeyOwner,
) -> Result<MintedPair, ArgonError> {
    let access_key = mint_access_key(prefixes, owner);
    let secret = mint_secret(prefixes);
    let verifier = KeyVerifier {
        phc: hash_secret(argon2, secret.as_str().as_bytes())?,
        fingerprint: Some(peppers.fingerprint(&access_key, secret.as_str().as_bytes())),
        inner: None,
    };
    Ok(MintedPair { access_key, secret, verifier })
}

/// Another secret for a key that is rotated: a minted one where the access key is minted, else one that cannot be mistaken for
/// that. Takes as long as [`hash_secret`].
pub fn new_secret(
    prefixes: &KeyPrefixes,
    argon2: &config::Argon2,
    peppers: &Peppers,
    access_key: &AccessKey,
) -> Result<(Secret, KeyVerifier), ArgonError> {
    let is_minted = is_minted_access_key(prefixes, access_key.as_str());
    let secret = if is_minted { mint_secret(prefixes) } else { plain_secret() };
    let phc = hash_secret(argon2, secret.as_str().as_bytes())?;
    let fingerprint = is_minted.then(|| peppers.fingerprint(access_key, secret.as_str().as_bytes()));
    Ok((secret, KeyVerifier { phc, fingerprint, inner: None }))
}

/// An access key and a secret that a person or another system chose. It does not print.
pub struct ChosenPair {
    access_key: AccessKey,
    secret: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for ChosenPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ChosenPair({}, ..)", self.access_key)
    }
}

/// Why a chosen pair could not work. None of them carries anything of the secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChosenPairError {
    /// Bytes that are no text.
    #[error("the secret is not UTF-8, which HTTP Basic needs")]
    NotText,
    /// No bytes at all.
    #[error("the secret is empty")]
    Empty,
    /// More than a request can carry.
    #[error("the secret has {bytes} bytes, and a request can carry {} at most", ChosenPair::MAX_SECRET_BYTES)]
    TooLong {
        /// What was given.
        bytes: usize,
    },
    /// A control character.
    #[error("the secret holds a line break or another control character, which HTTP Basic does not carry")]
    Control,
    /// The gateway would take it for one of its own.
    #[error("what begins with {prefix}a_, {prefix}e_ or {prefix}s_ is the gateway's own: bring another pair")]
    Minted {
        /// A current or former prefix.
        prefix: String,
    },
    /// The secret could not be hashed.
    #[error(transparent)]
    Argon(#[from] ArgonError),
}

impl ChosenPair {
    /// The longest secret, in bytes; with the longest access key it still fits into a [`Credential`].
    pub const MAX_SECRET_BYTES: usize = Credential::MAX_BYTES - AccessKey::MAX_BYTES * 2;

    /// Refuses a pair that could not work.
    pub fn new(
        access_key: AccessKey,
        secret: Zeroizing<Vec<u8>>,
        prefixes: &KeyPrefixes,
    ) -> Result<Self, ChosenPairError> {
        let text = std::str::from_utf8(&secret).map_err(|_| ChosenPairError::NotText)?;
        if secret.is_empty() {
            return Err(ChosenPairError::Empty);
        }
        if secret.len() > Self::MAX_SECRET_BYTES {
            return Err(ChosenPairError::TooLong { bytes: secret.len() });
        }
        if text.chars().any(char::is_control) {
            return Err(ChosenPairError::Control);
        }
        refuse_minted(prefixes, access_key.as_str(), text)?;
        Ok(Self { access_key, secret })
    }

    /// The public half.
    pub fn access_key(&self) -> &AccessKey {
        &self.access_key
    }

    /// What the store keeps: argon2id only, never a fingerprint, because people choose secrets that can be guessed.
    /// Takes as long as [`hash_secret`].
    pub fn verifier(&self, argon2: &config::Argon2) -> Result<KeyVerifier, ArgonError> {
        Ok(KeyVerifier { phc: hash_secret(argon2, &self.secret)?, fingerprint: None, inner: None })
    }

    /// [`max_entropy_bits`] of the secret.
    pub fn bits(&self) -> u32 {
        max_entropy_bits(&self.secret)
    }
}

/// Refuses an access key or a secret that the gateway would take for one of its own.
pub fn refuse_minted(prefixes: &KeyPrefixes, access_key: &str, secret: &str) -> Result<(), ChosenPairError> {
    for prefix in std::iter::once(&prefixes.current).chain(&prefixes.former) {
        let is_minted = |text: &str, kind: &str| {
            text.strip_prefix(prefix.as_str()).is_some_and(|rest| rest.starts_with(kind))
        };
        if is_minted(access_key, "a_") || is_minted(access_key, "e_") || is_minted(secret, "s_") {
            return Err(ChosenPairError::Minted { prefix: prefix.clone() });
        }
    }
    Ok(())
}

/// An upper bound of what guessing a chosen secret takes, from its length and the kinds of characters in it.
pub fn max_entropy_bits(secret: &[u8]) -> u32 {
    let any = |kind: fn(&u8) -> bool| secret.iter().any(kind);
    let mut alphabet = 0;
    alphabet += if any(u8::is_ascii_digit) { 10 } else { 0 };
    alphabet += if any(u8::is_ascii_lowercase) { 26 } else { 0 };
    alphabet += if any(u8::is_ascii_uppercase) { 26 } else { 0 };
    alphabet += if any(|byte| !byte.is_ascii_alphanumeric()) { 34 } else { 0 };
    let mut different = secret.to_vec();
    different.sort_unstable();
    different.dedup();
    let different = Zeroizing::new(different).len();
    // "aaaaaaaaaaaaaaaaaaaa" is long, and no better than "aa"
    let counted = secret.len().min(different * 2);
    u32::try_from(counted).unwrap_or(u32::MAX).saturating_mul(u32::ilog2(u32::max(alphabet, 2)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(access_key: &str, secret: &str) -> Result<ChosenPair, ChosenPairError> {
        let prefixes = KeyPrefixes { current: "pc".to_owned(), former: vec!["old".to_owned()] };
        ChosenPair::new(access_key.parse().unwrap(), Zeroizing::new(secret.as_bytes().to_vec()), &prefixes)
    }

    #[test]
    fn what_could_not_work_is_refused() {
        let refused = |access_key: &str, secret: &str| pair(access_key, secret).is_err();
        assert!(!refused("0123456789ABCDEF0123", "abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQ"));
        assert!(!refused("deploy", "pass:word with spaces, ünïcode"));
        assert!(!refused("pcx", "pc"));
        assert!(refused("deploy", ""));
        assert!(refused("deploy", "two\nlines"));
        assert!(refused("deploy", &"x".repeat(ChosenPair::MAX_SECRET_BYTES + 1)));
        for access_key in ["pca_1", "pce_1", "olda_1"] {
            assert!(refused(access_key, "chosen"), "{access_key}");
        }
        assert!(refused("deploy", "pcs_chosen") && refused("deploy", "olds_chosen"));
    }

    #[test]
    fn short_and_repeated_secrets_are_weak() {
        for weak in ["secret", "Tr0ub4dor&3", &"a".repeat(60), "123456789012345"] {
            assert!(pair("a", weak).unwrap().bits() < STRONG_SECRET_BITS, "{weak}");
        }
        for strong in ["abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQ", "hV7q0sPz3XkLmB1yRtEw"] {
            assert!(pair("a", strong).unwrap().bits() >= STRONG_SECRET_BITS, "{strong}");
        }
    }

    #[test]
    fn neither_half_of_a_secret_is_printed() {
        let printed = format!("{:?} {:?}", pair("a", "hush-hush"), pair("a", "hush\n"));
        assert!(!printed.contains("hush"), "{printed}");
    }
}
