//! Hashes that other systems have made of secrets. Their secrets are unknown, so argon2id is laid over the hash: a secret
//! is verified by the old hash first, and then by argon2id of its outcome.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};
use base64::Engine as _;
use base64::alphabet::BCRYPT;
use base64::engine::general_purpose::STANDARD;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use md5::{Digest as _, Md5};
use zeroize::Zeroizing;

/// bcrypt's alphabet; the last character of salt and hash has bits that stand for nothing.
const BCRYPT_BASE64: GeneralPurpose = GeneralPurpose::new(
    &BCRYPT,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(base64::engine::DecodePaddingMode::RequireNone),
);

/// bcrypt reads no more of a secret: two longer ones could be the same to it.
const BCRYPT_MAX_BYTES: usize = 72;
const BCRYPT_OUTPUT_BYTES: usize = 23;

/// Both take some 12 to 15 ms.
const BCRYPT_COST_OF_A_RUN: u32 = 8;

/// A guess at a cost of 14 takes a thread about a second.
const BCRYPT_COSTS: std::ops::RangeInclusive<u32> = 4..=14;

/// How another system has hashed a secret: all but the outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InnerHash(Scheme);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Scheme {
    Bcrypt {
        cost: u32,
        salt: [u8; 16],
    },
    Apr1 {
        salt: String,
    },
    /// `{SHA}` of htpasswd.
    Sha1,
    /// Rancher 1.x: SHA-256 of the salt's text and the secret.
    SaltedSha256 {
        salt: String,
    },
    /// Kong: SHA-1 of the secret and the consumer's id.
    KongSha1 {
        consumer: String,
    },
}

/// A hash as it was exported: how it was made, and its outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignHash {
    /// How it was made.
    pub inner: InnerHash,
    /// What argon2id is laid over.
    pub output: Vec<u8>,
}

/// Why a hash cannot be brought along.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnusableHash {
    /// A hash of a known kind that is cut or mistyped.
    #[error("this {0} hash is not whole")]
    Malformed(&'static str),
    /// bcrypt that is too slow or too fast.
    #[error("this bcrypt hash has the cost {0}, expected 4 to 14: verifying it would take too long")]
    BcryptCost(u32),
    /// The broken bcrypt of some old PHP.
    #[error("'$2x$' is the hash of a faulty bcrypt, which reads many secrets as one: create another key")]
    FaultyBcrypt,
    /// crypt(3) with DES.
    #[error("this looks like crypt with DES, which reads 8 characters and no more: create another key")]
    Des,
    /// Murmur, which Tyk makes of its keys.
    #[error("this looks like a murmur hash, as Tyk makes them: many secrets share it: create another key")]
    Murmur,
    /// Whoever sends nothing would have the right secret.
    #[error("this is the hash of an empty secret: create another key")]
    EmptySecret,
    /// No hash at all.
    #[error(
        "this is plain text or an unknown hash: if it is the secret itself, import the pair with --format csv"
    )]
    PlainText,
    /// Another kind.
    #[error("'{0}' is not supported: expected bcrypt ($2y$), apr1 ($apr1$) or {{SHA}}")]
    Unsupported(&'static str),
}

impl ForeignHash {
    /// What stands after the colon in a file of `htpasswd`.
    pub fn of_htpasswd(text: &str) -> Result<Self, UnusableHash> {
        if let Some(rest) = text.strip_prefix("{SHA}") {
            let output = STANDARD.decode(rest).ok().filter(|output| output.len() == 20);
            let output = output.ok_or(UnusableHash::Malformed("{SHA}"))?;
            return Self { inner: InnerHash(Scheme::Sha1), output }.of_a_secret();
        }
        if let Some(rest) = text.strip_prefix("$apr1$") {
            return apr1_parts(rest).ok_or(UnusableHash::Malformed("apr1"))?.of_a_secret();
        }
        if text.starts_with("$2x$") {
            return Err(UnusableHash::FaultyBcrypt);
        }
        if let Some(rest) = bcrypt_body(text) {
            return bcrypt_parts(rest);
        }
        Err(kind_of(text))
    }

