//! What a caller can do: the one set of operations behind the API and the page.
//!
//! An operation asks `policy::authorize` whether the caller may do it, has the record do it (which asks again in the
//! transaction), and waits until the gateways have applied the change.

mod accounts;
mod audit;
mod caller;
mod environments;
mod keys;
mod members;
mod names;
mod refusal_audit;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::Semaphore;

pub use caller::Caller;
pub use keys::NewPair;
pub use members::MemberEntry;

use refusal_audit::RowLimiter;

use super::applied_changes::AppliedChanges;
use super::refusal::Refusal;
use crate::auth::Authenticator;
use crate::config::{KeyLifetimes, Lists};
use crate::model::State;
use crate::store::{
    AsyncStore, ChangeNumber, ConfirmedUpTo, FileId, Gateways, RECEIPT_TIMEOUT, Receipt, Store, StoreError,
    StorePosition, receipt_poll_interval,
};

/// Secrets that are hashed at once: each takes a core and argon2's memory for some 15 ms.
const HASHING_AT_ONCE: usize = 2;

/// How long a read waits to learn which changes every gateway has confirmed.
const CONFIRMATION_TIMEOUT: Duration = Duration::from_millis(500);

/// How often this is asked without a request.
const CONFIRMATION_INTERVAL: Duration = Duration::from_secs(10);

/// The operations.
#[derive(Clone)]
pub struct Operations {
    store: AsyncStore,
    authenticator: Arc<Authenticator>,
    applied: AppliedChanges,
    hashing: Arc<Semaphore>,
    /// The newest change that every gateway is known to have confirmed, and the file whose change it is: in another file
    /// the number may be another change's.
    confirmed_up_to: Arc<Mutex<StorePosition>>,
    /// How many audit rows each key's refusals got lately.
    refusal_rows: Arc<RowLimiter>,
    /// `management.environments_per_user`
    environments_per_user: Arc<AtomicU32>,
    /// `keys`
    lifetimes: Arc<RwLock<KeyLifetimes>>,
}

/// The outcome of a change.
#[derive(Debug, Clone)]
pub struct Changed<T> {
    /// The object after it.
    pub value: T,
    /// Which gateways have applied it.
    pub receipt: Receipt,
}

impl<T> Changed<T> {
    /// Whether every gateway has confirmed that it has applied the change.
    pub fn is_confirmed(&self) -> bool {
        self.receipt.is_complete()
    }
}

/// Whether callers mean it when a change stops their own key or account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SelfLockout {
    /// The request says so.
    Confirmed,
    /// The request does not say so.
    NotConfirmed,
}

impl Operations {
    /// Operations on this record.
    pub fn new(store: AsyncStore, authenticator: Arc<Authenticator>, applied: AppliedChanges) -> Self {
        let hashing = Arc::new(Semaphore::new(HASHING_AT_ONCE));
        Self {
            store,
            authenticator,
            applied,
            hashing,
            confirmed_up_to: Arc::default(),
            refusal_rows: Arc::default(),
            environments_per_user: Arc::default(),
            lifetimes: Arc::default(),
        }
    }

    /// Sets how many environments a user account may create.
    pub(in crate::management) fn set_environments_per_user(&self, most: u32) {
        self.environments_per_user.store(most, Ordering::Relaxed);
    }

    /// Sets how long keys live.
    pub(in crate::management) fn set_lifetimes(&self, lifetimes: KeyLifetimes) {
        *self.lifetimes.write().unwrap_or_else(PoisonError::into_inner) = lifetimes;
    }

