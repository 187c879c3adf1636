//! What the store keeps to verify a secret. None of it prints.

use std::fmt;

use jiff::Timestamp;

use crate::model::KeyId;

/// Names a pepper: the first bytes of a digest of it, which do not give the pepper away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PepperId(pub [u8; 8]);

impl fmt::Display for PepperId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A keyed MAC of a secret, with which a correct secret is recognised without running argon2.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint {
    /// The pepper it was made under.
    pub pepper: PepperId,
    /// HMAC-SHA-256.
    pub mac: [u8; 32],
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint(under {})", self.pepper)
    }
}

/// One secret of a key: which key, and since when it has had it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SecretId {
    /// The key.
    pub key: KeyId,
    /// [`ApiKey::secret_since`](crate::model::ApiKey::secret_since), now or before the rotation.
    pub since: Timestamp,
}

/// What verifies a secret: the slow hash, and the fingerprint if there is one.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyVerifier {
    /// argon2id as a PHC string.
    pub phc: String,
    /// Only for secrets that the gateway minted itself.
    pub fingerprint: Option<Fingerprint>,
    /// Where the argon2id is one of a hash that another system has made of the secret: how that was made.
    pub inner: Option<String>,
}

impl KeyVerifier {
    /// Whether this is an argon2id string with a hash at its end. The store keeps no other, so that an empty secret never
    /// verifies.
    pub(super) fn has_valid_hash(&self) -> bool {
        let mut parts = self.phc.split('$');
        parts.next() == Some("")
            && parts.next() == Some("argon2id")
            && parts.clone().count() >= 3
            && parts.all(|part| !part.is_empty())
    }
}

/// What verifies the secrets of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyVerifiers {
    /// Of its secret.
    pub current: KeyVerifier,
    /// Of the secret before the last rotation, as long as the record keeps it.
    pub former: Option<KeyVerifier>,
}

impl fmt::Debug for KeyVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyVerifier(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_argon2id_string_verifies() {
        let is_valid =
            |phc: &str| KeyVerifier { phc: phc.to_owned(), fingerprint: None, inner: None }.has_valid_hash();
        assert!(is_valid("$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2g"));
        for phc in
            ["", "$", "$argon2id$", "$argon2id$v=19$m=1,t=1,p=1$c2FsdA$", "plain", "$argon2i$v=19$m=1$a$b"]
        {
            assert!(!is_valid(phc), "{phc:?}");
        }
    }

    #[test]
    fn nothing_that_verifies_is_printed() {
        let fingerprint = Fingerprint { pepper: PepperId([7; 8]), mac: [0xab; 32] };
        let verifier =
            KeyVerifier { phc: "$argon2id$secret".to_owned(), fingerprint: Some(fingerprint), inner: None };
        let printed = format!("{verifier:?} {fingerprint:?}");
        assert!(!printed.contains("argon2id") && !printed.contains("171"), "{printed}");
    }
}
