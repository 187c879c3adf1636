//! Waiting until a change is in force on this gateway: an answer says that a key is dead only when it is.

use std::sync::Arc;

use tokio::sync::watch;

use crate::store::{FileId, Position, RECEIPT_PATIENCE};

/// Knows which changes are in force.
#[derive(Clone)]
pub struct InForce {
    look: Arc<dyn Fn() + Send + Sync>,
    position: watch::Receiver<Position>,
}

impl std::fmt::Debug for InForce {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "InForce(up to {})", self.position.borrow().number)
    }
}

impl InForce {
    /// `look` has the change log read at once; `position` tells what has been applied.
    pub fn new(look: impl Fn() + Send + Sync + 'static, position: watch::Receiver<Position>) -> Self {
        Self { look: Arc::new(look), position }
    }

    /// The file of the store that is followed.
    pub(super) fn file(&self) -> FileId {
        self.position.borrow().file
    }

    /// Waits until everything up to there is in force: caches dropped, forbidden streams ended. Whether it is.
    pub(super) async fn wait_for(&self, position: Position) -> bool {
        (self.look)();
        let mut applied = self.position.clone();
        let reached = applied.wait_for(|applied| applied.includes(position));
        // an error of the channel means that the gateway is stopping
        matches!(tokio::time::timeout(RECEIPT_PATIENCE, reached).await, Ok(Ok(_)))
    }
}
