//! The lease thread: keeps this gateway's replica at the record's newest change, and renews its lease in the record. The
//! record's announcements wake it, and it looks by itself in case one is lost. [`LeaseState`] decides what it does when.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, watch};

use crate::auth::Authenticator;
use crate::store::{
    BootInstant, Fingerprint, KeyUse, LeaseAction, LeaseState, Replica, ReplicaHead, SecretId, StoreError,
    StoreNote, StorePosition, Wakeup,
};
use crate::telemetry::LogThrottle;

/// How often the record is looked at though nothing was announced.
const POLL: Duration = Duration::from_millis(500);

/// How often notes go to the record and come from it.
const EXCHANGE: Duration = Duration::from_secs(5);

/// How long the workers may take to confirm a change before the record is looked at again.
const CONFIRMATION: Duration = Duration::from_secs(2);

/// Notes that wait for a record that is away; beyond that the oldest are lost.
const NOTES: usize = 50_000;

/// What the lease thread can be told.
#[derive(Debug)]
pub(super) enum LeaseCommand {
    /// Keep this in the record.
    Note(StoreNote),
    /// End, and take this gateway's row away.
    Stop,
}

/// The lease thread, seen from outside.
pub(super) struct LeaseHandle {
    commands: mpsc::UnboundedSender<LeaseCommand>,
    thread: JoinHandle<()>,
}

