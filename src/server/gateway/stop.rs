//! How a gateway stops: in order, and for another process that takes over or not.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::oneshot;

use super::{Gateway, close};
use crate::proxy::{UnixSocketFile, WorkerCommand};
use crate::server::control_plane::{self, ControlCommand};
use crate::server::follower_thread::StoreAtStop;
use crate::server::service_manager;
use crate::store::uncheckpointed_wal;

/// How long a record that hangs may hold up the end of what makes changes in the background.
const BACKGROUND_END: Duration = Duration::from_secs(1);
/// How long a stopping gateway waits for a record that does not answer.
const LAST_ANSWER: Duration = Duration::from_secs(2);
/// How long a stopping gateway waits for a collector of spans, within `drain_timeout`.
const LAST_SPANS: Duration = Duration::from_secs(2);
/// How long connections without a request stay open: their next request, which may be on its way, is answered, and the answer
/// says that the connection ends. Short: a service manager may hold new connections back until this process has ended.
const IDLE_CONNECTIONS_END: Duration = Duration::from_secs(1);
/// The same while another process takes the new connections.
const IDLE_CONNECTIONS_END_BESIDE_SUCCESSOR: Duration = Duration::from_secs(5);

/// Who serves after a gateway that stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Succession {
    /// Nobody, as far as it knows.
    None,
    /// A process that has its sockets, and its store.
    Running,
}

impl Gateway {
    /// Stops in order: no new connections, also to the management listener, whose port is free from then on; running
    /// requests finish within `drain_timeout`; tunnels are closed after it.
    pub async fn stop(self) {
        self.drain(Succession::None).await;
    }

    /// The same, while another process takes the new connections.
    pub(in crate::server) async fn stop_for_successor(self) {
        self.drain(Succession::Running).await;
    }

    async fn drain(self, succession: Succession) {
        let limit = self.config.timeouts.drain;
        let idle = match succession {
            Succession::None => IDLE_CONNECTIONS_END,
            Succession::Running => IDLE_CONNECTIONS_END_BESIDE_SUCCESSOR,
        };
        let idle = idle.min(limit / 2);
        if succession == Succession::None {
            // of a service that goes on nobody may hear that it is not ready
            self.draining.store(true, Ordering::Relaxed);
            if !service_manager::may_keep_sockets() {
                self.socket_files.iter().for_each(UnixSocketFile::remove);
            }
        }
        for worker in self.workers.iter() {
            worker.send(WorkerCommand::Drain { limit, idle });
        }
        let (finished, management_ended) = oneshot::channel();
        let is_asked = self.control_commands.send(ControlCommand::EndManagement { idle, finished }).is_ok();
        let path = self.config.store.path().to_owned();
        let Self {
            workers,
            control_commands,
            control,
            follower,
            request_store,
            async_store,
            lease,
            background,
            access_log,
            spans,
            sockets,
            socket_files,
            ..
        } = self;
        // a connection that comes to a socket of a process that does not accept would hang
        drop(sockets);
        let (done, stopped) = oneshot::channel();
        // joining threads blocks; the caller's runtime may be one that serves
        std::thread::spawn(move || {
            // the control plane holds the workers too, until it has ended; they are asked for their end here
            while workers.iter().any(|worker| !worker.is_finished()) {
                std::thread::sleep(control_plane::POLL);
            }
            // before the follower ends: what they change comes into force through it
            if is_asked {
                let _ = management_ended.blocking_recv();
            }
            background.stop(BACKGROUND_END);
            let store = follower.stop();
            let _ = control_commands.send(ControlCommand::Stop);
            drop(control_commands);
            if control.join().is_err() {
                tracing::error!("the control thread panicked");
            }
            // last of all: until here this gateway may have acted on what it knew
            if let Some(lease) = lease {
                lease.stop(LAST_ANSWER);
            }
            match store {
                StoreAtStop::Intact => {
                    close(&request_store, async_store.as_ref());
                    if succession == Succession::None {
                        warn_of_uncheckpointed_wal(&path);
                    }
                }
                // as long as a connection is open SQLite takes nothing away
                StoreAtStop::ForeignLog => std::mem::forget(request_store),
            }
            for worker in Arc::into_inner(workers).into_iter().flatten() {
                worker.join();
            }
            if succession == Succession::Running {
                // a listener that the other process does not have
                socket_files.iter().for_each(UnixSocketFile::remove_if_unanswered);
            }
            drop(access_log);
            if let Some(spans) = spans {
                spans.stop(LAST_SPANS.min(limit));
            }
            let _ = done.send(());
        });
        // an error would mean that the thread above panicked: everything it waited for is gone then
        let _ = stopped.await;
    }
}

fn warn_of_uncheckpointed_wal(path: &Path) {
    if let Some(log) = uncheckpointed_wal(path) {
        tracing::warn!(
            "{} holds the newest changes: another process has the store open, or it cannot be written; a copy needs both \
             files",
            log.display()
        );
    }
}
