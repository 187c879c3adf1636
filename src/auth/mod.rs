//! Authentication: who a credential belongs to, verified by the cheapest means that is proof.
//!
//! A request goes through [`Authenticator::authenticate`] (`authenticate.rs`), in four steps:
//!
//! 1. Shape (`key_format`): minted pairs carry check characters.
//! 2. Memory (`memory_lookup`, `thread_cache`, `cache`): a MAC under a key that only this process knows.
//! 3. The stored fingerprint (`store_lookup`, `fingerprint`, [`Peppers`]): a MAC under a key that lies outside the store.
//! 4. argon2id (`argon_threads`, `argon`): slow on purpose, on threads of its own.
//!
//! Secrets that people chose can be guessed. So their answers come in turns (`verification_queue`, `guess_budget`,
//! `argon_timing`), unless the source is known to use the key (`known_sources`).

mod apply_changes;
mod argon;
mod argon_threads;
mod argon_timing;
mod authenticate;
mod authenticator;
mod cache;
mod counters;
mod credential;
mod ended_secrets;
mod environment_cache;
mod failed_key_cache;
mod failure;
mod fingerprint;
mod guess_budget;
mod identity;
mod inner_hash;
mod key_format;
mod known_sources;
mod memory_lookup;
mod new_pairs;
mod pending_rehashes;
mod pepper;
mod store_lookup;
mod thread_cache;
mod throttle;
mod verification_queue;

#[cfg(test)]
mod tests;

pub use argon::{ArgonError, Verifier, hash_secret};
pub use authenticator::{AuthRefusal, Authenticator};
pub use counters::Counters;
pub use credential::{Credential, CredentialError};
pub use failure::AuthFailure;
pub use identity::Identity;
pub use inner_hash::{ForeignHash, InnerHash, UnknownInnerHash, UnusableHash};
pub use key_format::{
    CredentialShape, Secret, credential_shape, looks_like_secret, mint_access_key, mint_secret, random_bytes,
};
pub use new_pairs::{
    ChosenPair, ChosenPairError, MintedPair, STRONG_SECRET_BITS, max_entropy_bits, mint_pair, new_secret,
    refuse_minted,
};
pub use pepper::{PepperError, Peppers};