    /// `SHA256:<salt>:<hash>`, as Rancher 1.x keeps secrets; also with its `HASH:` before it.
    pub fn of_rancher(text: &str) -> Result<Self, UnusableHash> {
        let malformed = UnusableHash::Malformed("SHA256");
        let rest = text.strip_prefix("HASH:").unwrap_or(text);
        let Some(rest) = rest.strip_prefix("SHA256:") else { return Err(kind_of(text)) };
        let (salt, hash) = rest.split_once(':').ok_or(malformed.clone())?;
        let output = from_hex(hash).filter(|output| output.len() == 32).ok_or(malformed.clone())?;
        let fits = (1..=128).contains(&salt.len()) && salt.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !fits {
            return Err(malformed);
        }
        Self { inner: InnerHash(Scheme::SaltedSha256 { salt: salt.to_owned() }), output }.of_a_secret()
    }

    /// Kong's `basic-auth`: 40 hexadecimal digits, and the id of the consumer.
    pub fn of_kong(text: &str, consumer: &str) -> Result<Self, UnusableHash> {
        let Some(output) = from_hex(text).filter(|output| output.len() == 20) else {
            return Err(kind_of(text));
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if !(1..=64).contains(&consumer.len()) || !consumer.bytes().all(plain) {
            return Err(UnusableHash::Malformed("Kong"));
        }
        Self { inner: InnerHash(Scheme::KongSha1 { consumer: consumer.to_owned() }), output }.of_a_secret()
    }

    /// Refuses the hash of an empty secret. (bcrypt's is accepted by nobody: see [`InnerHash::output`].)
    fn of_a_secret(self) -> Result<Self, UnusableHash> {
        let is_empty = self.inner.output(b"").is_some_and(|output| *output == self.output);
        if is_empty { Err(UnusableHash::EmptySecret) } else { Ok(self) }
    }
}

impl InnerHash {
    /// What an outcome costs, in runs of argon2id with the default parameters, rounded down.
    pub(super) fn cost_in_runs(&self) -> u32 {
        match &self.0 {
            Scheme::Bcrypt { cost, .. } => cost.checked_sub(BCRYPT_COST_OF_A_RUN).map_or(0, |more| 1 << more),
            Scheme::Apr1 { .. } | Scheme::Sha1 | Scheme::SaltedSha256 { .. } | Scheme::KongSha1 { .. } => 0,
        }
    }

    /// The outcome for `secret`, which argon2id is laid over. `None`: no secret like this was hashed so.
    pub(super) fn output(&self, secret: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let digest = |algorithm, parts: [&[u8]; 2]| {
            let mut context = Context::new(algorithm);
            for part in parts {
                context.update(part);
            }
            context.finish().as_ref().to_vec()
        };
        Some(Zeroizing::new(match &self.0 {
            Scheme::Bcrypt { cost, salt } => {
                if secret.is_empty() || secret.len() > BCRYPT_MAX_BYTES {
                    return None;
                }
                // a C string, cut at what bcrypt reads; with all its room at once
                let mut text = Zeroizing::new(Vec::with_capacity(BCRYPT_MAX_BYTES + 1));
                text.extend_from_slice(secret);
                text.push(0);
                text.truncate(BCRYPT_MAX_BYTES);
                bcrypt::bcrypt(*cost, *salt, &text)[..BCRYPT_OUTPUT_BYTES].to_vec()
            }
            Scheme::Apr1 { salt } => apr1(secret, salt.as_bytes()).to_vec(),
            Scheme::Sha1 => digest(&SHA1_FOR_LEGACY_USE_ONLY, [secret, b""]),
            Scheme::SaltedSha256 { salt } => digest(&SHA256, [salt.as_bytes(), secret]),
            Scheme::KongSha1 { consumer } => digest(&SHA1_FOR_LEGACY_USE_ONLY, [secret, consumer.as_bytes()]),
        }))
    }
}

/// As the store keeps it.
impl fmt::Display for InnerHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Scheme::Bcrypt { cost, salt } => write!(f, "$2y${cost:02}${}", BCRYPT_BASE64.encode(salt)),
            Scheme::Apr1 { salt } => write!(f, "$apr1${salt}"),
            Scheme::Sha1 => f.write_str("{SHA}"),
            Scheme::SaltedSha256 { salt } => write!(f, "SHA256:{salt}"),
            Scheme::KongSha1 { consumer } => write!(f, "kong:{consumer}"),
        }
    }
}

