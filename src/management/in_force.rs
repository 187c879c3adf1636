//! Waiting until a change is in force on this gateway: an answer says that a key is dead only when it is.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::store::ChangeNumber;

/// How long an answer waits. A change is in force within milliseconds; what lasts longer is told as not confirmed.
const PATIENCE: Duration = Duration::from_secs(5);

/// Knows which changes are in force.
#[derive(Clone)]
pub struct InForce {
    look: Arc<dyn Fn() + Send + Sync>,
    number: watch::Receiver<ChangeNumber>,
}

impl std::fmt::Debug for InForce {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "InForce(up to {})", *self.number.borrow())
    }
}

impl InForce {
    /// `look` has the change log read at once; `number` tells what has been applied.
    pub fn new(look: impl Fn() + Send + Sync + 'static, number: watch::Receiver<ChangeNumber>) -> Self {
        Self { look: Arc::new(look), number }
    }

    /// Waits until change `number` is in force: caches dropped, forbidden streams ended. Whether it is.
    pub(super) async fn wait_for(&self, number: ChangeNumber) -> bool {
        (self.look)();
        let mut applied = self.number.clone();
        let reached = applied.wait_for(|applied| *applied >= number);
        // an error of the channel means that the gateway is stopping
        matches!(tokio::time::timeout(PATIENCE, reached).await, Ok(Ok(_)))
    }
}
