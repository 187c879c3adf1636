//! Changes that gateways make by themselves, every few seconds, in the record like any other change.
//!
//! - Rotations end whose former secret nobody uses any more (`--until-unused`). Whoever sees that first ends it. A secret is
//!   unused only if every gateway that may act has saved its uses, and none of them is younger than the wanted time. A
//!   gateway that was cut off counts as if it had used the secret until its lease ended.
//! - Hashes of imported secrets are replaced by argon2id of the secret, once that was used.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::auth::Authenticator;
use crate::config;
use crate::store::{Author, ExpectedRevision, RecordClock, Store, StoreError};
use crate::telemetry::LogThrottle;

/// How often it looks.
const INTERVAL: Duration = Duration::from_secs(2);
/// How many hashes are replaced in one transaction.
const HASHES_AT_ONCE: usize = 64;

/// The thread, seen from outside.
pub(super) struct BackgroundChanges {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl BackgroundChanges {
    /// Starts to look.
    pub(super) fn spawn(
        config: config::Store,
        clock: RecordClock,
        authenticator: Arc<Authenticator>,
    ) -> io::Result<Self> {
        let (stop, stopped) = channel();
        let mut thread = BackgroundThread { config, clock, authenticator, opened: None };
        let kinds: [(&str, Look); 2] = [
            ("former secrets of keys that nobody uses cannot be ended", BackgroundThread::end_rotations),
            ("imported hashes cannot be replaced by argon2id now", BackgroundThread::replace_hashes),
        ];
        let kinds = kinds.map(|(trouble, look)| (trouble, look, LogThrottle::default()));
        let thread = std::thread::Builder::new().name("background".to_owned()).spawn(move || {
            while stopped.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                for (trouble, look, log_throttle) in &kinds {
                    match look(&mut thread) {
                        Ok(()) => {
                            log_throttle.recovered();
                        }
                        Err(error) => {
                            // with another connection next time
                            thread.opened = None;
                            if log_throttle.should_log() {
                                tracing::warn!(%error, "{trouble}");
                            }
                        }
                    }
                }
            }
        })?;
        Ok(Self { stop, thread })
    }

    /// Ends it. A record that hangs is waited for no longer than `at_most`.
    pub(super) fn stop(self, at_most: Duration) {
        drop(self.stop);
        let deadline = Instant::now() + at_most;
        while !self.thread.is_finished() {
            if Instant::now() >= deadline {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        if self.thread.join().is_err() {
            tracing::error!("the thread that makes changes in the background panicked");
        }
    }
}

/// Looks for changes of one kind, and makes them.
type Look = fn(&mut BackgroundThread) -> Result<(), StoreError>;

struct BackgroundThread {
    config: config::Store,
    clock: RecordClock,
    authenticator: Arc<Authenticator>,
    /// Opened when it is first needed.
    opened: Option<Store>,
}

impl BackgroundThread {
    fn store(&mut self) -> Result<&mut Store, StoreError> {
        if self.opened.is_none() {
            let mut store = Store::open_unchecked(&self.config)?.with_clock(self.clock.clone());
            store.set_author(Author::Gateway);
            self.opened = Some(store);
        }
        self.opened.as_mut().ok_or(StoreError::Closed)
    }

    fn end_rotations(&mut self) -> Result<(), StoreError> {
        let store = self.store()?;
        if !store.has_rotations_until_unused()? {
            return Ok(());
        }
        for (id, expected) in store.unused_former_secrets()? {
            match store.end_rotation(id, &ExpectedRevision::OneOf(vec![expected])) {
                Ok((key, change)) => {
                    tracing::info!(access_key = %key.access_key, %change, "a former secret was unused for long enough, and has ended");
                }
                // somebody else was faster, or the key is another now
                Err(error) if error.is_refusal() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn replace_hashes(&mut self) -> Result<(), StoreError> {
        loop {
            let pending = self.authenticator.pending_rehashes(HASHES_AT_ONCE);
            if pending.is_empty() {
                return Ok(());
            }
            let replaced = self.store()?.replace_imported_hashes(&pending)?;
            // those that were not replaced are those that need it no more
            self.authenticator.remove_rehashes(&pending);
            tracing::debug!(replaced, "imported hashes were replaced by argon2id of their secrets");
        }
    }
}
