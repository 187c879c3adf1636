//! Why a request is not authenticated.

use jiff::Timestamp;

use crate::model::{Principal, State};

macro_rules! failures {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// Why a request is not authenticated. For access log and metrics only: all of them are one and the same answer to
        /// the client.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum AuthFailure {
            $($(#[$doc])* $variant,)*
        }

        impl AuthFailure {
            /// All names, each at the place that is its failure's [`AuthFailure::index`].
            pub const NAMES: &[&str] = &[$($name,)*];

            /// As access log and metrics call it.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

failures! {
    /// There is none.
    NoCredential = "no_credential",
    /// It cannot be read: another scheme, no canonical base64, no colon, an empty half.
    Malformed = "malformed",
    /// No such pair can exist: the check characters of a minted secret are wrong, or only one half is a minted one.
    Checksum = "checksum",
    /// No key has this access key, or it was removed.
    UnknownKey = "unknown_key",
    /// The key has another secret.
    WrongSecret = "wrong_secret",
    /// The key is inactive. Its secret is not verified.
    InactiveKey = "inactive_key",
    /// The key is active, its account or environment is not. Its secret is not verified.
    InactiveOwner = "inactive_owner",
    /// The key has ended by itself. Its secret is not verified.
    Expired = "expired",
    /// The client's address is outside the key's networks. Its secret is not verified.
    Network = "network",
    /// The secret was right until the key was rotated, and has ended.
    EndedSecret = "ended_secret",
}

impl AuthFailure {
    /// Why a key does not work at this time, whatever its secret; `None` if it does.
    pub fn of(principal: &Principal, now: Timestamp) -> Option<Self> {
        if principal.key.state != State::Active {
            Some(Self::InactiveKey)
        } else if principal.key.has_expired(now) {
            Some(Self::Expired)
        } else {
            (!principal.is_active()).then_some(Self::InactiveOwner)
        }
    }

    /// The place of its name in [`AuthFailure::NAMES`].
    pub fn index(self) -> usize {
        self as usize
    }

    /// Whether it counts towards the throttle of its source. A key that is used from the wrong place is nobody's guess: its
    /// secret was not even looked at.
    pub(super) fn is_counted(self) -> bool {
        self != Self::Network
    }

    /// Whether the store has a key with the access key that was sent.
    pub(super) fn is_of_a_known_key(self) -> bool {
        match self {
            Self::WrongSecret
            | Self::InactiveKey
            | Self::InactiveOwner
            | Self::Expired
            | Self::Network
            | Self::EndedSecret => true,
            Self::NoCredential | Self::Malformed | Self::Checksum | Self::UnknownKey => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_at_its_failures_index() {
        let all = [
            AuthFailure::NoCredential,
            AuthFailure::Malformed,
            AuthFailure::Checksum,
            AuthFailure::UnknownKey,
            AuthFailure::WrongSecret,
            AuthFailure::InactiveKey,
            AuthFailure::InactiveOwner,
            AuthFailure::Expired,
            AuthFailure::Network,
            AuthFailure::EndedSecret,
        ];
        assert_eq!(all.map(AuthFailure::name).as_slice(), AuthFailure::NAMES);
        for failure in all {
            assert_eq!(AuthFailure::NAMES[failure.index()], failure.name());
        }
    }
}