/// A text in the store that names no inner hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the hash beneath argon2id is of no known kind")]
pub struct UnknownInnerHash;

impl FromStr for InnerHash {
    type Err = UnknownInnerHash;

    fn from_str(text: &str) -> Result<Self, UnknownInnerHash> {
        let scheme = if text == "{SHA}" {
            Some(Scheme::Sha1)
        } else if let Some(salt) = text.strip_prefix("$apr1$") {
            Some(Scheme::Apr1 { salt: salt.to_owned() })
        } else if let Some(salt) = text.strip_prefix("SHA256:") {
            Some(Scheme::SaltedSha256 { salt: salt.to_owned() })
        } else if let Some(consumer) = text.strip_prefix("kong:") {
            Some(Scheme::KongSha1 { consumer: consumer.to_owned() })
        } else {
            bcrypt_body(text).and_then(|rest| {
                let (cost, salt) = rest.split_once('$')?;
                let cost = cost.parse().ok().filter(|cost| BCRYPT_COSTS.contains(cost))?;
                Some(Scheme::Bcrypt { cost, salt: BCRYPT_BASE64.decode(salt).ok()?.try_into().ok()? })
            })
        };
        scheme.map(Self).ok_or(UnknownInnerHash)
    }
}

/// What follows the version of bcrypt. `2a`, `2b` and `2y` differ in nothing for secrets that it reads whole.
fn bcrypt_body(text: &str) -> Option<&str> {
    ["$2a$", "$2b$", "$2y$"].iter().find_map(|version| text.strip_prefix(version))
}

fn bcrypt_parts(rest: &str) -> Result<ForeignHash, UnusableHash> {
    let malformed = || UnusableHash::Malformed("bcrypt");
    let (cost, body) = rest.split_once('$').ok_or_else(malformed)?;
    let cost: u32 = cost.parse().map_err(|_| malformed())?;
    if !BCRYPT_COSTS.contains(&cost) {
        return Err(UnusableHash::BcryptCost(cost));
    }
    let (salt, hash) = body.split_at_checked(22).ok_or_else(malformed)?;
    let decode = |text: &str| BCRYPT_BASE64.decode(text).map_err(|_| malformed());
    let (salt, output) = (decode(salt)?, decode(hash)?);
    if output.len() != BCRYPT_OUTPUT_BYTES {
        return Err(malformed());
    }
    let salt = salt.try_into().map_err(|_| malformed())?;
    Ok(ForeignHash { inner: InnerHash(Scheme::Bcrypt { cost, salt }), output })
}

/// crypt's own base 64: four characters for three bytes, the lowest bits first.
const CRYPT_BASE64: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The order in which apr1 writes the bytes of its MD5.
const APR1_ORDER: [[usize; 3]; 5] = [[0, 6, 12], [1, 7, 13], [2, 8, 14], [3, 9, 15], [4, 10, 5]];

fn apr1_parts(rest: &str) -> Option<ForeignHash> {
    let (salt, hash) = rest.split_once('$')?;
    let is_salt = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'$' | b':');
    if !(1..=8).contains(&salt.len()) || !salt.bytes().all(is_salt) || hash.len() != 22 {
        return None;
    }
    let mut digits = hash
        .bytes()
        .map(|byte| CRYPT_BASE64.iter().position(|known| *known == byte))
        .collect::<Option<Vec<_>>>()?;
    let mut number =
        |characters: usize| digits.drain(..characters).rev().fold(0, |number, digit| number << 6 | digit);
    let low = |number: usize| u8::try_from(number & 0xff).unwrap_or_default();
    let mut output = vec![0; 16];
    for [first, second, third] in APR1_ORDER {
        let three = number(4);
        (output[first], output[second], output[third]) = (low(three >> 16), low(three >> 8), low(three));
    }
    output[11] = low(number(2));
    Some(ForeignHash { inner: InnerHash(Scheme::Apr1 { salt: salt.to_owned() }), output })
}

