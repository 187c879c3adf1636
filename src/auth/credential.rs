//! The credential of a request: HTTP Basic (RFC 7617), or the pair as it is, read strictly.

use std::cell::RefCell;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroize as _;

/// Why an `Authorization` value holds no credential. None of them carries anything of the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// Another scheme, or none.
    #[error("the scheme is not one that is accepted")]
    OtherScheme,
    /// Two credentials joined by a comma: some servers read the first, others the last. The one error that makes the
    /// request malformed (400); all others are credentials that do not work (401).
    #[error("more than one credential")]
    Several,
    /// Longer than [`Credential::MAX_BYTES`] when decoded.
    #[error("the credential is longer than {} bytes", Credential::MAX_BYTES)]
    TooLong,
    /// Not base64 in its one canonical form: RFC 4648's first alphabet, padded, no loose bits at the end.
    #[error("the credential is not canonical base64")]
    Encoding,
    /// Not UTF-8, or a control character in it.
    #[error("the credential is not UTF-8 text without control characters")]
    Text,
    /// No colon between access key and secret key.
    #[error("no colon between access key and secret key")]
    NoColon,
    /// Nothing before the colon, or nothing after it.
    #[error("the access key or the secret key is empty")]
    Empty,
}

/// An access key and a secret key as they were sent.
///
/// They lie in one buffer, which is wiped when this is dropped. Buffers are reused on the thread, so that reading a
/// credential allocates nothing, and moving one copies no secret.
pub struct Credential {
    /// As long as the encoding could decode to, so that wiping it wipes all that decoding wrote.
    buffer: Vec<u8>,
    length: usize,
    colon: usize,
}

impl Credential {
    /// The longest credential, in bytes when decoded. A longer one is refused before it costs anything.
    pub const MAX_BYTES: usize = 1024;

    const MAX_ENCODED: usize = Self::MAX_BYTES.div_ceil(3) * 4;

    /// Reads the value of an `Authorization` field.
    ///
    /// The scheme may be in any case and is followed by spaces (RFC 9110 section 11.4); the first colon ends the
    /// access key, everything after it is the secret (RFC 7617 section 2). Nothing is trimmed.
    pub fn parse(authorization: &[u8]) -> Result<Self, CredentialError> {
        let encoded = after_scheme(authorization, b"basic")?;
        if memchr::memchr(b',', encoded).is_some() {
            return Err(CredentialError::Several);
        }
        if encoded.len() > Self::MAX_ENCODED {
            return Err(CredentialError::TooLong);
        }
        let mut credential = Self { buffer: take_buffer(encoded.len().div_ceil(4) * 3), length: 0, colon: 0 };
        credential.length =
            STANDARD.decode_slice(encoded, &mut credential.buffer).map_err(|_| CredentialError::Encoding)?;
        credential.split()
    }

    /// Reads the value of an `Authorization` field with the scheme `Bearer`, after which the pair stands as it is.
    pub fn parse_bearer(authorization: &[u8]) -> Result<Self, CredentialError> {
        Self::parse_pair(after_scheme(authorization, b"bearer")?)
    }

    /// Reads a pair as it is: access key, colon, secret key.
    pub fn parse_pair(pair: &[u8]) -> Result<Self, CredentialError> {
        if pair.len() > Self::MAX_BYTES {
            return Err(CredentialError::TooLong);
        }
        let mut credential = Self { buffer: take_buffer(pair.len()), length: pair.len(), colon: 0 };
        credential.buffer.copy_from_slice(pair);
        credential.split()
    }

    /// Finds the two halves.
    fn split(mut self) -> Result<Self, CredentialError> {
        let bytes = self.as_bytes();
        if bytes.len() > Self::MAX_BYTES {
            return Err(CredentialError::TooLong);
        }
        if !is_plain_text(bytes) {
            return Err(CredentialError::Text);
        }
        self.colon = memchr::memchr(b':', bytes).ok_or(CredentialError::NoColon)?;
        if self.access_key().is_empty() || self.secret().is_empty() {
            return Err(CredentialError::Empty);
        }
        Ok(self)
    }

