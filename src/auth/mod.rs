//! Authentication: who a credential belongs to, proved by the cheapest means that is proof.

mod argon;
mod credential;
mod fingerprint;
mod pepper;
mod secret;
mod throttle;

pub use argon::{ArgonError, hash_secret};
pub use credential::{Credential, CredentialError};
pub use pepper::{PepperError, Peppers};
pub use secret::{Secret, Shape, mint_access_key, mint_secret, shape};
