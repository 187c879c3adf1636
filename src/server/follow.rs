//! Follows the store's change log: a thread that looks every 50 ms, so that what the command line wrote is in force
//! well within half a second. Of an embedded store it also keeps this gateway's row, and the lease that goes with it;
//! in which order, [`LeaseState`] decides, as it does where the record is in PostgreSQL.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::control::Order;
use crate::auth::Authenticator;
use crate::store::{BootTime, ChangeNumber, Follower, LeaseState, Next, Position, Presence, StoreError};
use crate::telemetry::Alarm;

/// How often it looks.
const INTERVAL: Duration = Duration::from_millis(50);

/// The following thread.
pub(super) struct Following {
    tell: Sender<Told>,
    thread: JoinHandle<AtTheEnd>,
}

/// How a store was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AtTheEnd {
    /// It can be closed.
    Whole,
    /// It must not be: SQLite would take away a log that is not this store's.
    ForeignLog,
}

impl Following {
    /// Ends it. Blocks for a moment.
    pub(super) fn stop(self) -> AtTheEnd {
        // an error means that it has ended by itself
        let _ = self.tell.send(Told::Stop);
        self.thread.join().unwrap_or_else(|_| {
            tracing::error!("the thread that follows the store panicked");
            AtTheEnd::Whole
        })
    }
}

/// What the following thread can be told.
pub(super) enum Told {
    /// Somebody has just made a change: look now.
    Look,
    /// End.
    Stop,
}

/// This gateway's row in an embedded store. Receipts count a gateway for as long as its row says, so it acts no longer
/// than that, whether it cannot write any more (a full disk, a lock) or has stood still (SIGSTOP, a paused machine).
pub(super) struct RowLease {
    presence: Presence,
    state: LeaseState,
    acknowledged: ChangeNumber,
}

impl RowLease {
    /// Writes the row, before the gateway reads anything.
    pub(super) fn begin(path: &Path, name: &str, length: Duration) -> Result<Self, StoreError> {
        let mut state = LeaseState::new(length, BootTime::default());
        state.begin_to_act(BootTime::now());
        let presence = Presence::begin(path, name, LeaseState::in_record(length))?;
        state.renewed();
        Ok(Self { presence, state, acknowledged: ChangeNumber::default() })
    }

    /// The gateway can act on what its follower began with: no cache holds anything older.
    pub(super) fn act(
        &mut self,
        position: Position,
        authenticator: &Authenticator,
    ) -> Result<(), StoreError> {
        self.state.reached(position);
        let mut next = self.state.confirmed(position, BootTime::now());
        while next != Next::Rest {
            next = self.step(next, authenticator)?;
        }
        authenticator.set_current_until(self.state.as_of() + Authenticator::CURRENT);
        Ok(())
    }

    /// Does what is to be done with the row.
    fn step(&mut self, next: Next, authenticator: &Authenticator) -> Result<Next, StoreError> {
        let Self { presence, state, acknowledged } = self;
        Ok(match next {
            Next::Renew => {
                presence.renew(*acknowledged)?;
                state.renewed()
            }
            Next::Extend => {
                authenticator.set_fresh_until(state.until());
                state.extended()
            }
            Next::Acknowledge(position) => {
                presence.renew(position.number)?;
                *acknowledged = position.number;
                state.acknowledged()
            }
            Next::Look | Next::Confirm(_) | Next::Rest => Next::Rest,
        })
    }
}

/// What a follower works with.
pub(super) struct Follow {
    pub(super) follower: Follower,
    pub(super) authenticator: Arc<Authenticator>,
    pub(super) orders: mpsc::UnboundedSender<Order>,
    /// Where the file is the record itself. Where it is a replica, what is read here is only as new as what
    /// [`super::lease`] brings, and that says how long it holds.
    pub(super) row: Option<RowLease>,
}

/// Why a look ends early.
enum Halt {
    /// The gateway is stopping.
    Stopping,
    /// The store cannot be read.
    Unread(StoreError),
    /// The row cannot be written.
    Unwritten(StoreError),
}

