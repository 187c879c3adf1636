//! One worker: a thread with its own runtime, sockets, upstream connections. A request lives and dies on it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use aws_lc_rs::rand::SystemRandom;
use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, oneshot};
use tokio_rustls::{TlsAcceptor, TlsStream};
use tokio_util::sync::CancellationToken;

use super::date::HttpDate;
use super::headers::Client;
use super::listener::BoundListener;
use super::snapshot::Snapshot;
use super::streams::{Streams, TICK};
use super::{http1, http2};
use crate::auth::Authenticator;
use crate::store::Change;
use crate::telemetry::{AccessWriter, Alarm, WorkerMetrics};
use crate::upstream::{Limits, Pool};
use crate::wire::{Http1Peer, KeptBodies, Pipes, Stream, Wire};

/// How long a worker lets answers, tunnels, and then connections end by themselves once they were told to.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// After a failed accept (out of file descriptors, say): pressing on would only burn the core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What all workers share.
pub struct Shared {
    /// What requests are served by.
    pub snapshot: ArcSwap<Snapshot>,
    /// Who a credential belongs to.
    pub authenticator: Arc<Authenticator>,
    connections: AtomicUsize,
    /// Touched when connections open and close, never by a request.
    sources: Mutex<HashMap<IpAddr, usize>>,
}

impl Shared {
    /// The shared state of a new gateway.
    pub fn new(snapshot: Snapshot, authenticator: Arc<Authenticator>) -> Arc<Self> {
        Arc::new(Self {
            snapshot: ArcSwap::from_pointee(snapshot),
            authenticator,
            connections: AtomicUsize::new(0),
            sources: Mutex::default(),
        })
    }

    /// Counts a connection in, unless there are too many.
    fn admit(self: &Arc<Self>, source: IpAddr, snapshot: &Snapshot) -> Option<Counted> {
        let limits = &snapshot.limits;
        if self.connections.fetch_add(1, Ordering::Relaxed) >= limits.connections {
            self.connections.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let counted = Counted { shared: Arc::clone(self), source };
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let count = sources.entry(source).or_insert(0);
        *count += 1;
        let within = *count <= limits.connections_per_source;
        drop(sources);
        within.then_some(counted)
    }
}

/// A connection that counts against the limits until it is dropped.
struct Counted {
    shared: Arc<Shared>,
    source: IpAddr,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.shared.connections.fetch_sub(1, Ordering::Relaxed);
        let mut sources = self.shared.sources.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = sources.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                sources.remove(&self.source);
            }
        }
    }
}

/// What a worker can be told.
pub enum Command {
    /// These changes are applied in the caches: look at what is open, and answer when it has decided anew.
    Apply(Arc<[Change]>, oneshot::Sender<()>),
    /// Take no new connections, let what runs finish within this time, tunnels too, then close what is left and end.
    Drain(Duration),
}

/// A running worker.
pub struct WorkerHandle {
    commands: mpsc::UnboundedSender<Command>,
    thread: JoinHandle<()>,
}

impl WorkerHandle {
    /// Tells the worker; `false`: it has ended.
    pub fn tell(&self, command: Command) -> bool {
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
pub fn spawn(
    shared: &Arc<Shared>,
    listeners: Vec<BoundListener>,
    metrics: Vec<Arc<WorkerMetrics>>,
    access: impl Fn() -> AccessWriter,
) -> io::Result<Vec<WorkerHandle>> {
    let mut sockets: Vec<Vec<TcpListener>> = metrics.iter().map(|_| Vec::new()).collect();
    for listener in listeners {
        for (own, socket) in sockets.iter_mut().zip(listener.sockets) {
            own.push(socket);
        }
    }
    let workers = sockets.into_iter().zip(metrics).enumerate().map(|(number, (sockets, metrics))| {
        let (shared, access) = (Arc::clone(shared), access());
        let (commands, receiver) = mpsc::unbounded_channel();
        let (begun, begins) = std::sync::mpsc::channel();
        // a runtime of this kind cannot leave the thread that builds it
        let thread = std::thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
            let built =
                Builder::new_current_thread().enable_io().enable_time().build_local(LocalOptions::default());
            let (runtime, result) = match built {
                Ok(runtime) => (Some(runtime), Ok(())),
                Err(error) => (None, Err(error)),
            };
            // the caller waits for it
            let _ = begun.send(result);
            let Some(runtime) = runtime else { return };
            runtime.block_on(Worker::run(shared, sockets, metrics, access, receiver));
            // a look-up of an upstream's name may hang for long, and cannot be stopped
            runtime.shutdown_background();
        })?;
        begins.recv().unwrap_or_else(|_| Err(io::Error::other("a worker thread ended as it began")))?;
        Ok(WorkerHandle { commands, thread })
    });
    workers.collect()
}

