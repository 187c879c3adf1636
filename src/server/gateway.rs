//! A running gateway: its parts, started in order and stopped in order.

mod reload;
mod stop;

pub use reload::ReloadError;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use socket2::Socket;
use tokio::sync::{mpsc, oneshot, watch};

use super::background_changes::BackgroundChanges;
use super::certificate_watch::CertificateWatch;
use super::config_status::{ConfigCertificates, ConfigStatus};
use super::control_plane::{self, ControlCommand, ControlPlane};
use super::embedded_lease::EmbeddedLease;
use super::follower_thread::{self, FollowerCommand, FollowerThread};
use super::handed_sockets::{HandedSockets, Purpose};
use super::record_lease::{self, StartingLease};
use super::upstream_monitor::UpstreamMonitor;
use super::{metrics, open_files};
use crate::auth::{Authenticator, PepperError, Peppers};
use crate::config::{self, Config, ListenAddress, SecretFileError};
use crate::management::{
    AppliedChanges, Health, KeysExpiring, Management, MetricsToken, Operations, Settings,
};
use crate::proxy::{
    self, BindError, BoundListener, ConfigSnapshot, ConfigSnapshotError, ServerTls, SharedState, TlsError,
    UnixSocketFile, WorkerCommand, WorkerHandle,
};
use crate::store::{AsyncStore, Follower, PepperId, RecordClock, Replica, RequestStore, Store, StoreError};
use crate::telemetry::{AccessLog, RequestHistory, SpanExporter, TelemetryError};
use crate::upstream::EndpointCounts;

/// Threads that answer the request path's questions to the store.
const REQUEST_STORE_THREADS: usize = 2;
/// How long the end of a gateway waits until the store is closed.
const CLOSING: Duration = Duration::from_secs(2);