    /// The access key.
    pub fn access_key(&self) -> &str {
        // `parse` has checked the whole for UTF-8, and a colon is never inside a character
        std::str::from_utf8(&self.buffer[..self.colon]).unwrap_or_default()
    }

    /// The secret key.
    pub fn secret(&self) -> &[u8] {
        &self.buffer[self.colon + 1..self.length]
    }

    /// Access key, colon, secret key. No access key holds a colon, so different pairs are different bytes.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.buffer[..self.length]
    }
}

/// What follows the scheme and its spaces.
fn after_scheme<'v, const N: usize>(
    authorization: &'v [u8],
    scheme: &[u8; N],
) -> Result<&'v [u8], CredentialError> {
    let (sent, rest) = authorization.split_first_chunk::<N>().ok_or(CredentialError::OtherScheme)?;
    if !sent.eq_ignore_ascii_case(scheme) {
        return Err(CredentialError::OtherScheme);
    }
    match rest.iter().position(|byte| *byte != b' ') {
        Some(0) => Err(CredentialError::OtherScheme),
        Some(start) => Ok(&rest[start..]),
        None => Err(CredentialError::Empty),
    }
}

fn is_plain_text(bytes: &[u8]) -> bool {
    // without a branch for each byte, so that it runs over many at a time
    bytes.iter().fold(true, |plain, byte| plain & matches!(byte, b' '..=b'~'))
        || std::str::from_utf8(bytes).is_ok_and(|text| !text.chars().any(char::is_control))
}

impl Drop for Credential {
    fn drop(&mut self) {
        give_back(std::mem::take(&mut self.buffer));
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(..)")
    }
}

/// Wiped buffers that a thread keeps; more are given back to the allocator.
const SPARE_BUFFERS: usize = 32;

/// A buffer for the longest credential, whole quanta of base64.
const BUFFER_BYTES: usize = Credential::MAX_ENCODED / 4 * 3;