impl LeaseHandle {
    /// Ends it. Waits for a record that hangs no longer than `at_most`.
    pub(super) fn stop(self, at_most: Duration) {
        // an error means that it has ended by itself
        let _ = self.commands.send(LeaseCommand::Stop);
        let deadline = Instant::now() + at_most;
        while !self.thread.is_finished() {
            if Instant::now() >= deadline {
                tracing::warn!("the record does not answer: this gateway's lease in it ends by itself");
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        if self.thread.join().is_err() {
            tracing::error!("the thread that keeps the lease panicked");
        }
    }
}

/// The lease of a gateway that is starting, and acts on nothing yet.
pub(super) struct StartingLease {
    replica: Replica,
    state: LeaseState,
    reached: Option<ReplicaHead>,
}

impl StartingLease {
    /// Takes its lease first: from here on, changes wait for this gateway. If the record stops answering meanwhile, the
    /// gateway starts as if it had been away before.
    pub(super) fn new(replica: Replica, lease: Duration) -> Result<Self, StoreError> {
        let state = LeaseState::new(lease, replica.saved_lease()?);
        let is_connected = replica.is_connected();
        let mut starting = Self { replica, state, reached: None };
        if is_connected {
            match starting.catch_up() {
                Ok(()) => {}
                Err(error @ StoreError::RecordUnreachable { .. }) => {
                    tracing::error!(%error, "starting from the replica alone");
                }
                Err(error) => {
                    starting.withdraw();
                    return Err(error);
                }
            }
        }
        Ok(starting)
    }

    fn catch_up(&mut self) -> Result<(), StoreError> {
        self.state.begin_startup(BootInstant::now());
        self.replica.renew()?;
        self.state.renewed();
        let reached = self.replica.catch_up()?;
        self.state.caught_up(reached.position);
        self.reached = Some(reached);
        Ok(())
    }

    /// The gateway can act on what its follower began with: no cache holds anything older.
    pub(super) fn activate(
        &mut self,
        position: StorePosition,
        authenticator: &Authenticator,
    ) -> Result<(), StoreError> {
        let Self { replica, state, reached } = self;
        if state.confirmed(position, BootInstant::now()) == LeaseAction::Extend {
            replica.save_lease(state.until())?;
            // before it acts, so that nothing is said to wait for a gateway that has begun with it
            if let (LeaseAction::Acknowledge(_), Some(reached)) = (state.extended(), *reached) {
                match replica.acknowledge(reached) {
                    Ok(()) => {
                        state.acknowledged();
                    }
                    // the next renewal says so
                    Err(error @ StoreError::RecordUnreachable { .. }) => {
                        tracing::warn!(%error, "the record does not know yet what is in force here");
                    }
                    Err(error) => return Err(error),
                }
            }
            authenticator
                .set_store_misses_trusted_until(state.as_of() + Authenticator::STORE_MISSES_TRUSTED_FOR);
        }
        authenticator.set_lease_end(state.until());
        Ok(())
    }

    /// Goes on with it in the lease thread.
    pub(super) fn into_thread(
        self,
        authenticator: Arc<Authenticator>,
        look: Box<dyn Fn() + Send>,
        in_force: watch::Receiver<StorePosition>,
    ) -> LeaseThread {
        let Self { replica, state, .. } = self;
        LeaseThread { replica, authenticator, state, look, in_force }
    }

    /// Takes the lease back, because the gateway does not start after all: no change need wait for its end.
    pub(super) fn withdraw(mut self) {
        if self.replica.is_connected()
            && let Err(error) = self.replica.remove_row()
        {
            tracing::warn!(%error, "this gateway's lease in the record ends by itself");
        }
    }
}

/// What the lease thread works with.
pub(super) struct LeaseThread {
    replica: Replica,
    authenticator: Arc<Authenticator>,
    state: LeaseState,
    /// Has the follower look at the replica at once.
    look: Box<dyn Fn() + Send>,
    in_force: watch::Receiver<StorePosition>,
}

impl LeaseThread {
    /// Starts the thread.
    pub(super) fn spawn(
        self,
        (commands, received): (mpsc::UnboundedSender<LeaseCommand>, mpsc::UnboundedReceiver<LeaseCommand>),
    ) -> io::Result<LeaseHandle> {
        let runtime = Builder::new_current_thread().enable_time().build()?;
        let thread = std::thread::Builder::new()
            .name("lease".to_owned())
            .spawn(move || self.run(&runtime, received))?;
        Ok(LeaseHandle { commands, thread })
    }

    fn run(mut self, runtime: &Runtime, mut received: mpsc::UnboundedReceiver<LeaseCommand>) {
        let log_throttle = LogThrottle::default();
        let mut outbox = Outbox::default();
        let mut exchange = Instant::now() + EXCHANGE;
        loop {
            match self.step(runtime) {
                Ok(()) => {
                    if log_throttle.recovered() {
                        tracing::info!("the record is followed again");
                    }
                    if Instant::now() >= exchange {
                        exchange = Instant::now() + EXCHANGE;
                        // lost where the record does not take them, as notes may be, but for when each of two secrets was used
                        let taken = std::mem::take(&mut outbox);
                        if let Err(error) = self.exchange(&taken) {
                            outbox.keep_times(taken.uses);
                            tracing::warn!(%error, "when keys were last used could not be exchanged with the record");
                        }
                    }
                }
                Err(error) => {
                    if log_throttle.should_log() {
                        match self.state.until().remaining().as_secs() {
                            0 => {
                                tracing::error!(%error, "the record cannot be followed: every key is answered 503");
                            }
                            left => tracing::error!(
                                %error,
                                "the record cannot be followed: known keys go on for {left} seconds"
                            ),
                        }
                    }
                }
            }
            match self.replica.wait(&mut received, POLL) {
                Wakeup::CheckRecord => {}
                Wakeup::Message(LeaseCommand::Note(note)) => self.take(note, &mut outbox),
                Wakeup::Message(LeaseCommand::Stop) | Wakeup::Disconnected => break,
            }
            while let Ok(next) = received.try_recv() {
                match next {
                    LeaseCommand::Note(note) => self.take(note, &mut outbox),
                    LeaseCommand::Stop => {
                        self.end(&outbox);
                        return;
                    }
                }
            }
        }
        self.end(&outbox);
    }

    fn take(&mut self, note: StoreNote, outbox: &mut Outbox) {
        match note {
            StoreNote::Damage(file, why) => self.replica.report_damage(file, why),
            note => outbox.add(note),
        }
    }

    /// Looks at the record, has what is new applied, and says so.
    fn step(&mut self, runtime: &Runtime) -> Result<(), StoreError> {
        let mut reached = None;
        let mut next = self.state.begin(BootInstant::now());
        loop {
            next = match (next, reached) {
                (LeaseAction::Renew, _) => {
                    self.replica.renew()?;
                    self.state.renewed()
                }
                (LeaseAction::CatchUp, _) => {
                    self.state.caught_up(reached.insert(self.replica.catch_up()?).position)
                }
                (LeaseAction::Confirm(position), _) => {
                    if !self.is_in_force(runtime, position) {
                        // the next look asks again; until then nobody is told that it is in force
                        return Ok(());
                    }
                    self.authenticator.set_store_misses_trusted_until(
                        self.state.as_of() + Authenticator::STORE_MISSES_TRUSTED_FOR,
                    );
                    let in_force = *self.in_force.borrow();
                    self.state.confirmed(in_force, BootInstant::now())
                }
                (LeaseAction::Extend, _) => {
                    self.authenticator.set_lease_end(self.state.until());
                    if let Err(error) = self.replica.save_lease(self.state.until()) {
                        // it only matters to a restart while the record is away
                        tracing::warn!(%error, "the lease cannot be written down in the replica");
                    }
                    self.state.extended()
                }
                (LeaseAction::Acknowledge(_), Some(reached)) => {
                    self.replica.acknowledge(reached)?;
                    self.state.acknowledged()
                }
                (LeaseAction::Done | LeaseAction::Acknowledge(_), _) => return Ok(()),
            };
        }
    }

    /// Whether all that was reached is in force here: dropped from every cache, ended on every worker.
    fn is_in_force(&mut self, runtime: &Runtime, position: StorePosition) -> bool {
        if self.in_force.borrow().includes(position) {
            return true;
        }
        (self.look)();
        let reached = self.in_force.wait_for(|applied| applied.includes(position));
        // an error of the channel means that the gateway is stopping
        runtime.block_on(async { matches!(tokio::time::timeout(CONFIRMATION, reached).await, Ok(Ok(_))) })
    }

    fn exchange(&mut self, outbox: &Outbox) -> Result<(), StoreError> {
        let Outbox { uses, saved_until, fingerprints } = outbox;
        self.replica.exchange_uses_and_fingerprints(uses, fingerprints, *saved_until)
    }

    fn end(mut self, outbox: &Outbox) {
        if let Err(error) = self.exchange(outbox) {
            tracing::warn!(%error, "when keys were last used could not be saved");
        }
        if let Err(error) = self.replica.deregister() {
            tracing::warn!(%error, "this gateway's lease in the record ends by itself; a restart may act within it");
        }
    }
}

/// What waits to be taken to the record.
#[derive(Default)]
struct Outbox {
    uses: Vec<KeyUse>,
    /// These are all uses until then of keys with two secrets.
    saved_until: Option<Timestamp>,
    fingerprints: Vec<(SecretId, Fingerprint)>,
}

impl Outbox {
    /// Keeps when secrets of keys with two were used, in front of what has come since. How often may be in the record
    /// already.
    fn keep_times(&mut self, mut uses: Vec<KeyUse>) {
        uses.retain(|used| used.secret.is_some());
        for used in &mut uses {
            used.count = 0;
        }
        self.uses.append(&mut uses);
    }

    fn add(&mut self, note: StoreNote) {
        match note {
            StoreNote::Uses(uses, until) => {
                self.saved_until = Some(until);
                self.uses.extend(uses);
                // a secret once: the record refuses to note one twice in one write
                self.uses.sort_by_key(|used| (used.key.row(), used.secret, used.at));
                self.uses.dedup_by(|later, earlier| {
                    let same = (later.key, later.secret) == (earlier.key, earlier.secret);
                    if same {
                        *earlier = KeyUse { count: later.count + earlier.count, ..*later };
                    }
                    same
                });
                let too_many = self.uses.len().saturating_sub(NOTES);
                self.uses.drain(..too_many);
            }
            StoreNote::Fingerprint(secret, fingerprint) if self.fingerprints.len() < NOTES => {
                self.fingerprints.push((secret, fingerprint));
            }
            StoreNote::Fingerprint(..) | StoreNote::Damage(..) => {}
        }
    }
}
