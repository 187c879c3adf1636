//! The format of the keys that the gateway mints, and how it recognises them.
//!
//! An access key is `pca_` (account) or `pce_` (environment) and 20 characters of Crockford's base32 in lower case:
//! 100 random bits. A secret is `pcs_`, 40 base62 characters (238 random bits) and 6 base62 check characters: the
//! CRC-32 of all that stands before them, most significant digit first. Base62 digits are `0-9A-Za-z`. `pc` is the
//! configurable prefix.

use std::fmt;
use std::iter;

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use zeroize::Zeroizing;

use crate::config::KeyPrefixes;
use crate::model::{AccessKey, KeyOwner};

/// Crockford's base32 without `i`, `l`, `o` and `u`.
const BASE32: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Characters of an access key after its prefix.
const ACCESS_KEY_CHARACTERS: usize = 20;
/// Random characters of a secret.
const SECRET_CHARACTERS: usize = 40;
/// Check characters at the end of a secret: 62^6 is more than 2^32.
const CHECK_CHARACTERS: usize = 6;

/// A secret key, wiped when dropped. It prints nowhere; [`Secret::as_str`] is the one way to show it, once.
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// The secret as its holder will send it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Which format a pair has, as it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialShape {
    /// Both halves have the form that the gateway mints, and the check characters are right.
    Minted,
    /// Both have the form, and the check characters are wrong: a typing error or a guess.
    BadChecksum,
    /// One half has the form and the other has not. No such key can exist.
    Mixed,
    /// Neither has the form: a person or another system chose them.
    Other,
}

/// A new access key for a key of `owner`.
///
/// # Panics
///
/// Never: a configured prefix is short plain ASCII, and so is the rest.
pub fn mint_access_key(prefixes: &KeyPrefixes, owner: &KeyOwner) -> AccessKey {
    let kind = match owner {
        KeyOwner::Account(_) => "a_",
        KeyOwner::Environment(_) => "e_",
    };
    let mut text = format!("{}{kind}", prefixes.current);
    let mut random = [0; ACCESS_KEY_CHARACTERS];
    random_bytes(&mut random);
    // 256 is a multiple of 32: five bits of each byte are unbiased
    text.extend(random.iter().map(|byte| char::from(BASE32[usize::from(byte & 31)])));
    text.parse().expect("a configured prefix is short plain ASCII without a colon, and base32 is too")
}

/// A new secret key.
pub fn mint_secret(prefixes: &KeyPrefixes) -> Secret {
    let prefix = [prefixes.current.as_str(), "s_"];
    let length = prefixes.current.len() + 2 + SECRET_CHARACTERS + CHECK_CHARACTERS;
    let mut text = Zeroizing::new(String::with_capacity(length));
    text.extend(prefix);
    add_random_characters(&mut text, length - CHECK_CHARACTERS);
    let check = check_characters(text.as_bytes());
    text.extend(check.map(char::from));
    Secret(text)
}

/// A new secret for a key that the gateway has not minted: without a prefix, by which the pair would be taken for half of a
/// minted one.
pub fn plain_secret() -> Secret {
    let mut text = Zeroizing::new(String::with_capacity(SECRET_CHARACTERS));
    add_random_characters(&mut text, SECRET_CHARACTERS);
    Secret(text)
}

/// Adds random letters and digits up to `length`, for which there must be room: a string that grows leaves copies behind.
fn add_random_characters(text: &mut String, length: usize) {
    let mut random = Zeroizing::new([0; 64]);
    while text.len() < length {
        random_bytes(&mut *random);
        let missing = length - text.len();
        // 62 of 64 values are used, the others thrown away: a remainder would favour the first digits
        let digits = random.iter().filter_map(|byte| BASE62.get(usize::from(byte & 63)));
        text.extend(digits.take(missing).copied().map(char::from));
    }
}

/// The shape of a pair under the current and the former prefixes.
pub fn credential_shape(prefixes: &KeyPrefixes, access_key: &str, secret: &[u8]) -> CredentialShape {
    let minted_key = is_minted_access_key(prefixes, access_key);
    let minted_secret = has_form(prefixes, secret, &[b"s_"], SECRET_CHARACTERS + CHECK_CHARACTERS);
    match (minted_key, minted_secret) {
        (true, true) if checksum_holds(secret) => CredentialShape::Minted,
        (true, true) => CredentialShape::BadChecksum,
        (false, false) => CredentialShape::Other,
        _ => CredentialShape::Mixed,
    }
}

/// Whether `text` has the form of a secret under any prefix: it stands where a name belongs, and must not be printed.
pub fn looks_like_secret(text: &str) -> bool {
    text.split_once("s_").is_some_and(|(_, rest)| {
        rest.len() == SECRET_CHARACTERS + CHECK_CHARACTERS && rest.bytes().all(|byte| BASE62.contains(&byte))
    })
}

/// Whether an access key has the form that the gateway mints.
pub(super) fn is_minted_access_key(prefixes: &KeyPrefixes, access_key: &str) -> bool {
    has_form(prefixes, access_key.as_bytes(), &[b"a_", b"e_"], ACCESS_KEY_CHARACTERS)
}

/// Whether `text` is a current or former prefix, one of `kinds`, and that many characters.
fn has_form(prefixes: &KeyPrefixes, text: &[u8], kinds: &[&[u8; 2]], characters: usize) -> bool {
    iter::once(&prefixes.current).chain(&prefixes.former).any(|prefix| {
        let Some(rest) = text.strip_prefix(prefix.as_bytes()) else { return false };
        kinds.iter().any(|kind| rest.strip_prefix(*kind).is_some_and(|rest| rest.len() == characters))
    })
}