/// Why a gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The pepper files.
    #[error(transparent)]
    Pepper(#[from] PepperError),
    /// The store has fingerprints under peppers that are not there.
    #[error(
        "the store holds fingerprints under {} that {} not hold: add the lost file to 'pepper_file:', or set \
         'allow_missing_pepper: true' to verify those keys by argon2id once each",
        list_peppers(missing),
        list_files(files)
    )]
    MissingPepper {
        /// the peppers' ids
        missing: Vec<PepperId>,
        /// where they were looked for
        files: Vec<PathBuf>,
    },
    /// Routes, upstreams or certificates.
    #[error(transparent)]
    Snapshot(#[from] ConfigSnapshotError),
    /// An address.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The management listener's certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The scraper's token.
    #[error("management.metrics.token_file: {0}")]
    MetricsToken(#[from] SecretFileError),
    /// The access log.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// Threads or runtimes.
    #[error("the system refuses what the gateway needs to run: {0}")]
    System(#[from] io::Error),
}

/// Where a gateway listens, with real ports.
#[derive(Debug, Clone)]
pub struct Addresses {
    /// The proxy's listeners in the order of the configuration; `true`: TLS.
    pub listeners: Vec<(ListenAddress, bool)>,
    /// The management listener.
    pub management: Option<SocketAddr>,
}

/// A configuration that is made ready for use, and whose upstreams are watched.
struct Prepared {
    config: Config,
    snapshot: ConfigSnapshot,
    upstream_monitor: UpstreamMonitor,
}

/// A running gateway. Stop it with [`Gateway::stop`]; dropping it leaves it running until the process ends.
pub struct Gateway {
    addresses: Addresses,
    config: Config,
    status: Arc<ConfigStatus>,
    /// What answers on the management listener, where there is one.
    management_plane: Option<Arc<Management>>,
    shared: Arc<SharedState>,
    access_log: AccessLog,
    /// Where spans are recorded.
    spans: Option<SpanExporter>,
    workers: Arc<Vec<WorkerHandle>>,
    draining: Arc<AtomicBool>,
    control_commands: mpsc::UnboundedSender<ControlCommand>,
    control: JoinHandle<()>,
    follower: follower_thread::FollowerHandle,
    request_store: RequestStore,
    /// Where there is a management listener.
    async_store: Option<AsyncStore>,
    /// Where the record is in PostgreSQL.
    lease: Option<record_lease::LeaseHandle>,
    background: BackgroundChanges,
    /// Every listening socket once more, by its name.
    sockets: Vec<(String, Socket)>,
    unused_sockets: Vec<String>,
    /// Of Unix sockets among them.
    socket_files: Vec<UnixSocketFile>,
    upstream_monitor: UpstreamMonitor,
    certificate_watch: CertificateWatch,
}

impl Gateway {
    /// Starts everything that `config` says. When this returns, connections are taken.
    pub fn start(config: Config) -> Result<Self, StartError> {
        Self::start_with_sockets(config, HandedSockets::default())
    }

    /// The same, with sockets that this process was handed.
    pub(super) fn start_with_sockets(mut config: Config, handed: HandedSockets) -> Result<Self, StartError> {
        // before the store hears of this gateway; they are bound when it can decide
        let management = config.management.iter().map(|it| (Purpose::Management, it.address.into()));
        let proxied = config.listeners.iter().map(|it| (Purpose::Proxy, it.address.clone()));
        for (purpose, address) in proxied.chain(management) {
            handed.ensure_free(purpose, &address)?;
        }
        let files = open_files::divide_open_files(&mut config);
        let snapshot = ConfigSnapshot::new(&config, files)?;
        // this takes a while, and changes wait for every gateway that the store has heard of
        let upstream_monitor = UpstreamMonitor::start(snapshot.upstreams().to_vec())?;
        let path = config.store.path().to_owned();
        let name = gateway_name(&config);
        let clock = RecordClock::default();
        let (replica, mut row) = match &config.store {
            config::Store::Sqlite { .. } => {
                (None, Some(EmbeddedLease::begin(&path, &name, config.max_staleness)?))
            }
            config::Store::Postgres(postgres) => {
                let mut report = |progress: &str| tracing::info!("{progress}");
                (
                    Some(Replica::open(postgres, &name, config.max_staleness, clock.clone(), &mut report)?),
                    None,
                )
            }
        };
        let prepared = Prepared { config, snapshot, upstream_monitor };
        let started = Self::start_registered(prepared, handed, clock, replica, &mut row);
        if let (Err(_), Some(row)) = (&started, row) {
            row.withdraw();
        }
        started
    }

    fn start_registered(
        prepared: Prepared,
        handed: HandedSockets,
        clock: RecordClock,
        replica: Option<Replica>,
        row: &mut Option<EmbeddedLease>,
    ) -> Result<Self, StartError> {
        let config = &prepared.config;
        let store = Store::open_unchecked(&config.store)?;
        let peppers = Peppers::load(&config.pepper_files)?;
        let missing = missing_peppers(config, &peppers, &store)?;
        if missing > 0 {
            tracing::warn!(peppers = missing, "fingerprints under lost peppers are made anew by argon2id");
        }
        drop(store);
        let request_store = RequestStore::open(config.store.path(), REQUEST_STORE_THREADS)?;
        let async_store = match &config.management {
            Some(management) => Some(AsyncStore::open(&config.store, management.lists, &clock)?),
            None => None,
        };
        let mut lease =
            replica.map(|replica| StartingLease::new(replica, config.max_staleness)).transpose()?;
        let stores = (request_store.clone(), async_store.clone());
        let started = Self::start_with(prepared, handed, peppers, stores, clock, row, &mut lease);
        if started.is_err() {
            if let Some(lease) = lease {
                lease.withdraw();
            }
            close(&request_store, async_store.as_ref());
        }
        started
    }

    /// Takes the lease when it begins to act. It listens after that, when it can decide on all that comes.
    fn start_with(
        Prepared { config, snapshot, upstream_monitor }: Prepared,
        mut handed: HandedSockets,
        peppers: Peppers,
        (mut request_store, async_store): (RequestStore, Option<AsyncStore>),
        clock: RecordClock,
        row: &mut Option<EmbeddedLease>,
        lease: &mut Option<StartingLease>,
    ) -> Result<Self, StartError> {
        let path = config.store.path();
        let (lease_commands, lease_receiver) = mpsc::unbounded_channel();
        // before there is a cache: what it has not seen is not in any
        let begun = clock.now();
        let follower = Follower::open(path, begun)?;
        if lease.is_some() {
            let commands = lease_commands.clone();
            request_store = request_store.with_note_sink(move |note| {
                // an error means that the gateway is stopping
                let _ = commands.send(record_lease::LeaseCommand::Note(note));
            });
        }
        let authenticator =
            Arc::new(Authenticator::new(&config, peppers, request_store.clone(), clock.clone())?);
        authenticator.set_ended_until(begun);
        let access_log = AccessLog::start(&config.log)?;
        let spans =
            config.tracing.as_ref().map(|tracing| SpanExporter::start(tracing, &gateway_name(&config)));
        let spans = spans.transpose()?;
        let management_tls = management_tls(&config)?;
        let metrics_token = MetricsToken::read(&config)?;
        if let Some(lease) = lease {
            lease.activate(follower.position(), &authenticator)?;
        }
        if let Some(row) = row {
            row.activate(follower.position(), &authenticator)?;
        }

        let (mut listeners, mut sockets) = (Vec::new(), Vec::new());
        for config::Listener { address, .. } in &config.listeners {
            let port = handed.ensure_free(Purpose::Proxy, address)?;
            let given = handed.take(Purpose::Proxy, address);
            let bound = BoundListener::bind(address, port, config.workers, given)?;
            for (worker, socket) in bound.clone_sockets()?.into_iter().enumerate() {
                sockets.push((Purpose::Proxy.socket_name(address, worker, bound.file()), socket));
            }
            listeners.push(bound);
        }
        let management = match &config.management {
            Some(config::Management { address, .. }) => {
                let named = &(*address).into();
                let port = handed.ensure_free(Purpose::Management, named)?;
                let given = handed.take(Purpose::Management, named).pop();
                let bound = given.map_or_else(|| proxy::listen(*address, port), Ok)?;
                bound.set_nonblocking(true)?;
                sockets.push((Purpose::Management.socket_name(named, 0, None), bound.try_clone()?));
                Some(TcpListener::from(bound))
            }
            None => None,
        };
        // those that are left over are closed
        let unused_sockets = handed.into_names();
        let socket_files = listeners.iter().filter_map(|listener| listener.file().cloned()).collect();
        let addresses = Addresses {
            listeners: listeners
                .iter()
                .zip(&config.listeners)
                .map(|(l, c)| (l.address.clone(), c.tls.is_some()))
                .collect(),
            management: management.as_ref().and_then(|socket| socket.local_addr().ok()),
        };

        let certificates = ConfigCertificates::new(&snapshot, management_tls.as_ref(), &addresses);
        let certificate_watch = CertificateWatch::spawn(certificates.watched())?;
        let status = Arc::new(ConfigStatus::default());
        status.taken_over(certificates);
        let keys_expiring = async_store
            .as_ref()
            .map(|store| KeysExpiring::new(store.clone(), clock.clone(), &config.keys.notice));
        let endpoint_counts = Arc::new(EndpointCounts::default());
        let (metrics, worker_metrics) = metrics::build(
            config.workers,
            &authenticator,
            (&access_log, spans.as_ref()),
            keys_expiring.as_ref(),
            &endpoint_counts,
            (&addresses, &status),
        );
        let shared = SharedState::new(snapshot, Arc::clone(&authenticator), endpoint_counts);
        let writers = || (access_log.writer(), spans.as_ref().map(SpanExporter::writer));
        let workers = Arc::new(proxy::spawn_workers(&shared, listeners, worker_metrics, writers)?);
        let draining = Arc::new(AtomicBool::new(false));
        let (follower_commands, follower_receiver) = std::sync::mpsc::channel();
        let (in_force, applied) = watch::channel(follower.position());
        let metrics = Arc::new(metrics);
        let history = Arc::new(RequestHistory::new(Arc::clone(&metrics)));
        let look = {
            let commands = follower_commands.clone();
            move || {
                // an error means that the gateway is stopping
                let _ = commands.send(FollowerCommand::Look);
            }
        };
        let management_plane = async_store.clone().zip(keys_expiring).map(|(async_store, keys_expiring)| {
            let health = Health {
                authenticator: Arc::clone(&authenticator),
                draining: Arc::clone(&draining),
                metrics,
                keys_expiring,
            };
            let operations = Operations::new(
                async_store,
                Arc::clone(&authenticator),
                AppliedChanges::new(look.clone(), applied.clone()),
            );
            let tls = management_tls.map(|tls| tls.config);
            let settings = Settings::new(&config, &addresses.listeners, tls, metrics_token);
            Arc::new(Management::new(
                operations,
                Arc::clone(&authenticator),
                health,
                Arc::clone(&history),
                settings,
            ))
        });
        let (control_commands, received) = mpsc::unbounded_channel();
        let control = ControlPlane {
            authenticator: Arc::clone(&authenticator),
            request_store: request_store.clone(),
            history,
            workers: Arc::clone(&workers),
            management: management.zip(management_plane.clone()),
            in_force,
        };
        let control = control_plane::spawn(control, received)?;
        let lease = lease.take().map(|lease| {
            let lease = lease.into_thread(Arc::clone(&authenticator), Box::new(look), applied);
            lease.spawn((lease_commands, lease_receiver))
        });
        let lease = lease.transpose()?;
        let follow = FollowerThread {
            follower,
            clock: clock.clone(),
            authenticator: Arc::clone(&authenticator),
            control_commands: control_commands.clone(),
            row: row.take(),
        };
        let follower = follower_thread::spawn(follow, (follower_commands, follower_receiver))?;
        let background = BackgroundChanges::spawn(config.store.clone(), clock, authenticator)?;
        Ok(Self {
            addresses,
            config,
            status,
            management_plane,
            shared,
            access_log,
            spans,
            workers,
            draining,
            control_commands,
            control,
            follower,
            request_store,
            async_store,
            lease,
            background,
            sockets,
            unused_sockets,
            socket_files,
            upstream_monitor,
            certificate_watch,
        })
    }

    /// Its listening sockets, to be handed over.
    pub(super) fn sockets(&self) -> &[(String, Socket)] {
        &self.sockets
    }

    /// The names of sockets that it was handed and that its configuration has no listener for.
    pub(super) fn unused_sockets(&self) -> &[String] {
        &self.unused_sockets
    }

    /// The store that it runs on.
    pub(super) fn store(&self) -> &config::Store {
        &self.config.store
    }

    /// Whether it may decide about keys.
    pub(super) fn has_lease(&self) -> bool {
        self.shared.authenticator.has_lease()
    }

    /// Whether everything that serves requests still does: asks each worker, and waits.
    pub(super) fn health_check(&self) -> impl Future<Output = bool> + use<> {
        let workers = Arc::clone(&self.workers);
        let threads_run = !self.control.is_finished() && !self.follower.is_finished();
        async move {
            for worker in workers.iter() {
                let (done, answered) = oneshot::channel();
                if !worker.send(WorkerCommand::Ping(done)) || answered.await.is_err() {
                    return false;
                }
            }
            threads_run
        }
    }

    /// Where it listens.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Takes note of a reload that was refused.
    pub(super) fn reload_refused(&self) {
        self.status.refused();
    }

    /// Opens the access log's file again, for log rotation.
    pub fn reopen_logs(&self) {
        self.access_log.reopen();
    }
}

/// Closes the store. The last to close it writes the write-ahead log back into the file, so that the file is complete.
fn close(request_store: &RequestStore, async_store: Option<&AsyncStore>) {
    let deadline = Instant::now() + CLOSING;
    request_store.close(deadline);
    if let Some(async_store) = async_store {
        async_store.close(deadline);
    }
}

/// What this gateway is called: as the configuration says, or by its machine.
fn gateway_name(config: &Config) -> String {
    config
        .gateway
        .clone()
        .unwrap_or_else(|| rustix::system::uname().nodename().to_string_lossy().into_owned())
}

/// How many peppers are not there that the store has fingerprints under: none, unless the configuration allows it.
pub fn missing_peppers(config: &Config, peppers: &Peppers, store: &Store) -> Result<usize, StartError> {
    let missing = peppers.missing(&store.peppers()?);
    if missing.is_empty() || config.allow_missing_pepper {
        Ok(missing.len())
    } else {
        Err(StartError::MissingPepper { missing, files: config.pepper_files.clone() })
    }
}

/// The management listener's TLS, with the certificates that are in the files now.
fn management_tls(config: &Config) -> Result<Option<ServerTls>, TlsError> {
    let tls = config.management.as_ref().and_then(|settings| settings.tls.as_ref());
    tls.map(proxy::server_tls).transpose()
}

fn list_peppers(missing: &[PepperId]) -> String {
    let ids: Vec<_> = missing.iter().map(ToString::to_string).collect();
    format!("pepper {}", ids.join(", "))
}

fn list_files(files: &[PathBuf]) -> String {
    let names: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
    format!("{} {}", names.join(", "), if names.len() == 1 { "does" } else { "do" })
}