/// Apache's MD5 (`apr_md5_encode`): a thousand rounds.
fn apr1(secret: &[u8], salt: &[u8]) -> [u8; 16] {
    let md5 = |parts: &[&[u8]]| -> [u8; 16] {
        let mut context = Md5::new();
        for part in parts {
            context.update(part);
        }
        context.finalize().into()
    };
    let alternate = md5(&[secret, salt, secret]);
    let mut context = Md5::new();
    for part in [secret, b"$apr1$", salt] {
        context.update(part);
    }
    for chunk in secret.chunks(alternate.len()) {
        context.update(&alternate[..chunk.len()]);
    }
    let mut bits = secret.len();
    while bits > 0 {
        context.update(if bits & 1 == 1 { &[0][..] } else { &secret[..1] });
        bits >>= 1;
    }
    let mut hash: [u8; 16] = context.finalize().into();
    for round in 0..1_000 {
        let is_odd = round % 2 == 1;
        hash = md5(&[
            if is_odd { secret } else { &hash },
            if round % 3 == 0 { b"" } else { salt },
            if round % 7 == 0 { b"" } else { secret },
            if is_odd { &hash } else { secret },
        ]);
    }
    hash
}

/// How hashes begin that are known and not supported.
const UNSUPPORTED: [&str; 22] = [
    "$1$",
    "$5$",
    "$6$",
    "$7$",
    "$y$",
    "$gy$",
    "$sha1$",
    "$argon2i$",
    "$argon2d$",
    "$argon2id$",
    "$scrypt$",
    "$pbkdf2",
    "{SSHA}",
    "{SHA256}",
    "{SSHA256}",
    "{SHA512}",
    "{SSHA512}",
    "{MD5}",
    "{SMD5}",
    "{CRYPT}",
    "{BCRYPT}",
    "{PBKDF2",
];

