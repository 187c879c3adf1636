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

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

pub use caller::Caller;
pub use keys::NewPair;
pub use members::MemberEntry;

use super::in_force::InForce;
use super::refusal::Refusal;
use crate::auth::Authenticator;
use crate::config::Lists;
use crate::model::State;
use crate::store::{
    ChangeNumber, FileId, Gateways, Position, RECEIPT_PATIENCE, Receipt, Registry, Settled, Store,
    StoreError, receipt_pause,
};

/// Secrets that are hashed at once: each takes a core and argon2's memory for some 15 ms.
const HASHING_AT_ONCE: usize = 2;

/// How long a reading waits to learn what is confirmed everywhere.
const SETTLED_PATIENCE: Duration = Duration::from_millis(500);

/// How often it is learnt without being asked for.
const SETTLED_PAUSE: Duration = Duration::from_secs(10);

/// The operations.
#[derive(Clone)]
pub struct Desk {
    registry: Registry,
    authenticator: Arc<Authenticator>,
    in_force: InForce,
    hashing: Arc<Semaphore>,
    /// The newest change that is known to be in force everywhere, and of which file: in another one the number may be
    /// another change's.
    settled: Arc<Mutex<Position>>,
    /// What keys were refused lately.
    refused: Arc<refused::Tally>,
    /// `management.environments_per_user`
    environments_per_user: Arc<AtomicU32>,
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
        Self {
            registry,
            authenticator,
            in_force,
            hashing,
            settled: Arc::default(),
            refused: Arc::default(),
            environments_per_user: Arc::default(),
        }
    }

    /// Lets every user account make so many environments from now on.
    pub(in crate::management) fn set_environments_per_user(&self, most: u32) {
        self.environments_per_user.store(most, Ordering::Relaxed);
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
        tokio::time::timeout(SETTLED_PATIENCE, self.ask_for_gateways()).await.ok()?.ok()
    }

    async fn ask_for_gateways(&self) -> Result<Gateways, StoreError> {
        let file = self.in_force.file();
        let gateways = self.registry.gateways().await?;
        self.keep_settled(file, gateways.settled());
        Ok(gateways)
    }

    /// Up to which change all is known to be in force everywhere.
    pub async fn settled(&self) -> Settled {
        let now = self.gateways().await.and_then(|gateways| gateways.settled());
        Settled::new(now, self.keep_settled(self.in_force.file(), now))
    }

    /// Keeps what is known now for when nobody can be asked; the newest that is known of this file.
    fn keep_settled(&self, file: FileId, now: Option<ChangeNumber>) -> ChangeNumber {
        let mut settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
        if settled.file != file {
            *settled = Position { file, ..Position::default() };
        }
        settled.number = settled.number.max(now.unwrap_or_default());
        settled.number
    }

    /// Learns at times what is in force everywhere, until it is dropped: what nobody has asked about while all was well
    /// could not be told from what is new once nobody can be asked.
    pub(in crate::management) async fn watch_settled(&self) {
        loop {
            self.settled().await;
            tokio::time::sleep(SETTLED_PAUSE).await;
        }
    }

    /// What becomes of a change of a state. One that the record has refused because the state is the wanted one already
    /// is done, where that is not yet in force everywhere: nobody is to take the refusal for a confirmation.
    async fn state_changed<T>(
        &self,
        to: State,
        changed: Result<(T, ChangeNumber), StoreError>,
        now: impl AsyncFnOnce() -> Result<(ChangeNumber, T), Refusal>,
    ) -> Result<Done<T>, Refusal> {
        match changed {
            Err(refused @ StoreError::WrongState { state, .. }) if state == to => {
                let (number, value) = now().await?;
                let receipt = self.receipt(number).await;
                if receipt.is_complete() { Err(refused.into()) } else { Ok(Done { value, receipt }) }
            }
            changed => Ok(self.done(changed?).await),
        }
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
            match tokio::time::timeout_at(limit.into(), self.ask_for_gateways()).await {
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
