//! One worker: a thread with its own runtime, sockets and upstream connections. A request lives and dies on it.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::Socket;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, oneshot};

use super::accept::Acceptor;
use super::listener::BoundListener;
use super::open_streams::TICK;
use super::shared_state::SharedState;
use super::worker_context::WorkerContext;
use crate::store::Change;
use crate::telemetry::{AccessLogWriter, SpanWriter, WorkerMetrics};

/// How long a draining worker waits for responses and tunnels to end, and then for connections, before it closes them.
const CLOSE_TIME: Duration = Duration::from_secs(1);

/// What a worker can be told.
pub enum WorkerCommand {
    /// These changes are applied in the caches: look at what is open, and answer when it has decided anew.
    Apply(Arc<[Change]>, oneshot::Sender<()>),
    /// Take no new connections, let what runs finish within this time, tunnels too, then close what is left and end.
    Drain {
        /// How long at most.
        limit: Duration,
        /// How long connections without a request stay open: a request may be on its way.
        idle: Duration,
    },
    /// Answer at once, if the worker is not stuck.
    Ping(oneshot::Sender<()>),
}

/// A running worker.
pub struct WorkerHandle {
    commands: mpsc::UnboundedSender<WorkerCommand>,
    thread: JoinHandle<()>,
}

impl WorkerHandle {
    /// Sends a command; `false`: the worker has ended.
    pub fn send(&self, command: WorkerCommand) -> bool {
        self.commands.send(command).is_ok()
    }

    /// Whether the worker has ended.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits until the worker has ended. Blocks.
    pub fn join(self) {
        if self.thread.join().is_err() {
            tracing::error!("a worker thread panicked");
        }
    }
}

/// Starts one worker for each set of sockets.
pub fn spawn_workers(
    shared: &Arc<SharedState>,
    listeners: Vec<BoundListener>,
    metrics: Vec<Arc<WorkerMetrics>>,
    writers: impl Fn() -> (AccessLogWriter, Option<SpanWriter>),
) -> io::Result<Vec<WorkerHandle>> {
    let mut sockets: Vec<Vec<(usize, Socket)>> = metrics.iter().map(|_| Vec::new()).collect();
    let workers = sockets.len();
    for (number, listener) in listeners.into_iter().enumerate() {
        for (at, socket) in listener.sockets.into_iter().enumerate() {
            sockets[at % workers].push((number, socket));
        }
    }
    let workers = sockets.into_iter().zip(metrics).enumerate().map(|(number, (sockets, metrics))| {
        let (shared, writers) = (Arc::clone(shared), writers());
        let (commands, receiver) = mpsc::unbounded_channel();
        let (started, starts) = std::sync::mpsc::channel();
        // a runtime of this kind cannot leave the thread that builds it
        let thread = std::thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
            let built =
                Builder::new_current_thread().enable_io().enable_time().build_local(LocalOptions::default());
            // the caller waits to hear how it went
            let tell = |result| drop(started.send(result));
            let runtime = match built {
                Ok(runtime) => runtime,
                Err(error) => return tell(Err(error)),
            };
            runtime.block_on(async {
                let worker = WorkerContext::new(shared, metrics, writers);
                match Acceptor::start(&worker, sockets) {
                    Ok(acceptor) => {
                        tell(Ok(()));
                        run(worker, acceptor, receiver).await;
                    }
                    Err(error) => tell(Err(error)),
                }
            });
            // a look-up of an upstream's name may hang for long, and cannot be stopped
            runtime.shutdown_background();
        })?;
        starts.recv().unwrap_or_else(|_| Err(io::Error::other("a worker thread ended as it began")))?;
        Ok(WorkerHandle { commands, thread })
    });
    workers.collect()
}

async fn run(
    worker: Rc<WorkerContext>,
    mut acceptor: Acceptor,
    mut commands: mpsc::UnboundedReceiver<WorkerCommand>,
) {
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut draining = None;
    loop {
        tokio::select! {
            _ = tick.tick() => worker.tick(),
            () = finished(&mut draining) => return,
            command = commands.recv() => match command {
                Some(WorkerCommand::Apply(changes, done)) => {
                    let worker = Rc::clone(&worker);
                    tokio::task::spawn_local(async move {
                        worker.streams.apply(&changes).await;
                        // the control plane may have stopped waiting
                        let _ = done.send(());
                    });
                }
                // changes are applied while it lasts: a key that is deactivated now ends now
                Some(WorkerCommand::Drain { limit, idle }) => {
                    let (worker, acceptor) = (Rc::clone(&worker), std::mem::take(&mut acceptor));
                    draining = Some(tokio::task::spawn_local(drain(worker, limit, idle, acceptor)));
                }
                Some(WorkerCommand::Ping(done)) => {
                    // whoever has asked may have stopped waiting
                    let _ = done.send(());
                }
                None => return,
            },
        }
    }
}

async fn drain(worker: Rc<WorkerContext>, limit: Duration, idle: Duration, acceptor: Acceptor) {
    worker.begin_draining();
    acceptor.stop().await;
    wait_until_nothing_is_open(&worker, idle).await;
    worker.close_idle();
    wait_until_nothing_is_open(&worker, limit.saturating_sub(idle)).await;
    worker.streams.close_requests();
    wait_until_nothing_is_open(&worker, CLOSE_TIME).await;
    worker.streams.close_all();
    wait_until_nothing_is_open(&worker, CLOSE_TIME).await;
    worker.tick();
}

async fn wait_until_nothing_is_open(worker: &WorkerContext, limit: Duration) {
    let until = tokio::time::Instant::now() + limit;
    let mut tick = tokio::time::interval(TICK / 5);
    while !worker.streams.is_empty() && tokio::time::Instant::now() < until {
        tick.tick().await;
    }
}

/// Waits for the end of a task that may not have begun.
async fn finished(task: &mut Option<tokio::task::JoinHandle<()>>) {
    match task {
        // a panic in it ends the worker as well
        Some(task) => _ = task.await,
        None => std::future::pending().await,
    }
}