    /// How long keys live.
    pub fn lifetimes(&self) -> KeyLifetimes {
        self.lifetimes.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The record's time, by which keys end.
    pub fn now(&self) -> Timestamp {
        self.authenticator.now()
    }

    /// Sets the limits of lists.
    pub(in crate::management) fn set_list_bounds(&self, bounds: Lists) {
        self.store.set_list_bounds(bounds);
    }

    /// Reads a list. Callers take turns, so that one cannot keep all others waiting.
    async fn list<T: Send + 'static>(
        &self,
        caller: &Caller,
        question: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Refusal> {
        Ok(self.store.list(caller.owner(), question).await?)
    }

    /// Waits for the receipt of a change.
    async fn with_receipt<T>(&self, (value, change): (T, ChangeNumber)) -> Changed<T> {
        // the change is committed: what fails from here on must not look as if it was not
        let receipt = self.receipt(change).await;
        if !receipt.is_complete() {
            let waiting: Vec<_> = receipt.waiting.iter().map(|gateway| gateway.name.as_str()).collect();
            tracing::warn!(%change, waiting = waiting.join(", "), "a change is not in force yet; its answer says so");
        }
        Changed { value, receipt }
    }

    /// The gateways that share the record; `None` if it cannot be asked now.
    pub async fn gateways(&self) -> Option<Gateways> {
        // do not wait for a record that is known to be away
        if self.authenticator.staleness().is_some() {
            return None;
        }
        tokio::time::timeout(CONFIRMATION_TIMEOUT, self.ask_for_gateways()).await.ok()?.ok()
    }

    async fn ask_for_gateways(&self) -> Result<Gateways, StoreError> {
        let file = self.applied.store_file();
        let gateways = self.store.gateways().await?;
        self.remember_confirmed(file, gateways.confirmed_up_to());
        Ok(gateways)
    }

    /// Up to which change every gateway is known to have confirmed all changes.
    pub async fn confirmed_up_to(&self) -> ConfirmedUpTo {
        let now = self.gateways().await.and_then(|gateways| gateways.confirmed_up_to());
        ConfirmedUpTo::new(now, self.remember_confirmed(self.applied.store_file(), now))
    }

    /// Remembers the newest confirmed change of this file, for when the record cannot be asked.
    fn remember_confirmed(&self, file: FileId, now: Option<ChangeNumber>) -> ChangeNumber {
        let mut confirmed_up_to = self.confirmed_up_to.lock().unwrap_or_else(PoisonError::into_inner);
        if confirmed_up_to.file != file {
            *confirmed_up_to = StorePosition { file, ..StorePosition::default() };
        }
        confirmed_up_to.number = confirmed_up_to.number.max(now.unwrap_or_default());
        confirmed_up_to.number
    }

    /// Asks from time to time what is confirmed, until it is dropped: when the record is away, old changes can then be
    /// told from new ones though no request has asked about them before.
    pub(in crate::management) async fn watch_confirmations(&self) {
        loop {
            self.confirmed_up_to().await;
            tokio::time::sleep(CONFIRMATION_INTERVAL).await;
        }
    }

    /// The outcome of a change of state. If the record refuses it because the object is in that state already, and not
    /// every gateway has confirmed this, it is no refusal: the caller would take one for a confirmation.
    async fn state_changed<T>(
        &self,
        to: State,
        changed: Result<(T, ChangeNumber), StoreError>,
        now: impl AsyncFnOnce() -> Result<(ChangeNumber, T), Refusal>,
    ) -> Result<Changed<T>, Refusal> {
        match changed {
            Err(refused @ StoreError::WrongState { state, .. }) if state == to => {
                let (number, value) = now().await?;
                let receipt = self.receipt(number).await;
                if receipt.is_complete() { Err(refused.into()) } else { Ok(Changed { value, receipt }) }
            }
            changed => Ok(self.with_receipt(changed?).await),
        }
    }

    async fn receipt(&self, change: ChangeNumber) -> Receipt {
        let begun = Instant::now();
        let deadline = begun + RECEIPT_TIMEOUT;
        if let Ok(here) = self.store.read(Store::position).await {
            // first this gateway, which need not be asked: the others mostly apply a change as fast
            self.applied.wait_for(StorePosition { number: change, ..here }).await;
        }
        let mut receipt = Receipt::unknown(change);
        loop {
            // ask once at least, however long this gateway took; the last known receipt is the answer
            let limit = deadline.max(Instant::now() + CONFIRMATION_TIMEOUT);
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
            tokio::time::sleep(receipt_poll_interval(begun.elapsed())).await;
        }
    }
}

/// Refuses a change that stops the key in use, unless the caller means it.
fn refuse_self_lockout(is_own: bool, lockout: SelfLockout) -> Result<(), Refusal> {
    if is_own && lockout == SelfLockout::NotConfirmed {
        return Err(Refusal::invalid(
            "MissingRequired",
            "confirm",
            "this would stop the key that is asking: say confirm=self if that is meant",
        ));
    }
    Ok(())
}
