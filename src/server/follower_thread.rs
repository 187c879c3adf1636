//! The follower: a thread that reads the store's change log every 50 ms, so that what the command line wrote is applied
//! well within half a second. Of an embedded store it also renews this gateway's row and lease. In which order,
//! [`LeaseState`](crate::store::LeaseState) decides, as it does where the record is in PostgreSQL.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::control_plane::ControlCommand;
use super::embedded_lease::EmbeddedLease;
use crate::auth::Authenticator;
use crate::store::{BootInstant, Change, Follower, KeysEnded, LeaseAction, RecordClock, StoreError, Subject};
use crate::telemetry::LogThrottle;

/// How often it looks.
const INTERVAL: Duration = Duration::from_millis(50);

/// The follower's thread, seen from outside.
pub(super) struct FollowerHandle {
    commands: Sender<FollowerCommand>,
    thread: JoinHandle<StoreAtStop>,
}

/// How the follower has left the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StoreAtStop {
    /// It can be closed.
    Intact,
    /// It must not be closed: SQLite would delete a write-ahead log that is not this store's.
    ForeignLog,
}

impl FollowerHandle {
    /// Whether it has ended.
    pub(super) fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Ends it. Blocks for a moment.
    pub(super) fn stop(self) -> StoreAtStop {
        // an error means that it has ended by itself
        let _ = self.commands.send(FollowerCommand::Stop);
        self.thread.join().unwrap_or_else(|_| {
            tracing::error!("the thread that follows the store panicked");
            StoreAtStop::Intact
        })
    }
}

/// What the follower can be told.
pub(super) enum FollowerCommand {
    /// Somebody has just made a change: look now.
    Look,
    /// End.
    Stop,
}

/// What the follower's thread works with.
pub(super) struct FollowerThread {
    pub(super) follower: Follower,
    /// By which keys end.
    pub(super) clock: RecordClock,
    pub(super) authenticator: Arc<Authenticator>,
    pub(super) control_commands: mpsc::UnboundedSender<ControlCommand>,
    /// Where the file is the record itself. Where it is a replica, what is read here is only as new as what
    /// [`super::record_lease`] brings, and that says how long it holds.
    pub(super) row: Option<EmbeddedLease>,
}

/// Why reading the change log ended early.
enum LookError {
    /// The gateway is stopping.
    Stopping,
    /// The store cannot be read.
    Unread(StoreError),
    /// The row cannot be written.
    Unwritten(StoreError),
}

/// Starts to follow.
pub(super) fn spawn(
    follow: FollowerThread,
    (commands, received): (Sender<FollowerCommand>, Receiver<FollowerCommand>),
) -> io::Result<FollowerHandle> {
    let thread =
        std::thread::Builder::new().name("follower".to_owned()).spawn(move || follow.run(&received))?;
    Ok(FollowerHandle { commands, thread })
}

