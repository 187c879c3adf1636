//! How many keys end before long, for the metrics.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::config::lifetime_text;
use crate::store::{AsyncStore, RecordClock};

/// How long a count is good for. Counting a hundred thousand keys takes a tenth of a second.
const GOOD_FOR: Duration = Duration::from_secs(30);

/// How many active keys end within each of the configured notices.
#[derive(Clone)]
pub struct KeysExpiring {
    store: AsyncStore,
    clock: RecordClock,
    notices: Arc<[Notice]>,
    counted: Arc<Mutex<Option<Instant>>>,
}

struct Notice {
    within: Duration,
    count: Arc<AtomicU64>,
}

impl KeysExpiring {
    /// Nothing is counted yet.
    pub fn new(store: AsyncStore, clock: RecordClock, notices: &[Duration]) -> Self {
        let notice = |within: &Duration| Notice { within: *within, count: Arc::default() };
        Self { store, clock, notices: notices.iter().map(notice).collect(), counted: Arc::default() }
    }

    /// The notices, as metrics call them, and their counts.
    pub fn counts(&self) -> impl Iterator<Item = (String, Arc<AtomicU64>)> {
        self.notices.iter().map(|notice| (lifetime_text(notice.within), Arc::clone(&notice.count)))
    }

    /// Counts, unless this was done a moment ago.
    pub(super) async fn refresh(&self) {
        {
            let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
            if counted.is_some_and(|at| at.elapsed() < GOOD_FOR) {
                return;
            }
            *counted = Some(Instant::now());
        }
        let (now, notices) = (self.clock.now(), Arc::clone(&self.notices));
        let counted = self.store.read(move |store| {
            notices.iter().try_for_each(|notice| {
                let count = store.count_keys_that_end_within(now, notice.within)?;
                notice.count.store(count, Ordering::Relaxed);
                Ok(())
            })
        });
        if let Err(error) = counted.await {
            tracing::warn!(%error, "the keys that end soon cannot be counted");
        }
    }
}