/// Starts to follow.
pub(super) fn spawn(follow: Follow, (tell, told): (Sender<Told>, Receiver<Told>)) -> io::Result<Following> {
    let thread = std::thread::Builder::new().name("follower".to_owned()).spawn(move || follow.run(&told))?;
    Ok(Following { tell, thread })
}

impl Follow {
    fn run(mut self, told: &Receiver<Told>) -> AtTheEnd {
        let (alarm, row_alarm) = (Alarm::default(), Alarm::default());
        // nothing is done with a store any more that is not what it was
        let mut end: Option<StoreError> = None;
        loop {
            if !matches!(told.recv_timeout(INTERVAL), Ok(Told::Look) | Err(RecvTimeoutError::Timeout)) {
                break;
            }
            // one look sees what all of them have written
            if told.try_iter().any(|told| matches!(told, Told::Stop)) {
                break;
            }
            let done = match end.take() {
                Some(error) => Err(Halt::Unread(error)),
                None => self.step(),
            };
            match done {
                Ok(()) => {
                    if alarm.ends() | row_alarm.ends() {
                        tracing::info!("the store can be followed again");
                    }
                }
                Err(Halt::Stopping) => break,
                Err(Halt::Unwritten(error)) => {
                    if row_alarm.rings() {
                        let then = self.then();
                        tracing::error!(%error, "cannot write in the store that this gateway is there: {then}");
                    }
                }
                Err(Halt::Unread(error)) => {
                    let is_final = self.row.is_some() && error.is_final();
                    if is_final {
                        self.authenticator.set_fresh_until(BootTime::default());
                        self.authenticator.set_current_until(BootTime::default());
                    }
                    if alarm.rings() {
                        let then = self.then();
                        tracing::error!(%error, "cannot follow the store: {then}");
                    }
                    end = is_final.then_some(error);
                }
            }
        }
        if let Some(row) = &mut self.row
            && end.is_none()
            && let Err(error) = row.presence.end()
        {
            tracing::warn!(%error, "cannot say in the store that this gateway is gone");
        }
        if self.follower.has_foreign_log() { AtTheEnd::ForeignLog } else { AtTheEnd::Whole }
    }

    /// What becomes of the keys.
    fn then(&self) -> String {
        match self.authenticator.fresh_for().as_secs() {
            0 => "every key is answered 503".to_owned(),
            left => format!("in {left} seconds every key will be answered 503"),
        }
    }

    /// Reads what is new, has it applied, and keeps the row.
    fn step(&mut self) -> Result<(), Halt> {
        // counted from before the look: what is written afterwards may be missed by it
        if let Some(row) = &mut self.row {
            row.state.begin(BootTime::now());
        }
        let mut next = Next::Look;
        loop {
            if next == Next::Look {
                self.look()?;
            }
            // a backlog that takes more than one look says that what is known is still old
            let Some(row) = self.row.as_mut().filter(|_| self.follower.is_caught_up()) else { return Ok(()) };
            next = match next {
                Next::Look => row.state.reached(self.follower.position()),
                Next::Confirm(position) => {
                    self.authenticator.set_current_until(row.state.as_of() + Authenticator::CURRENT);
                    row.state.confirmed(position, BootTime::now())
                }
                Next::Rest => return Ok(()),
                next => row.step(next, &self.authenticator).map_err(Halt::Unwritten)?,
            };
        }
    }

    /// Reads what is new; when this returns, it is in force.
    fn look(&mut self) -> Result<(), Halt> {
        let changes = self.follower.poll().map_err(Halt::Unread)?;
        if changes.is_empty() {
            return Ok(());
        }
        let (done, applied) = oneshot::channel();
        let order = Order::Apply(changes.into(), self.follower.position(), done);
        self.orders.send(order).map_err(|_| Halt::Stopping)?;
        applied.blocking_recv().map_err(|_| Halt::Stopping)
    }
}
