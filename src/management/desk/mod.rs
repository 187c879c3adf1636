//! What the management plane can do, on behalf of a caller: the one set of operations behind the API and the pages.
//!
//! An operation judges the caller, has the record do it (which judges again, inside the transaction), and waits until
//! the change is in force on this gateway.

mod accounts;
mod audit;
mod caller;
mod environments;
mod keys;
mod members;
mod refused;

use std::sync::Arc;

use tokio::sync::Semaphore;

pub use caller::Caller;
pub use keys::NewPair;
pub use members::MemberEntry;

use super::in_force::InForce;
use super::refusal::Refusal;
use crate::auth::Authenticator;
use crate::store::{ChangeNumber, Registry};

/// Secrets that are hashed at once: each takes a core and argon2's memory for some 15 ms.
const HASHING_AT_ONCE: usize = 2;

/// The operations.
#[derive(Clone)]
pub struct Desk {
    registry: Registry,
    authenticator: Arc<Authenticator>,
    in_force: InForce,
    hashing: Arc<Semaphore>,
    /// What keys were refused lately.
    refused: Arc<refused::Tally>,
}

/// Something that was done in the record.
#[derive(Debug, Clone)]
pub struct Done<T> {
    /// The object as it is now.
    pub value: T,
    /// The change's number in the log.
    pub change: ChangeNumber,
    /// Whether this gateway has confirmed that it is in force.
    pub in_force: bool,
}

/// That the caller knows what a change does to the caller's own key or account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirmed {
    /// The caller has said so.
    Itself,
    /// Nothing was said.
    No,
}

impl Desk {
    /// Operations on this record.
    pub fn new(registry: Registry, authenticator: Arc<Authenticator>, in_force: InForce) -> Self {
        let hashing = Arc::new(Semaphore::new(HASHING_AT_ONCE));
        Self { registry, authenticator, in_force, hashing, refused: Arc::default() }
    }

    async fn done<T>(&self, (value, change): (T, ChangeNumber)) -> Done<T> {
        let in_force = self.in_force.wait_for(change).await;
        if !in_force {
            tracing::warn!(%change, "a change is not in force yet; its answer says so");
        }
        Done { value, change, in_force }
    }
}

/// Nobody takes the key or the account away that they are using, unless they say that they mean it.
fn refuse_unconfirmed(is_own: bool, confirmed: Confirmed) -> Result<(), Refusal> {
    if is_own && confirmed == Confirmed::No {
        return Err(Refusal::invalid(
            "MissingRequired",
            "confirm",
            "this would stop the key that is asking: say confirm=self if that is meant",
        ));
    }
    Ok(())
}
