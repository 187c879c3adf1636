//! The thread that watches the upstreams' endpoints.

use std::io;
use std::sync::Arc;

use tokio::runtime::Builder;
use tokio::sync::watch;

use crate::upstream::{Upstream, monitor};

/// The thread, seen from outside; dropping this ends it.
pub(super) struct UpstreamMonitor(watch::Sender<Vec<Arc<Upstream>>>);

impl UpstreamMonitor {
    /// Starts to watch these upstreams.
    pub(super) fn spawn(upstreams: Vec<Arc<Upstream>>) -> io::Result<Self> {
        let (sender, receiver) = watch::channel(upstreams);
        let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
        std::thread::Builder::new().name("upstreams".to_owned()).spawn(move || {
            runtime.block_on(monitor(receiver));
            // a look-up of a name may hang for long, and cannot be stopped
            runtime.shutdown_background();
        })?;
        Ok(Self(sender))
    }

    /// Watches these upstreams from now on.
    pub(super) fn watch(&self, upstreams: Vec<Arc<Upstream>>) {
        self.0.send_replace(upstreams);
    }
}
