//! Ends rotations whose former secret nobody uses any more (`--until-unused`).
//!
//! Every gateway looks, every few seconds, and whoever sees first that a former secret is unused ends it: a change like any
//! other. It is unused only if every gateway that may act has saved its uses, and none of them is younger than the wanted
//! time. A gateway that was cut off counts as if it had used the secret until its lease ended.

use std::io;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::config;
use crate::store::{Author, ExpectedRevision, RecordClock, Store, StoreError};
use crate::telemetry::LogThrottle;

/// How often it looks.
const INTERVAL: Duration = Duration::from_secs(2);

/// The thread, seen from outside.
pub(super) struct RotationWatch {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl RotationWatch {
    /// Starts to look.
    pub(super) fn spawn(store: config::Store, clock: RecordClock) -> io::Result<Self> {
        let (stop, stopped) = channel();
        let thread = std::thread::Builder::new().name("rotations".to_owned()).spawn(move || {
            let log_throttle = LogThrottle::default();
            let mut opened = None;
            while stopped.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                match look(&mut opened, &store, &clock) {
                    Ok(()) => {
                        log_throttle.recovered();
                    }
                    Err(error) => {
                        // with another connection next time
                        opened = None;
                        if log_throttle.should_log() {
                            tracing::warn!(%error, "former secrets of keys that nobody uses cannot be ended");
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
            tracing::error!("the thread that ends rotations panicked");
        }
    }
}

fn look(opened: &mut Option<Store>, config: &config::Store, clock: &RecordClock) -> Result<(), StoreError> {
    let store = match opened {
        Some(store) => store,
        None => opened.insert(Store::open_unchecked(config)?.with_clock(clock.clone())),
    };
    if !store.has_rotations_until_unused()? {
        return Ok(());
    }
    for (id, expected) in store.unused_former_secrets()? {
        store.set_author(Author::Gateway);
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
