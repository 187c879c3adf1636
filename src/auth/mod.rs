//! Authentication: who a credential belongs to, proved by the cheapest means that is proof.
//!
//! [`Authenticator::authenticate`] is the way of a credential, four rungs in one function:
//!
//! 1. [`shape`]: minted pairs carry check characters.
//! 2. memory (`recent`, `cache`, `identity`): a MAC under a key that only this process knows.
//! 3. the stored fingerprint (`fingerprint`, [`Peppers`]): a MAC under a key that lies outside the store.
//! 4. argon2id (`argon`, `argon_threads`): slow on purpose, on threads of its own.
//!
//! Secrets that people chose can be guessed. They are answered turn by turn (`verification_queue`, `guess_budget`,
//! `turn_length`), but where the source is known to use the key (`known_sources`).

mod apply;
mod argon;
mod argon_threads;
mod authenticate;
mod cache;
mod chosen;
mod counters;
mod credential;
mod directory;
mod fingerprint;
mod guess_budget;
mod identity;
mod known_sources;
mod pair;
mod pepper;
mod recent;
mod secret;
mod throttle;
mod turn_length;
mod verification_queue;

#[cfg(test)]
mod tests;

pub use argon::{ArgonError, hash_secret};
pub use authenticate::{AuthRefusal, Authenticator};
pub use counters::Counters;
pub use credential::{Credential, CredentialError};
pub use identity::Identity;
pub use pair::{ChosenPair, ChosenPairError, MintedPair, STRONG_BITS, mint_pair, secret_bits};
pub use pepper::{PepperError, Peppers};
pub use secret::{Secret, Shape, mint_access_key, mint_secret, random_bytes, shape};
