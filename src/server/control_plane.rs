//! The control plane's thread: applies changes, saves uses of keys, keeps the history of the counts, serves the
//! management listener.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::auth::Authenticator;
use crate::management::{self, Management};
use crate::proxy::{WorkerCommand, WorkerHandle};
use crate::store::{Change, RequestStore, StorePosition};
use crate::telemetry::RequestHistory;

/// How often uses of keys are saved.
const SAVE_USES: Duration = Duration::from_secs(5);
/// How many keys' uses are saved at once. With ten thousand keys in use, saving all of them each time would cost more than
/// a tenth of what their requests cost. So it takes longer until their uses are seen, but none is lost.
const USES_AT_ONCE: usize = 1_000;
/// How often the workers' counts are put into the history. A request may be shown in a minute that is this much too late.
const SAMPLE_HISTORY: Duration = Duration::from_secs(2);
/// How often the end of the workers is looked for.
pub(super) const POLL: Duration = Duration::from_millis(10);

/// What the control plane can be told.
pub(super) enum ControlCommand {
    /// Apply these changes, which lead there, everywhere; then answer.
    Apply(Arc<[Change]>, StorePosition, oneshot::Sender<()>),
    /// Take no new management connections, and let running requests finish; then answer.
    EndManagement {
        /// How long connections without a request stay open: a request may be on its way.
        idle: Duration,
        /// Everything has finished.
        finished: oneshot::Sender<()>,
    },
    /// Save what is left to save, and end.
    Stop,
}

/// What the control plane works with.
pub(super) struct ControlPlane {
    pub(super) authenticator: Arc<Authenticator>,
    pub(super) request_store: RequestStore,
    pub(super) history: Arc<RequestHistory>,
    pub(super) workers: Arc<Vec<WorkerHandle>>,
    pub(super) management: Option<(TcpListener, Arc<Management>)>,
    /// Tells which changes are in force.
    pub(super) in_force: watch::Sender<StorePosition>,
}

/// Starts the control plane.
pub(super) fn spawn(
    control: ControlPlane,
    commands: mpsc::UnboundedReceiver<ControlCommand>,
) -> io::Result<std::thread::JoinHandle<()>> {
    let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
    std::thread::Builder::new()
        .name("control".to_owned())
        .spawn(move || runtime.block_on(control.run(commands)))
}

impl ControlPlane {
    async fn run(mut self, mut commands: mpsc::UnboundedReceiver<ControlCommand>) {
        let (end, ends) = oneshot::channel();
        let mut end = Some(end);
        let mut serving = self
            .management
            .take()
            .map(|(listener, management)| tokio::spawn(management::serve(listener, management, ends)));
        let mut save = tokio::time::interval(SAVE_USES);
        let mut sample = tokio::time::interval(SAMPLE_HISTORY);
        let mut saving: Option<JoinHandle<()>> = None;
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    Some(ControlCommand::Apply(changes, position, done)) => {
                        self.apply(changes, position).await;
                        // the follower may have been stopped meanwhile
                        let _ = done.send(());
                    }
                    Some(ControlCommand::EndManagement { idle, finished }) => {
                        if let Some(end) = end.take() {
                            // an error means that there is no management listener
                            let _ = end.send(idle);
                        }
                        let serving = serving.take();
                        // beside the loop: they wait for changes to be applied
                        tokio::spawn(async move {
                            if let Some(serving) = serving {
                                // a panic in it has been reported by the runtime
                                let _ = serving.await;
                            }
                            let _ = finished.send(());
                        });
                    }
                    Some(ControlCommand::Stop) | None => break,
                },
                _ = sample.tick() => self.history.sample(Timestamp::now()),
                // beside the loop: the store may be held by a writer, and changes must not wait for it
                _ = save.tick() => if saving.as_ref().is_none_or(JoinHandle::is_finished) {
                    let (authenticator, request_store) = (Arc::clone(&self.authenticator), self.request_store.clone());
                    saving = Some(tokio::spawn(save_uses(authenticator, request_store, USES_AT_ONCE)));
                },
            }
        }
        if let Some(saving) = saving {
            // a panic in it has been reported by the runtime
            let _ = saving.await;
        }
        save_uses(self.authenticator, self.request_store, usize::MAX).await;
    }

    /// Applies changes: drops what the caches hold for them, then has every worker end what they forbid.
    async fn apply(&self, changes: Arc<[Change]>, position: StorePosition) {
        self.authenticator.apply_changes(&changes).await;
        let mut waiting = Vec::new();
        for worker in self.workers.iter() {
            let (done, decided) = oneshot::channel();
            if worker.send(WorkerCommand::Apply(Arc::clone(&changes), done)) {
                waiting.push(decided);
            }
        }
        for decided in waiting {
            // an error means that the worker has ended, and everything on it
            let _ = decided.await;
        }
        self.in_force.send_replace(position);
        tracing::debug!(change = %position.number, "changes are in force");
    }
}

async fn save_uses(authenticator: Arc<Authenticator>, request_store: RequestStore, most: usize) {
    // before they are taken: what is used later is in the next ones
    let until = authenticator.now();
    let uses = authenticator.take_unsaved_uses(most);
    match request_store.save_uses(uses, until).await {
        Ok(()) => authenticator.set_uses_saved_until(until),
        Err(error) => {
            tracing::warn!(%error, "when keys were last used, and how often, could not be saved");
        }
    }
}