fn checksum_holds(secret: &[u8]) -> bool {
    let (rest, check) = secret.split_at(secret.len() - CHECK_CHARACTERS);
    check == check_characters(rest)
}

/// CRC-32 in base62, most significant digit first.
fn check_characters(text: &[u8]) -> [u8; CHECK_CHARACTERS] {
    let mut rest = crc32fast::hash(text) as usize;
    let mut digits = [0; CHECK_CHARACTERS];
    for digit in digits.iter_mut().rev() {
        *digit = BASE62[rest % BASE62.len()];
        rest /= BASE62.len();
    }
    digits
}

/// Fills `bytes` from the system's random source.
///
/// # Panics
///
/// Never: AWS-LC ends the process itself where the system has none.
pub fn random_bytes(bytes: &mut [u8]) {
    SystemRandom::new()
        .fill(bytes)
        .expect("AWS-LC ends the process where the system has no random bytes to give");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::AccountId;

    fn prefixes() -> KeyPrefixes {
        KeyPrefixes { current: "pc".to_owned(), former: vec!["old".to_owned()] }
    }

    fn account() -> KeyOwner {
        KeyOwner::Account(AccountId::from_row(1))
    }

    fn environment() -> KeyOwner {
        KeyOwner::Environment("e1".parse().unwrap())
    }

    #[test]
    fn minted_pairs_have_the_documented_form() {
        let (account, environment) =
            (mint_access_key(&prefixes(), &account()), mint_access_key(&prefixes(), &environment()));
        assert!(account.as_str().starts_with("pca_") && environment.as_str().starts_with("pce_"));
        let secret = mint_secret(&prefixes());
        assert!(secret.as_str().starts_with("pcs_"));
        assert_eq!((account.as_str().len(), secret.as_str().len()), (24, 50));
        assert!(account.as_str()[4..].bytes().all(|byte| BASE32.contains(&byte)), "{account}");
        assert!(secret.as_str()[4..].bytes().all(|byte| BASE62.contains(&byte)));
        for key in [&account, &environment] {
            assert_eq!(
                credential_shape(&prefixes(), key.as_str(), secret.as_str().as_bytes()),
                CredentialShape::Minted
            );
        }
    }

    #[test]
    fn every_digit_is_used_about_as_often_as_any_other() {
        let mut counts = [0_u32; 256];
        for _ in 0..2_000 {
            let secret = mint_secret(&prefixes());
            secret.as_str()[4..44].bytes().for_each(|byte| counts[usize::from(byte)] += 1);
        }
        // 80,000 digits, 1,290 of each expected, standard deviation 36. A remainder of the byte would give the first
        // eight 1,560.
        for digit in BASE62 {
            let count = counts[usize::from(*digit)];
            assert!((1_090..1_490).contains(&count), "{}: {count}", char::from(*digit));
        }
    }

    #[test]
    fn check_characters_are_crc_32_in_base_62() {
        // zlib.crc32(b"123456789") is 0xCBF43926 = 3421780262
        let mut value: u64 = 0;
        for digit in check_characters(b"123456789") {
            value = value * 62 + BASE62.iter().position(|c| *c == digit).unwrap() as u64;
        }
        assert_eq!(value, 3_421_780_262);
    }

    #[test]
    fn former_prefixes_are_known_and_foreign_ones_are_not() {
        let old = KeyPrefixes { current: "old".to_owned(), former: Vec::new() };
        let (key, secret) = (mint_access_key(&old, &account()), mint_secret(&old));
        assert!(key.as_str().starts_with("olda_"));
        let shape_of =
            |prefixes: KeyPrefixes| credential_shape(&prefixes, key.as_str(), secret.as_str().as_bytes());
        assert_eq!(shape_of(prefixes()), CredentialShape::Minted);
        assert_eq!(
            shape_of(KeyPrefixes { current: "new".to_owned(), former: Vec::new() }),
            CredentialShape::Other
        );
    }

    #[test]
    fn a_mixed_pair_is_told_from_a_chosen_one() {
        let (key, secret) = (mint_access_key(&prefixes(), &account()), mint_secret(&prefixes()));
        let secret = secret.as_str().as_bytes();
        assert_eq!(credential_shape(&prefixes(), key.as_str(), b"chosen"), CredentialShape::Mixed);
        assert_eq!(credential_shape(&prefixes(), key.as_str(), &secret[..49]), CredentialShape::Mixed);
        assert_eq!(credential_shape(&prefixes(), "chosen", secret), CredentialShape::Mixed);
        assert_eq!(credential_shape(&prefixes(), "chosen", b"chosen"), CredentialShape::Other);
        assert_eq!(credential_shape(&prefixes(), "", b""), CredentialShape::Other);
    }

    #[test]
    fn debug_prints_no_secret() {
        assert_eq!(format!("{:?}", mint_secret(&prefixes())), "Secret(..)");
    }

    proptest! {
        #[test]
        fn one_changed_character_breaks_the_checksum(at in 4_usize..50, to in 0_usize..62) {
            let key = mint_access_key(&prefixes(), &account());
            let mut secret = mint_secret(&prefixes()).as_str().as_bytes().to_vec();
            prop_assume!(secret[at] != BASE62[to]);
            secret[at] = BASE62[to];
            prop_assert_eq!(credential_shape(&prefixes(), key.as_str(), &secret), CredentialShape::BadChecksum);
        }
    }
}