/// What a text is that is none of the known hashes.
fn kind_of(text: &str) -> UnusableHash {
    let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    // only known names are shown: anything else may be a secret in plain text
    if let Some(scheme) = UNSUPPORTED.iter().find(|scheme| text.starts_with(**scheme)) {
        UnusableHash::Unsupported(scheme)
    } else if is_hex && matches!(text.len(), 8 | 16 | 32) {
        UnusableHash::Murmur
    } else if text.len() == 13 && text.bytes().all(|byte| CRYPT_BASE64.contains(&byte)) {
        UnusableHash::Des
    } else {
        UnusableHash::PlainText
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.chars().map(|digit| digit.to_digit(16)).collect::<Option<Vec<_>>>()?;
    let pairs = digits.as_chunks::<2>();
    pairs
        .1
        .is_empty()
        .then(|| pairs.0.iter().filter_map(|[high, low]| u8::try_from(high << 4 | low).ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(hash: &ForeignHash, secret: &str) -> bool {
        // as the store gives it back
        let inner: InnerHash = hash.inner.to_string().parse().unwrap();
        assert_eq!(inner, hash.inner);
        inner.output(secret.as_bytes()).is_some_and(|output| *output == hash.output)
    }

    /// Written by htpasswd of Debian's apache2-utils 2.4.
    #[test]
    fn hashes_of_htpasswd_hold_their_secret_and_no_other() {
        for (secret, hash) in [
            ("secret", "$2y$04$MPUAWTDo3iU22iaUClcVuea95mVnLNoC/5q3lPVdjDnJbTGRMX.lu"),
            ("secret", "$apr1$fJe.v9rU$Wx8QWyvJh7zIV/DcRsQjY0"),
            ("secret", "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ="),
        ] {
            let read = ForeignHash::of_htpasswd(hash).unwrap();
            assert!(holds(&read, secret), "{hash}");
            for other in ["Secret", "secret ", "", "secre"] {
                assert!(!holds(&read, other), "{hash} {other:?}");
            }
        }
    }

    #[test]
    fn hashes_of_rancher_and_kong_hold_their_secret_and_no_other() {
        let hex = |bytes: &[u8]| {
            bytes.iter().fold(String::new(), |mut text, byte| {
                let _ = fmt::Write::write_fmt(&mut text, format_args!("{byte:02x}"));
                text
            })
        };
        let sha256 = hex(aws_lc_rs::digest::digest(&SHA256, b"00ff11secret").as_ref());
        for text in [format!("SHA256:00ff11:{sha256}"), format!("HASH:SHA256:00ff11:{sha256}")] {
            let read = ForeignHash::of_rancher(&text).unwrap();
            assert!(holds(&read, "secret") && !holds(&read, "secret2"));
        }
        let consumer = "8a4c6c3e-6f0c-4f6e-9c0a-0d3b8f1f7f00";
        let sha1 =
            aws_lc_rs::digest::digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("secret{consumer}").as_bytes());
        let read = ForeignHash::of_kong(&hex(sha1.as_ref()), consumer).unwrap();
        assert!(holds(&read, "secret") && !holds(&read, "secret2"));
    }

    #[test]
    fn bcrypt_takes_72_bytes_and_no_more() {
        let inner: InnerHash = "$2b$04$MPUAWTDo3iU22iaUClcVue".parse().unwrap();
        let longest = [b'x'; BCRYPT_MAX_BYTES];
        let expected = bcrypt::bcrypt(4, bcrypt_salt(&inner), &longest);
        assert_eq!(inner.output(&longest).unwrap()[..], expected[..BCRYPT_OUTPUT_BYTES]);
        assert!(inner.output(&[b'x'; BCRYPT_MAX_BYTES + 1]).is_none());
    }

    #[test]
    fn slow_hashes_cost_more_guesses() {
        let runs = |text: &str| text.parse::<InnerHash>().unwrap().cost_in_runs();
        let bcrypt = [4, 7, 8, 10, 12, 14].map(|cost| runs(&format!("$2b${cost:02}$MPUAWTDo3iU22iaUClcVue")));
        assert_eq!(bcrypt, [0, 0, 1, 4, 16, 64]);
        assert_eq!((runs("$apr1$fJe.v9rU"), runs("{SHA}")), (0, 0));
    }

    fn bcrypt_salt(inner: &InnerHash) -> [u8; 16] {
        let Scheme::Bcrypt { salt, .. } = inner.0 else { panic!("{inner}") };
        salt
    }

    #[test]
    fn what_cannot_be_brought_along_is_refused_with_its_reason() {
        let good = "$2y$04$MPUAWTDo3iU22iaUClcVuea95mVnLNoC/5q3lPVdjDnJbTGRMX.lu";
        for (text, reason) in [
            (".Am.0z/dNBe2U".to_owned(), UnusableHash::Des),
            ("secret".to_owned(), UnusableHash::PlainText),
            (String::new(), UnusableHash::PlainText),
            ("$ecret$word".to_owned(), UnusableHash::PlainText),
            ("{SHA}2jmj7l5rSw0yVb/vlWAYkK/YBwk=".to_owned(), UnusableHash::EmptySecret),
            ("deadbeef".to_owned(), UnusableHash::Murmur),
            ("0123456789abcdef".to_owned(), UnusableHash::Murmur),
            ("$5$salt$hash".to_owned(), UnusableHash::Unsupported("$5$")),
            ("{SSHA}abc".to_owned(), UnusableHash::Unsupported("{SSHA}")),
            ("{SHA}abc".to_owned(), UnusableHash::Malformed("{SHA}")),
            (good[..59].to_owned(), UnusableHash::Malformed("bcrypt")),
            (good.replace("$04$", "$15$"), UnusableHash::BcryptCost(15)),
            (good.replace("$2y$", "$2x$"), UnusableHash::FaultyBcrypt),
            ("$apr1$toolongsalt$Wx8QWyvJh7zIV/DcRsQjY0".to_owned(), UnusableHash::Malformed("apr1")),
            ("$apr1$fJe.v9rU$Wx8QWyvJh7zIV/DcRsQjY".to_owned(), UnusableHash::Malformed("apr1")),
        ] {
            assert_eq!(ForeignHash::of_htpasswd(&text), Err(reason), "{text}");
        }
        assert_eq!(ForeignHash::of_rancher("SHA256:zz:00"), Err(UnusableHash::Malformed("SHA256")));
        assert_eq!(ForeignHash::of_kong("deadbeef", "c"), Err(UnusableHash::Murmur));
        for text in ["", "$2y$04$short", "$2y$31$MPUAWTDo3iU22iaUClcVue", "SHA1:x"] {
            assert!(text.parse::<InnerHash>().is_err(), "{text}");
        }
    }
}