impl FollowerThread {
    fn run(mut self, received: &Receiver<FollowerCommand>) -> StoreAtStop {
        let (log_throttle, row_log_throttle) = (LogThrottle::default(), LogThrottle::default());
        // once the store is known to be damaged or replaced, it is not read again
        let mut end: Option<StoreError> = None;
        loop {
            if !matches!(
                received.recv_timeout(INTERVAL),
                Ok(FollowerCommand::Look) | Err(RecvTimeoutError::Timeout)
            ) {
                break;
            }
            // one look sees what all of them have written
            if received.try_iter().any(|received| matches!(received, FollowerCommand::Stop)) {
                break;
            }
            let was_final = end.is_some();
            let done = match end.take() {
                Some(error) => Err(LookError::Unread(error)),
                None => self.step(),
            };
            match done {
                Ok(()) => {
                    if log_throttle.recovered() | row_log_throttle.recovered() {
                        tracing::info!("the store can be followed again");
                    }
                }
                Err(LookError::Stopping) => break,
                Err(LookError::Unwritten(error)) => {
                    if row_log_throttle.should_log() {
                        let then = self.then();
                        tracing::error!(%error, "cannot write in the store that this gateway is there: {then}");
                    }
                }
                Err(LookError::Unread(error)) => {
                    let is_final = self.row.is_some() && error.needs_operator();
                    if is_final {
                        self.authenticator.set_lease_end(BootInstant::default());
                        self.authenticator.set_store_misses_trusted_until(BootInstant::default());
                    }
                    // a removed file may come back, one that is replaced may not: then the lease is not waited for
                    let is_due = log_throttle.should_log();
                    if is_due || (is_final && !was_final) {
                        let then = self.then();
                        tracing::error!(%error, "cannot follow the store: {then}");
                    }
                    end = is_final.then_some(error);
                }
            }
        }
        if let Some(row) = &mut self.row
            && end.is_none()
            && let Err(error) = row.registration.deregister()
        {
            tracing::warn!(%error, "cannot say in the store that this gateway is gone");
        }
        if self.follower.has_foreign_log() { StoreAtStop::ForeignLog } else { StoreAtStop::Intact }
    }

    /// What happens to requests with keys, for the log.
    fn then(&self) -> String {
        match self.authenticator.remaining_lease().as_secs() {
            0 => "every key is answered 503".to_owned(),
            left => format!("in {left} seconds every key will be answered 503"),
        }
    }

    /// Reads what is new, has it applied, and keeps the row.
    fn step(&mut self) -> Result<(), LookError> {
        // counted from before the look: what is written afterwards may be missed by it
        if let Some(row) = &mut self.row {
            row.state.begin(BootInstant::now());
        }
        let mut next = LeaseAction::CatchUp;
        loop {
            if next == LeaseAction::CatchUp {
                self.look()?;
            }
            // a backlog that takes more than one look says that what is known is still old
            let Some(row) = self.row.as_mut().filter(|_| self.follower.is_caught_up()) else { return Ok(()) };
            next = match next {
                LeaseAction::CatchUp => row.state.caught_up(self.follower.position()),
                LeaseAction::Confirm(position) => {
                    self.authenticator.set_store_misses_trusted_until(
                        row.state.as_of() + Authenticator::STORE_MISSES_TRUSTED_FOR,
                    );
                    row.state.confirmed(position, BootInstant::now())
                }
                LeaseAction::Done => return Ok(()),
                next => row.step(next, &self.authenticator).map_err(LookError::Unwritten)?,
            };
        }
    }

    /// Reads new changes, and has them applied: when this returns, they are in force. So are the ends of keys.
    fn look(&mut self) -> Result<(), LookError> {
        let read = self.follower.poll().map(|changes| self.apply(changes));
        let now = self.clock.now();
        // keys end on time even if the log cannot be read
        let ended = match self.follower.poll_ends(now) {
            Ok(None) => Ok(Ok(())),
            Ok(Some(KeysEnded { until, changes })) => {
                self.authenticator.set_ended_until(until);
                Ok(self.apply(changes))
            }
            Err(error) => {
                // which keys have ended is not known: all are read again before they are used
                self.authenticator.set_ended_until(now);
                let (number, subject) = (self.follower.head(), Subject::Everything);
                self.apply(vec![Change { number, subject, action: "expire".to_owned() }])?;
                Err(error)
            }
        };
        read.map_err(LookError::Unread)??;
        ended.map_err(LookError::Unread)?
    }

    fn apply(&self, changes: Vec<Change>) -> Result<(), LookError> {
        if changes.is_empty() {
            return Ok(());
        }
        let (done, applied) = oneshot::channel();
        let command = ControlCommand::Apply(changes.into(), self.follower.position(), done);
        self.control_commands.send(command).map_err(|_| LookError::Stopping)?;
        applied.blocking_recv().map_err(|_| LookError::Stopping)
    }
}
