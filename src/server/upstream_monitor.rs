//! The thread that watches the upstreams' endpoints.

use std::io;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::sync::watch;

use crate::upstream::{Upstream, monitor};

/// How long a start waits for the first health checks.
const FIRST_ROUND_WITHIN: Duration = Duration::from_secs(5);

/// The thread, seen from outside; dropping this ends it.
pub(super) struct UpstreamMonitor(watch::Sender<Vec<Arc<Upstream>>>);

impl UpstreamMonitor {
    /// Starts to watch these upstreams, and waits for their first health checks, so that no request has to find out which
    /// endpoints are ill.
    pub(super) fn start(upstreams: Vec<Arc<Upstream>>) -> io::Result<Self> {
        let (sender, receiver) = watch::channel(upstreams);
        let (first_round, ended) = mpsc::channel();
        let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
        std::thread::Builder::new().name("upstreams".to_owned()).spawn(move || {
            runtime.block_on(monitor(receiver, first_round));
            // a look-up of a name may hang for long, and cannot be stopped
            runtime.shutdown_background();
        })?;
        if ended.recv_timeout(FIRST_ROUND_WITHIN) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("some endpoints' first health checks take longer than {FIRST_ROUND_WITHIN:?}");
        }
        Ok(Self(sender))
    }

    /// Watches these upstreams from now on.
    pub(super) fn watch(&self, upstreams: Vec<Arc<Upstream>>) {
        self.0.send_replace(upstreams);
    }
}