thread_local! {
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

fn take_buffer(length: usize) -> Vec<u8> {
    let spare = SPARE.try_with(|spare| spare.borrow_mut().pop()).ok().flatten();
    let mut buffer = spare.unwrap_or_else(|| Vec::with_capacity(BUFFER_BYTES));
    buffer.clear();
    buffer.resize(length, 0);
    buffer
}

fn give_back(mut buffer: Vec<u8>) {
    buffer.as_mut_slice().zeroize();
    // at the end of a thread the spare buffers are gone already, and this one goes the same way
    let _ = SPARE.try_with(|spare| {
        let mut spare = spare.borrow_mut();
        if spare.len() < SPARE_BUFFERS {
            spare.push(buffer);
        }
    });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn basic(pair: impl AsRef<[u8]>) -> Vec<u8> {
        format!("Basic {}", STANDARD.encode(pair)).into_bytes()
    }

    fn refusal(value: impl AsRef<[u8]>) -> CredentialError {
        Credential::parse(value.as_ref()).expect_err("this value should be refused")
    }

    #[track_caller]
    fn assert_reads(value: &[u8], access_key: &str, secret: &[u8]) {
        let credential = Credential::parse(value).expect("this value should be read");
        assert_eq!((credential.access_key(), credential.secret()), (access_key, secret));
    }

    #[test]
    fn case_3_joined_credentials_are_refused_as_several() {
        let good = String::from_utf8(basic("id:secret")).unwrap();
        assert_eq!(refusal(format!("{good}, {good}")), CredentialError::Several);
        assert_eq!(refusal(format!("{good},{good}")), CredentialError::Several);
        assert_eq!(refusal(format!("{good}, Bearer x")), CredentialError::Several);
    }

    #[test]
    fn case_4_the_scheme_is_basic_in_any_case_and_nothing_else() {
        let encoded = STANDARD.encode("id:secret");
        for scheme in ["Basic", "basic", "BASIC", "bAsIc"] {
            assert_reads(format!("{scheme} {encoded}").as_bytes(), "id", b"secret");
        }
        assert_reads(format!("Basic   {encoded}").as_bytes(), "id", b"secret");
        for value in [
            format!("Bearer Basic {encoded}"),
            format!("xBasic {encoded}"),
            format!("Basicx {encoded}"),
            format!("Basic{encoded}"),
            format!("Basic\t{encoded}"),
            format!(" Basic {encoded}"),
            "Basic".to_owned()[..4].to_owned(),
            String::new(),
        ] {
            assert_eq!(refusal(&value), CredentialError::OtherScheme, "{value:?}");
        }
    }

    #[test]
    fn case_6_everything_after_the_first_colon_is_the_secret() {
        assert_reads(&basic("id:sec:ret"), "id", b"sec:ret");
        assert_reads(&basic("id::"), "id", b":");
        assert_reads(&basic("id:secret:junk"), "id", b"secret:junk");
    }

    #[test]
    fn case_7_nothing_is_trimmed() {
        assert_reads(&basic("id:secret "), "id", b"secret ");
        assert_reads(&basic(" i d:secret"), " i d", b"secret");
        assert_eq!(refusal(basic("id:sec\tret")), CredentialError::Text);
    }

    #[test]
    fn case_8_an_empty_half_is_refused() {
        for pair in ["id:", ":secret", ":"] {
            assert_eq!(refusal(basic(pair)), CredentialError::Empty, "{pair:?}");
        }
        for value in ["Basic", "Basic ", "Basic    "] {
            assert_eq!(refusal(value), CredentialError::Empty, "{value:?}");
        }
        assert_eq!(refusal(basic("id")), CredentialError::NoColon);
    }

    #[test]
    fn case_9_only_canonical_base64_is_read() {
        // "aWQ6cw==" is id:s
        assert_reads(b"Basic aWQ6cw==", "id", b"s");
        for encoded in [
            "aWQ6cw",     // no padding
            "aWQ6cw=",    // half of it
            "aWQ6cw===",  // too much
            "aWQ6cx==",   // loose bits
            "aWQ6\ncw==", // line break
            "aWQ6cw== ",  // trailing space
            "aWQ6cw==x",  // trailing garbage
            "aWQ6cw==aWQ6cw==",
            "aWQ6Pz8_", // URL-safe alphabet
            "aWQ6Pj4-",
            "=",
            "====",
        ] {
            assert_eq!(refusal(format!("Basic {encoded}")), CredentialError::Encoding, "{encoded:?}");
        }
    }

    #[test]
    fn case_10_controls_and_broken_utf_8_are_refused() {
        for pair in [
            &b"id:s\0"[..],
            b"id\n:s",
            b"id:\x1b[31m",
            b"id:\x7f",
            b"id:\xff",
            b"id:\xc0\xaf",
            b"id:\xc2\x85",
        ] {
            assert_eq!(refusal(basic(pair)), CredentialError::Text, "{pair:?}");
        }
        assert_reads(&basic("ïd:sécret ✓"), "ïd", "sécret ✓".as_bytes());
    }

    #[test]
    fn case_11_a_long_credential_is_refused_by_its_length() {
        let longest = format!("id:{}", "x".repeat(Credential::MAX_BYTES - 3));
        assert_reads(&basic(&longest), "id", &longest.as_bytes()[3..]);
        assert_eq!(refusal(basic(longest.clone() + "x")), CredentialError::TooLong);
        assert_eq!(refusal(basic(longest.clone() + "xx")), CredentialError::TooLong);
        assert_eq!(refusal(basic(format!("id:{}", "x".repeat(65_536)))), CredentialError::TooLong);
    }

    #[test]
    fn what_was_read_is_wiped_before_the_buffer_is_used_again() {
        let values = [
            (basic("id:a-secret-of-some-length"), true),
            // refused half way
            (b"Basic aWQ6c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0*AA=".to_vec(), false),
            (basic("a-secret-without-a-colon"), false),
            (b"Bearer id:a-secret-of-some-length".to_vec(), true),
        ];
        for (value, is_read) in values {
            let parse =
                if value.starts_with(b"Bearer") { Credential::parse_bearer } else { Credential::parse };
            assert_eq!(parse(&value).is_ok(), is_read);
            SPARE.with(|spare| {
                let spare = spare.borrow();
                assert_eq!(spare.len(), 1, "one buffer serves all that are read one after the other");
                assert!(spare[0].len() >= 24 && spare[0].iter().all(|byte| *byte == 0), "{:?}", spare[0]);
                assert_eq!(
                    spare[0].capacity(),
                    BUFFER_BYTES,
                    "never grown, so never copied by the allocator"
                );
            });
        }
    }

    #[test]
    fn a_pair_as_it_is_is_read_by_the_same_rules() {
        let read = |value: &[u8]| {
            Credential::parse_pair(value).map(|read| (read.access_key().to_owned(), read.secret().to_owned()))
        };
        assert_eq!(read(b"id:sec:ret, x"), Ok(("id".to_owned(), b"sec:ret, x".to_vec())));
        assert_eq!(read("ïd:✓".as_bytes()), Ok(("ïd".to_owned(), "✓".as_bytes().to_vec())));
        for (value, error) in [
            (&b"id"[..], CredentialError::NoColon),
            (b"", CredentialError::NoColon),
            (b"id:", CredentialError::Empty),
            (b":secret", CredentialError::Empty),
            (b"id:sec\tret", CredentialError::Text),
            (b"id:\xff", CredentialError::Text),
            (&[b':'; Credential::MAX_BYTES + 1], CredentialError::TooLong),
        ] {
            assert_eq!(read(value), Err(error), "{}", value.escape_ascii());
        }
        for (value, error) in [
            (&b"Basic id:secret"[..], CredentialError::OtherScheme),
            (b"Bearerid:secret", CredentialError::OtherScheme),
            (b"Bearer", CredentialError::Empty),
            (b"Bearer  id", CredentialError::NoColon),
        ] {
            assert_eq!(Credential::parse_bearer(value).err(), Some(error), "{}", value.escape_ascii());
        }
        let bearer = Credential::parse_bearer(b"bEARER   id:secret").unwrap();
        assert_eq!((bearer.access_key(), bearer.secret()), ("id", &b"secret"[..]));
    }

    #[test]
    fn debug_prints_neither_half() {
        let credential = Credential::parse(&basic("an-id:a-secret")).unwrap();
        assert_eq!(format!("{credential:?}"), "Credential(..)");
    }

    proptest! {
        #[test]
        fn case_16_different_pairs_are_different_bytes(
            a in "[^:\\p{Cc}]{1,4}", b in "\\P{Cc}{1,4}", c in "[^:\\p{Cc}]{1,4}", d in "\\P{Cc}{1,4}",
        ) {
            let one = Credential::parse(&basic(format!("{a}:{b}"))).unwrap();
            let other = Credential::parse(&basic(format!("{c}:{d}"))).unwrap();
            prop_assert_eq!((a, b) == (c, d), one.as_bytes() == other.as_bytes());
        }

        #[test]
        fn whatever_is_read_encodes_to_what_was_sent(value in proptest::collection::vec(any::<u8>(), 0..80)) {
            let mut sent = b"Basic ".to_vec();
            sent.extend(STANDARD.encode(&value).into_bytes());
            for value in [&sent, &value] {
                if let Ok(credential) = Credential::parse(value) {
                    prop_assert_eq!(&basic(credential.as_bytes()), value);
                    prop_assert!(!credential.access_key().contains(':'));
                }
            }
        }
    }
}