/// A snapshot and the connections to its upstreams.
pub(super) struct Generation {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) pools: Vec<Pool>,
}

impl Generation {
    fn new(snapshot: Arc<Snapshot>, limits: &Limits) -> Rc<Self> {
        let timeout = snapshot.timeouts.upstream_connect;
        let limits = limits.of(&snapshot.upstreams, snapshot.files.upstream_connections);
        let upstreams = snapshot.upstreams.iter().zip(limits);
        let pools = upstreams.map(|(upstream, limit)| Pool::new(Arc::clone(upstream), limit, timeout));
        let pools = pools.collect();
        Rc::new(Self { snapshot, pools })
    }
}

/// One worker.
pub(super) struct Worker {
    pub(super) shared: Arc<Shared>,
    pub(super) streams: Rc<Streams>,
    pub(super) metrics: Arc<WorkerMetrics>,
    pub(super) pipes: Pipes,
    pub(super) kept_bodies: KeptBodies,
    /// Answered requests whose clients may still be sending.
    pub(super) lingering: Cell<usize>,
    pub(super) access: RefCell<AccessWriter>,
    generation: RefCell<Rc<Generation>>,
    /// What the connections to upstreams are bounded by, those of former generations too.
    upstream_limits: Limits,
    draining: Cell<bool>,
    stop_accepting: CancellationToken,
    /// That no connection can be accepted comes back with each attempt.
    accept_alarm: Alarm,
    random: RandomNumbers,
    calendar: Cell<Calendar>,
    date: Cell<HttpDate>,
}

impl Worker {
    async fn run(
        shared: Arc<Shared>,
        sockets: Vec<TcpListener>,
        metrics: Arc<WorkerMetrics>,
        access: AccessWriter,
        mut commands: mpsc::UnboundedReceiver<Command>,
    ) {
        let upstream_limits = Limits::default();
        let generation = Generation::new(shared.snapshot.load_full(), &upstream_limits);
        let streams = Streams::new(Arc::clone(&shared.authenticator));
        let now = Calendar::now();
        let worker = Rc::new(Self {
            shared,
            streams,
            metrics,
            kept_bodies: KeptBodies::default(),
            pipes: Pipes::new(generation.snapshot.files.pipes),
            lingering: Cell::new(0),
            access: RefCell::new(access),
            generation: RefCell::new(generation),
            upstream_limits,
            draining: Cell::new(false),
            stop_accepting: CancellationToken::new(),
            accept_alarm: Alarm::default(),
            random: RandomNumbers::new(),
            calendar: Cell::new(now),
            date: Cell::new(HttpDate::at(now.unix_milliseconds, None)),
        });
        let mut accepting = Vec::new();
        for (number, socket) in sockets.into_iter().enumerate() {
            match tokio::net::TcpListener::from_std(socket) {
                Ok(listener) => {
                    accepting.push(tokio::task::spawn_local(Rc::clone(&worker).accept(listener, number)));
                }
                Err(error) => tracing::error!(%error, "a listener cannot be used"),
            }
        }
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let mut ended = None;
        loop {
            tokio::select! {
                _ = tick.tick() => worker.tick(),
                () = finished(&mut ended) => return,
                command = commands.recv() => match command {
                    Some(Command::Apply(changes, done)) => {
                        let worker = Rc::clone(&worker);
                        tokio::task::spawn_local(async move {
                            worker.streams.apply(&changes).await;
                            // the control plane may have stopped waiting
                            let _ = done.send(());
                        });
                    }
                    // changes are applied while it lasts: a key that is deactivated now ends now
                    Some(Command::Drain(limit)) => {
                        let (worker, accepting) = (Rc::clone(&worker), std::mem::take(&mut accepting));
                        ended = Some(tokio::task::spawn_local(async move { worker.drain(limit, accepting).await }));
                    }
                    None => return,
                },
            }
        }
    }

