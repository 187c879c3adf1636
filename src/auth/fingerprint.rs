//! Fingerprints: keyed MACs by which a secret is recognised without argon2.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use zeroize::Zeroizing;

use super::Credential;
use super::key_format::random_bytes;
use crate::model::AccessKey;

/// HMAC-SHA-256 over a pair.
#[derive(Clone, Copy)]
pub(super) struct Mac(pub(super) [u8; 32]);

impl Mac {
    /// Whether both are the same; takes the same time wherever they differ.
    pub(super) fn matches(&self, other: &Self) -> bool {
        verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

/// A prepared HMAC key: its two hash states are computed once, not for every pair.
pub(super) struct MacKey(hmac::Key);

impl MacKey {
    /// The key with these bytes.
    pub(super) fn new(bytes: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }

    /// A key that only this process knows.
    pub(super) fn random() -> Self {
        let mut bytes = Zeroizing::new([0; 32]);
        random_bytes(&mut *bytes);
        Self::new(&bytes)
    }

    /// The MAC of a pair as it was sent.
    pub(super) fn of_credential(&self, credential: &Credential) -> Mac {
        self.of_parts(&[credential.as_bytes()])
    }

    /// The MAC of a pair that was just minted; the same as [`MacKey::of_credential`] gives for it later.
    pub(super) fn of_pair(&self, access_key: &AccessKey, secret: &[u8]) -> Mac {
        self.of_parts(&[access_key.as_str().as_bytes(), b":", secret])
    }

    /// The MAC of a pair and of the hash that it is verified against, which names one argon2 run. The length comes first,
    /// so that no secret can be continued into a hash (the pair `secret + hash` is not the pair `secret` and that hash).
    pub(super) fn run_id(&self, credential: &Credential, verifier: &str) -> Mac {
        let pair = credential.as_bytes();
        self.of_parts(&[&(pair.len() as u64).to_be_bytes(), pair, verifier.as_bytes()])
    }

    fn of_parts(&self, parts: &[&[u8]]) -> Mac {
        let mut context = hmac::Context::with_key(&self.0);
        for part in parts {
            context.update(part);
        }
        let mut mac = [0; 32];
        mac.copy_from_slice(context.sign().as_ref());
        Mac(mac)
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    fn credential(pair: &str) -> Credential {
        Credential::parse(format!("Basic {}", STANDARD.encode(pair)).as_bytes()).unwrap()
    }

    #[test]
    fn a_minted_pair_and_the_same_pair_when_sent_have_one_mac() {
        let key = MacKey::random();
        let minted = key.of_pair(&"pca_x".parse().unwrap(), b"a:secret");
        assert!(minted.matches(&key.of_credential(&credential("pca_x:a:secret"))));
        assert!(!minted.matches(&key.of_credential(&credential("pca_x:a:secre_"))));
        assert!(!minted.matches(&MacKey::random().of_credential(&credential("pca_x:a:secret"))));
    }

    #[test]
    fn case_15_a_secret_cannot_be_continued_into_a_stored_hash() {
        let key = MacKey::random();
        let honest = key.run_id(&credential("id:secret"), "$argon2id$hash");
        let forged = key.run_id(&credential("id:secret$argon2id$hash"), "");
        assert!(!honest.matches(&forged));
        assert!(!honest.matches(&key.run_id(&credential("id:secret"), "$argon2id$other")));
        assert!(honest.matches(&key.run_id(&credential("id:secret"), "$argon2id$hash")));
    }

    #[test]
    fn case_16_the_border_between_the_halves_counts() {
        let key = MacKey::random();
        assert!(!key.of_credential(&credential("ab:c")).matches(&key.of_credential(&credential("a:bc"))));
        assert!(!key.of_credential(&credential("a:b:c")).matches(&key.of_credential(&credential("a:bc"))));
    }

    #[test]
    fn it_is_hmac_sha_256() {
        // RFC 4231's algorithm on a key and text of our own; the figure is Python's hmac.new(...).hexdigest()
        let mac = MacKey::new(&[7; 32]).of_pair(&"pca_x".parse().unwrap(), b"secret");
        let known = "53f8b9cf5f31e38ef8f736e75871722d9051324813aa8b3015f3f04b4f289a8a";
        let bytes = (0..64).step_by(2).map(|at| u8::from_str_radix(&known[at..at + 2], 16).unwrap());
        assert_eq!(mac.0.to_vec(), bytes.collect::<Vec<_>>());
    }
}
