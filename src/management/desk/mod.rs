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
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

pub use caller::Caller;
pub use keys::NewPair;
pub use members::MemberEntry;

use super::in_force::InForce;
use super::refusal::Refusal;
use crate::auth::Authenticator;
use crate::config::Lists;
use crate::store::{
    ChangeNumber, Gateways, Position, RECEIPT_PATIENCE, Receipt, Registry, Store, StoreError, receipt_pause,
};

/// Secrets that are hashed at once: each takes a core and argon2's memory for some 15 ms.
const HASHING_AT_ONCE: usize = 2;

/// How long a reading waits to learn what is confirmed everywhere.
const SETTLED_PATIENCE: Duration = Duration::from_millis(500);

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
    /// Where the change is in force.
    pub receipt: Receipt,
}

impl<T> Done<T> {
    /// Whether every gateway has confirmed that it is in force.
    pub fn is_in_force(&self) -> bool {
        self.receipt.is_complete()
    }
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

    /// Gives lists other bounds from now on.
    pub(in crate::management) fn set_list_bounds(&self, bounds: Lists) {
        self.registry.set_list_bounds(bounds);
    }

    /// Reads a list in the caller's turn.
    async fn list<T: Send + 'static>(
        &self,
        caller: &Caller,
        question: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Refusal> {
        Ok(self.registry.list(caller.owner(), question).await?)
    }

    async fn done<T>(&self, (value, change): (T, ChangeNumber)) -> Done<T> {
        // the change is made: whatever fails from here on is no reason to say that it was not
        let receipt = self.receipt(change).await;
        if !receipt.is_complete() {
            let waiting: Vec<_> = receipt.waiting.iter().map(|gateway| gateway.name.as_str()).collect();
            tracing::warn!(%change, waiting = waiting.join(", "), "a change is not in force yet; its answer says so");
        }
        Done { value, receipt }
    }

    /// The gateways that share the record; `None` where it cannot be asked now.
    pub async fn gateways(&self) -> Option<Gateways> {
        // a record that is away would be waited for
        if self.authenticator.staleness().is_some() {
            return None;
        }
        tokio::time::timeout(SETTLED_PATIENCE, self.registry.gateways()).await.ok()?.ok()
    }

    /// The newest change of which it is known that every gateway has applied it; all, where nobody can be asked: then
    /// what is shown is as old as the replica.
    pub async fn settled(&self) -> ChangeNumber {
        self.gateways().await.map_or(ChangeNumber(u64::MAX), |gateways| gateways.settled())
    }

    async fn receipt(&self, change: ChangeNumber) -> Receipt {
        let begun = Instant::now();
        let deadline = begun + RECEIPT_PATIENCE;
        if let Ok(here) = self.registry.read(Store::position).await {
            // first here, without asking anybody: most changes are in force everywhere right after
            self.in_force.wait_for(Position { number: change, ..here }).await;
        }
        let mut receipt = Receipt::unknown(change);
        loop {
            // once at least, however long it took here; what could be learnt last is what is told
            let limit = deadline.max(Instant::now() + SETTLED_PATIENCE);
            match tokio::time::timeout_at(limit.into(), self.registry.gateways()).await {
                Ok(Ok(gateways)) => receipt = gateways.receipt(change),
                Ok(Err(error)) => {
                    tracing::warn!(%error, %change, "where a change is in force cannot be asked");
                }
                Err(_) => {}
            }
            if receipt.is_complete() || Instant::now() >= deadline {
                return receipt;
            }
            tokio::time::sleep(receipt_pause(begun.elapsed())).await;
        }
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