    fn tick(&self) {
        self.streams.tick();
        let now = Calendar::now();
        self.calendar.set(now);
        self.date.set(HttpDate::at(now.unix_milliseconds, Some(self.date.get())));
        // what is known may be out of date by now: nothing that a key has opened goes on by it
        if !self.shared.authenticator.is_fresh() {
            self.streams.reconsider();
        }
        self.access.borrow_mut().flush();
        let generation = self.generation();
        if let Some(oldest) = Instant::now().checked_sub(generation.snapshot.timeouts.upstream_idle) {
            for pool in &generation.pools {
                pool.close_idle(oldest);
            }
        }
        self.upstream_limits.tidy(&generation.snapshot.upstreams);
    }

    async fn drain(&self, limit: Duration, accepting: Vec<tokio::task::JoinHandle<()>>) {
        self.draining.set(true);
        self.stop_accepting.cancel();
        for task in accepting {
            // ends by itself once it has taken what already waits
            let _ = task.await;
        }
        self.streams.drain();
        let until = tokio::time::Instant::now() + limit;
        self.wait_until(until, || self.streams.is_empty()).await;
        self.streams.close_requests();
        self.wait_until(tokio::time::Instant::now() + LAST_WORDS, || self.streams.is_empty()).await;
        self.streams.close_all();
        self.wait_until(tokio::time::Instant::now() + LAST_WORDS, || self.streams.is_empty()).await;
        self.tick();
    }

    async fn wait_until(&self, until: tokio::time::Instant, done: impl Fn() -> bool) {
        let mut tick = tokio::time::interval(TICK / 5);
        while !done() && tokio::time::Instant::now() < until {
            tick.tick().await;
        }
    }

    async fn accept(self: Rc<Self>, listener: tokio::net::TcpListener, number: usize) {
        loop {
            tokio::select! {
                biased;
                () = self.stop_accepting.cancelled() => break,
                accepted = listener.accept() => self.accepted(accepted, number).await,
            }
        }
        // connections that the system has completed already would be reset with the socket
        while let Some(accepted) = now_or_never(listener.accept()).await {
            if accepted.is_err() {
                break;
            }
            self.accepted(accepted, number).await;
        }
    }

    async fn accepted(self: &Rc<Self>, accepted: io::Result<(TcpStream, SocketAddr)>, number: usize) {
        let (tcp, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                if self.accept_alarm.rings() {
                    tracing::warn!(%error, "cannot accept connections");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
                return;
            }
        };
        let generation = self.generation();
        let Some(counted) = self.shared.admit(peer.ip().to_canonical(), &generation.snapshot) else {
            self.metrics.connections_refused.increase();
            return;
        };
        // a reload changes no listeners, so the number still stands for the same one
        let Some(settings) = generation.snapshot.listeners.get(number) else { return };
        // an answer is written whole; waiting for more would only delay it
        if tcp.set_nodelay(true).is_err() {
            return;
        }
        self.metrics.connections_accepted.increase();
        self.metrics.connections_open.increase();
        let worker = Rc::clone(self);
        let client = Rc::new(Client::new(peer, number, settings.tls.is_some()));
        // two tasks of their own: one that waits for a next request is as small as it can be
        if let Some(tls) = &settings.tls {
            let tls = Arc::clone(tls);
            tokio::task::spawn_local(async move {
                Box::pin(worker.serve_tls(tcp, tls, client)).await;
                worker.closed(counted);
            });
        } else {
            let peer = Box::new(Http1Peer::new(Wire::new(Stream::Plain(tcp))));
            tokio::task::spawn_local(async move {
                http1::serve(&worker, peer, client).await;
                worker.closed(counted);
            });
        }
    }

