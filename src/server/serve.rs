//! `portcullis serve`: runs until it is told to stop, or another process has taken over.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::control_socket::{Asked, ControlAnswer, ControlRequest, ControlSocket};
use super::gateway::{Gateway, StartError};
use super::handed_sockets::HandedSockets;
use super::service_manager;
use super::upgrade::{Predecessor, Successor, UpgradeError, own_program, start_orphan, tell_failed};
use crate::config::{self, ConfigErrors};
use crate::telemetry::{Log, TelemetryError};

/// Why the gateway does not run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// The log.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// A part of the gateway.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Signals or the runtime.
    #[error("the system refuses what the gateway needs to run: {0}")]
    System(#[from] io::Error),
}

/// Runs a gateway by the configuration in `path` until SIGTERM or Ctrl-C; SIGHUP reloads, and SIGUSR2 hands over to the
/// program anew. A second signal to stop ends it at once.
pub fn serve(path: &Path) -> Result<(), ServeError> {
    // before the file of the program can be replaced
    let program = own_program();
    if start_orphan(&program)? {
        return Ok(());
    }
    run(path, program).inspect_err(|error| tell_failed(&error.to_string()))
}

fn run(path: &Path, program: PathBuf) -> Result<(), ServeError> {
    let config = config::load_to_serve(path)?;
    // kept until the end: what waits is written when it is dropped
    let _log = Log::start(&config.log)?;
    let (predecessor, sockets) = match Predecessor::find()? {
        Some((predecessor, sockets)) => (Some(predecessor), sockets),
        None => (None, HandedSockets::from_service_manager()),
    };
    let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
    let served = runtime.block_on(async {
        // before anything starts, so that no signal is missed
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let mut upgrade = signal(SignalKind::user_defined2())?;
        // beside the signals: a first copy of a large record takes a while, and can be stopped
        let starting = tokio::task::spawn_blocking(move || Gateway::start_with_sockets(config, sockets));
        let gateway = tokio::select! {
            started = starting => started.map_err(io::Error::other)??,
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
        };
        let (asked, mut requests) = mpsc::unbounded_channel();
        let mut service = Service::start(gateway, path, program, predecessor, asked).await?;
        let succession = loop {
            tokio::select! {
                _ = terminate.recv() => break None,
                _ = interrupt.recv() => break None,
                // what came of it is in the log
                _ = hangup.recv() => { let _ = service.reload(); }
                _ = upgrade.recv() => service.begin_upgrade(None),
                Some((request, answer)) = requests.recv() => service.answer(request, answer),
                event = service.next_event() => match event {
                    Event::WatchdogDue => service.check_health(),
                    Event::Upgraded(outcome) => if let Some(successor) = service.end_upgrade(outcome) {
                        break Some(successor);
                    },
                },
            }
        };
        let is_stopped_by_signal = succession.is_none();
        let second_signal = async {
            if !is_stopped_by_signal {
                // when systemd stops the service, it signals this process too, and once more after the new process has
                // ended: neither is meant to cut off what still runs
                terminate.recv().await;
                terminate.recv().await;
            }
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        tokio::select! {
            () = service.stop(succession) => tracing::info!("stopped"),
            () = second_signal => tracing::warn!("stopped at once by a second signal"),
        }
        Ok(())
    });
    // a start that was stopped ends with the process
    runtime.shutdown_background();
    served
}

/// A gateway that runs as a service: it is reloaded, upgraded and watched.
struct Service<'a> {
    gateway: Gateway,
    /// The configuration.
    path: &'a Path,
    program: PathBuf,
    control: Option<ControlSocket>,
    upgrade: Option<Upgrade>,
    watchdog: Option<tokio::time::Interval>,
}

/// What happens by itself.
enum Event {
    /// Systemd is to be told that the gateway works.
    WatchdogDue,
    /// The upgrade that was under way has an outcome.
    Upgraded(Result<Successor, UpgradeError>),
}

/// An upgrade that is under way.
struct Upgrade {
    task: JoinHandle<Result<Successor, UpgradeError>>,
    /// Tells the task to give up.
    stop: Arc<AtomicBool>,
    /// Who has asked for it by the control socket.
    answer: Option<oneshot::Sender<ControlAnswer>>,
}

impl<'a> Service<'a> {
    /// Says that the gateway is ready, to all who wait for it.
    async fn start(
        gateway: Gateway,
        path: &'a Path,
        program: PathBuf,
        predecessor: Option<Predecessor>,
        asked: mpsc::UnboundedSender<Asked>,
    ) -> io::Result<Self> {
        let control = match ControlSocket::open(gateway.store().path(), asked) {
            Ok(control) => Some(control),
            Err(error) => {
                tracing::warn!(%error, "`portcullis reload`, `upgrade` and `health` cannot reach this process; signals can");
                None
            }
        };
        announce(&gateway);
        if let Some(predecessor) = predecessor {
            tokio::task::spawn_blocking(move || predecessor.tell_ready()).await.map_err(io::Error::other)?;
            tracing::info!("this process has taken over");
        }
        // first: from the moment that it is ready, a restart finds them
        service_manager::forget_sockets(gateway.unused_sockets());
        service_manager::keep_sockets(gateway.sockets());
        service_manager::tell_ready();
        // twice as often as is asked for
        let watchdog = service_manager::watchdog().map(|within| {
            let mut watchdog = tokio::time::interval((within / 2).max(Duration::from_millis(1)));
            watchdog.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            watchdog
        });
        Ok(Self { gateway, path, program, control, upgrade: None, watchdog })
    }

