//! Identifiers. Accounts and keys are numbered as in Rancher (`1a7`, `1c42`); environments are named by the
//! operator with the path segment that stands for them; access keys are the public half of an API key.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Why a text is not the identifier it was read as.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// Not `1a` and a number.
    #[error("an account id is '1a' followed by a number, such as 1a7")]
    Account,
    /// Not `1c` and a number.
    #[error("a key id is '1c' followed by a number, such as 1c42")]
    Key,
    /// Outside `[A-Za-z0-9][A-Za-z0-9_-]{0,63}`.
    #[error(
        "an environment id is 1 to 64 of the characters A-Z a-z 0-9 _ - and starts with a letter or digit"
    )]
    Environment,
    /// Empty, too long, or with a colon, a space, a control or a non-ASCII character.
    #[error("an access key is 1 to 128 visible ASCII characters without a colon")]
    AccessKey,
}

macro_rules! numbered_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $error:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(i64);

        impl $name {
            /// The id with this row number; row numbers are positive.
            pub fn from_row(row: i64) -> Self {
                Self(row)
            }

            /// The row number in the store.
            pub fn row(self) -> i64 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let digits = text.strip_prefix($prefix).ok_or(InvalidId::$error)?;
                // one spelling only: no sign, no leading zero
                if digits.starts_with(['0', '+', '-']) {
                    return Err(InvalidId::$error);
                }
                digits.parse().map(Self).map_err(|_| InvalidId::$error)
            }
        }
    };
}

numbered_id!(
    /// Names an account: `1a` and its row number.
    AccountId,
    "1a",
    Account
);
numbered_id!(
    /// Names an API key: `1c` and its row number.
    KeyId,
    "1c",
    Key
);

/// Names an environment: the path segment that stands for it at the upstream.
///
/// `[A-Za-z0-9][A-Za-z0-9_-]{0,63}`, unique in a store without regard to case; only the stored spelling is known
/// (`docs/paths.md`). Cloning is cheap.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EnvironmentId(Arc<str>);

impl EnvironmentId {
    /// The longest environment id, in bytes.
    pub const MAX_BYTES: usize = 64;

    /// Whether `text` has the form of an environment id.
    pub fn is_well_formed(text: &[u8]) -> bool {
        text.len() <= Self::MAX_BYTES
            && text.first().is_some_and(u8::is_ascii_alphanumeric)
            && text.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
    }

    /// The id of an environment that is created without a chosen id: `1e` and random digits. A counted number could be the
    /// name of something at the upstream already.
    pub fn minted(random: u64) -> Self {
        Self(format!("1e{random:016x}").into())
    }

    /// The id as it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for EnvironmentId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        if Self::is_well_formed(text.as_bytes()) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidId::Environment)
        }
    }
}

impl fmt::Display for EnvironmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for EnvironmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for EnvironmentId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// The public half of an API key, the user name of HTTP Basic. Compared byte for byte. Cloning is cheap.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccessKey(Arc<str>);

impl AccessKey {
    /// The longest access key, in bytes.
    pub const MAX_BYTES: usize = 128;

    /// The access key as it is sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AccessKey {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let fits = (1..=Self::MAX_BYTES).contains(&text.len());
        if fits && text.bytes().all(|b| b.is_ascii_graphic() && b != b':') {
            Ok(Self(text.into()))
        } else {
            Err(InvalidId::AccessKey)
        }
    }
}

impl fmt::Display for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for AccessKey {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbered_ids_have_one_spelling() {
        assert_eq!("1a7".parse::<AccountId>().unwrap().to_string(), "1a7");
        for text in ["", "1a", "1a07", "1a+7", "1a-7", "1c7", "7", "1a7 ", "1a99999999999999999999"] {
            assert!(text.parse::<AccountId>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn environment_ids_are_plain_path_segments() {
        for text in ["e1", "1a5", "A_b-c", &"x".repeat(64)] {
            assert!(text.parse::<EnvironmentId>().is_ok(), "{text:?}");
        }
        for random in [0, u64::MAX] {
            let minted = EnvironmentId::minted(random);
            assert_eq!(minted.as_str().parse(), Ok(minted));
        }
        for text in ["", "-a", "_a", ".", "a.b", "a/b", "a b", "é", &"x".repeat(65)] {
            assert!(text.parse::<EnvironmentId>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn access_keys_hold_no_colon_space_or_control() {
        assert!("pca_0123".parse::<AccessKey>().is_ok());
        for text in ["", "a:b", "a b", "a\tb", "é", &"x".repeat(129)] {
            assert!(text.parse::<AccessKey>().is_err(), "{text:?}");
        }
    }
}
