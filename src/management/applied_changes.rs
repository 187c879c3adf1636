//! Waiting until this gateway has applied a change: an answer says that a key is stopped only when it is.

use std::sync::Arc;

use tokio::sync::watch;

use crate::store::{FileId, RECEIPT_TIMEOUT, StorePosition};

/// Which changes this gateway has applied: caches dropped, forbidden streams ended.
#[derive(Clone)]
pub struct AppliedChanges {
    read_now: Arc<dyn Fn() + Send + Sync>,
    position: watch::Receiver<StorePosition>,
}

impl std::fmt::Debug for AppliedChanges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AppliedChanges(up to {})", self.position.borrow().number)
    }
}

impl AppliedChanges {
    /// `read_now` has the follower read the change log at once; `position` tells what it has applied.
    pub fn new(
        read_now: impl Fn() + Send + Sync + 'static,
        position: watch::Receiver<StorePosition>,
    ) -> Self {
        Self { read_now: Arc::new(read_now), position }
    }

    /// The store's file that the follower reads.
    pub(super) fn store_file(&self) -> FileId {
        self.position.borrow().file
    }

    /// Waits until everything up to there is applied; `false` if it takes too long.
    pub(super) async fn wait_for(&self, position: StorePosition) -> bool {
        (self.read_now)();
        let mut applied = self.position.clone();
        let reached = applied.wait_for(|applied| applied.includes(position));
        // an error of the channel means that the gateway is stopping
        matches!(tokio::time::timeout(RECEIPT_TIMEOUT, reached).await, Ok(Ok(_)))
    }
}