    fn closed(&self, counted: Counted) {
        self.metrics.connections_open.decrease();
        drop(counted);
    }

    /// One client connection, from TLS to its end. TLS is here and not where connections are accepted: a silent
    /// client must not keep others out.
    async fn serve_tls(self: &Rc<Self>, tcp: TcpStream, tls: Arc<ServerConfig>, client: Rc<Client>) {
        let stream = self.streams.open();
        stream.set_idle(true);
        stream.set_deadline(self.generation().snapshot.timeouts.tls_handshake);
        let accepted = Box::pin(stream.run(TlsAcceptor::from(tls).accept(tcp))).await;
        let Ok(Ok(tls)) = accepted else {
            self.metrics.tls_failures.increase();
            tracing::debug!(peer = %client.peer, "TLS handshake failed");
            return;
        };
        drop(stream);
        let is_http2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
        let wire = Wire::new(Stream::Tls(Box::new(TlsStream::Server(tls))));
        if is_http2 {
            Box::pin(http2::serve(self, wire, client)).await;
        } else {
            http1::serve(self, Box::new(Http1Peer::new(wire)), client).await;
        }
    }

    /// What the next request is served by.
    pub(super) fn generation(&self) -> Rc<Generation> {
        let current = self.shared.snapshot.load();
        let mut generation = self.generation.borrow_mut();
        if !Arc::ptr_eq(&current, &generation.snapshot) {
            // before the limits are shared out anew: what it keeps idle is closed
            generation.pools.iter().for_each(Pool::retire);
            *generation = Generation::new(Arc::clone(&current), &self.upstream_limits);
        }
        Rc::clone(&generation)
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// This moment as milliseconds since 1970, by the system's clock as of the last tick.
    pub(super) fn unix_milliseconds(&self, moment: Instant) -> i64 {
        let known = self.calendar.get();
        let milliseconds = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        match moment.checked_duration_since(known.moment) {
            Some(after) => known.unix_milliseconds.saturating_add(milliseconds(after)),
            None => known.unix_milliseconds.saturating_sub(milliseconds(known.moment - moment)),
        }
    }

    /// The date of an answer, as of the last tick.
    pub(super) fn date(&self) -> HttpDate {
        self.date.get()
    }

    /// For request ids and the like; not for secrets.
    pub(super) fn random_bytes(&self) -> [u8; 16] {
        self.random.next()
    }
}

/// The time of day at one moment, from which that of moments near it follows: one look at the clock a request less.
#[derive(Clone, Copy)]
struct Calendar {
    moment: Instant,
    unix_milliseconds: i64,
}

impl Calendar {
    fn now() -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self {
            moment: Instant::now(),
            unix_milliseconds: i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        }
    }
}

/// Random numbers for request ids, fetched from the system in blocks: a system call for each would cost more than
/// the id.
struct RandomNumbers {
    system: SystemRandom,
    block: RefCell<([u8; 1024], usize)>,
}

impl RandomNumbers {
    fn new() -> Self {
        Self { system: SystemRandom::new(), block: RefCell::new(([0; 1024], 1024)) }
    }

    fn next(&self) -> [u8; 16] {
        let mut block = self.block.borrow_mut();
        let (bytes, used) = &mut *block;
        if *used == bytes.len() {
            *used = 0;
            if aws_lc_rs::rand::SecureRandom::fill(&self.system, bytes).is_err() {
                tracing::error!("the system has no random numbers; request ids will repeat");
            }
        }
        let mut number = [0; 16];
        number.copy_from_slice(&bytes[*used..*used + 16]);
        *used += 16;
        number
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

/// The output of `future` if it is there at once.
async fn now_or_never<F: Future>(future: F) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|cx| {
        std::task::Poll::Ready(match future.as_mut().poll(cx) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        })
    })
    .await
}