    fn answer(&mut self, request: ControlRequest, answer: oneshot::Sender<ControlAnswer>) {
        match request {
            ControlRequest::Reload => {
                let done = self.reload();
                // the command may have been ended
                let _ = answer.send(done.map(|()| "the configuration is reloaded".to_owned()));
            }
            ControlRequest::Upgrade => self.begin_upgrade(Some(answer)),
            ControlRequest::Health => {
                let (works, has_lease) = (self.gateway.health_check(), self.gateway.has_lease());
                // beside the loop: a worker may be stuck
                tokio::spawn(async move {
                    let health = match (has_lease, works.await) {
                        (true, true) => Ok("the gateway decides about keys"),
                        (false, _) => {
                            Err("every key is answered 503: the log says why the store cannot be read")
                        }
                        (_, false) => Err("a thread that serves requests has ended"),
                    };
                    let _ = answer.send(health.map(str::to_owned).map_err(str::to_owned));
                });
            }
        }
    }

    /// Takes the configuration over; why not, where it cannot.
    fn reload(&mut self) -> Result<(), String> {
        service_manager::tell_reloading();
        self.gateway.reopen_logs();
        let done = config::load_to_serve(self.path)
            .map_err(|errors| errors.to_string())
            .and_then(|config| self.gateway.reload(config).map_err(|error| error.to_string()));
        match &done {
            Ok(()) => tracing::info!("the configuration is reloaded"),
            Err(why) => {
                self.gateway.reload_refused();
                why.lines().for_each(|line| tracing::error!("{line}"));
                tracing::error!("the configuration is not taken over");
            }
        }
        service_manager::tell_ready();
        done
    }

    fn begin_upgrade(&mut self, answer: Option<oneshot::Sender<ControlAnswer>>) {
        if self.upgrade.is_some() {
            return not_upgraded(&UpgradeError::UnderWay, answer);
        }
        let sockets =
            self.gateway.sockets().iter().map(|(name, socket)| Ok((name.clone(), socket.try_clone()?)));
        let sockets = match sockets.collect::<io::Result<Vec<_>>>() {
            Ok(sockets) => sockets,
            Err(error) => return not_upgraded(&error.into(), answer),
        };
        tracing::info!(program = %self.program.display(), "starting the process that is to take over");
        let (program, stop) = (self.program.clone(), Arc::<AtomicBool>::default());
        let stopped = Arc::clone(&stop);
        let task = tokio::task::spawn_blocking(move || Successor::start(&program, &sockets, &stopped));
        self.upgrade = Some(Upgrade { task, stop, answer });
    }

    async fn next_event(&mut self) -> Event {
        let Self { upgrade, watchdog, .. } = self;
        tokio::select! {
            Some(outcome) = async { Some((&mut upgrade.as_mut()?.task).await) } => {
                Event::Upgraded(outcome.unwrap_or_else(|panic| Err(io::Error::other(panic).into())))
            }
            Some(_) = async { Some(watchdog.as_mut()?.tick().await) } => Event::WatchdogDue,
            else => std::future::pending().await,
        }
    }

    fn end_upgrade(&mut self, outcome: Result<Successor, UpgradeError>) -> Option<Successor> {
        let answer = self.upgrade.take().and_then(|upgrade| upgrade.answer);
        match outcome {
            Ok(successor) => {
                if let Some(answer) = answer {
                    // the command may have been ended
                    let _ = answer.send(Ok(format!("process {} has taken over", successor.pid)));
                }
                Some(successor)
            }
            Err(error) => {
                not_upgraded(&error, answer);
                None
            }
        }
    }

    /// Tells systemd that the gateway works, once it has said so.
    fn check_health(&self) {
        let check = self.gateway.health_check();
        tokio::spawn(async move {
            if check.await {
                service_manager::tell_alive();
            }
        });
    }

    async fn stop(self, successor: Option<Successor>) {
        let Self { gateway, control, upgrade, .. } = self;
        if let Some(Upgrade { task, stop, answer }) = upgrade {
            stop.store(true, Ordering::Relaxed);
            // the new process is killed: it was not ready
            let _ = task.await;
            not_upgraded(&UpgradeError::Stopping, answer);
        }
        let Some(successor) = successor else {
            tracing::info!("stopping: running requests may finish");
            service_manager::tell_stopping();
            drop(control);
            return gateway.stop().await;
        };
        tracing::info!(pid = successor.pid, "another process has taken over: running requests may finish");
        service_manager::tell_main_pid(successor.pid);
        successor.confirm();
        // lets the answer to the command out
        tokio::task::yield_now().await;
        gateway.stop_for_successor().await;
        drop(control);
    }
}

/// Says why this process goes on.
fn not_upgraded(error: &UpgradeError, answer: Option<oneshot::Sender<ControlAnswer>>) {
    tracing::error!(%error, "no other process takes over: this one goes on");
    if let Some(answer) = answer {
        // the command may have been ended
        let _ = answer.send(Err(format!("{error}\nThe gateway goes on as it was")));
    }
}

fn announce(gateway: &Gateway) {
    let addresses = gateway.addresses();
    for (address, tls) in &addresses.listeners {
        let suffix = if *tls { " (tls)" } else { "" };
        tracing::info!("listening on {address}{suffix}");
    }
    if let Some(address) = addresses.management {
        tracing::info!("management on {address}");
    }
    tracing::info!("ready");
}
