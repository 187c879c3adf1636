//! Follows the store's change log: a thread that looks every 50 ms, so that what the command line wrote is in force
//! well within half a second.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::control::Order;
use crate::auth::Authenticator;
use crate::store::{BootTime, ChangeNumber, Follower, Presence};
use crate::telemetry::Alarm;

/// How often it looks.
const INTERVAL: Duration = Duration::from_millis(50);

/// The following thread.
pub(super) struct Following {
    tell: Sender<Told>,
    thread: JoinHandle<()>,
}

impl Following {
    /// Ends it. Blocks for a moment.
    pub(super) fn stop(self) {
        // an error means that it has ended by itself
        let _ = self.tell.send(Told::Stop);
        if self.thread.join().is_err() {
            tracing::error!("the thread that follows the store panicked");
        }
    }
}

/// What the following thread can be told.
pub(super) enum Told {
    /// Somebody has just made a change: look now.
    Look,
    /// End.
    Stop,
}

/// What a follower works with.
pub(super) struct Follow {
    pub(super) follower: Follower,
    pub(super) authenticator: Arc<Authenticator>,
    pub(super) max_staleness: Duration,
    pub(super) orders: mpsc::UnboundedSender<Order>,
    /// This gateway's row, where the file is the record itself. Where it is a replica, what is read here is only as
    /// new as what [`super::lease`] brings, and that says how long it holds.
    pub(super) presence: Option<Presence>,
}

/// Starts to follow.
pub(super) fn spawn(follow: Follow, (tell, told): (Sender<Told>, Receiver<Told>)) -> io::Result<Following> {
    let thread = std::thread::Builder::new().name("follower".to_owned()).spawn(move || follow.run(&told))?;
    Ok(Following { tell, thread })
}

impl Follow {
    fn run(mut self, told: &Receiver<Told>) {
        let (alarm, presence_alarm) = (Alarm::default(), Alarm::default());
        let mut fresh_until = BootTime::now() + self.max_staleness;
        // written when the gateway began: an acknowledgement is due at once
        let mut confirmed: Option<(ChangeNumber, BootTime)> = None;
        loop {
            if let Some(presence) = &mut self.presence {
                let (number, now) = (self.follower.head(), BootTime::now());
                let is_due = confirmed.is_none_or(|(known, next)| known != number || now >= next);
                if is_due {
                    match presence.renew(number) {
                        Ok(()) => {
                            confirmed = Some((number, now + self.max_staleness / 3));
                            presence_alarm.ends();
                        }
                        Err(error) => {
                            // nobody who changes something is told that it is in force here; it is all the same
                            if presence_alarm.rings() {
                                tracing::warn!(%error, "cannot say in the store that this gateway is there");
                            }
                        }
                    }
                }
            }
            if !matches!(told.recv_timeout(INTERVAL), Ok(Told::Look) | Err(RecvTimeoutError::Timeout)) {
                break;
            }
            // one look sees what all of them have written
            if told.try_iter().any(|told| matches!(told, Told::Stop)) {
                break;
            }
            // counted from before the look: what is written afterwards may be missed by it
            let before = BootTime::now();
            match self.follower.poll() {
                Ok(changes) => {
                    if !changes.is_empty() {
                        let (done, applied) = oneshot::channel();
                        let sent =
                            self.orders.send(Order::Apply(changes.into(), self.follower.position(), done));
                        // an error means that the gateway is stopping
                        if sent.is_err() || applied.blocking_recv().is_err() {
                            break;
                        }
                    }
                    // a backlog that takes more than one look says that what is known is still old
                    if self.presence.is_some() && self.follower.is_caught_up() {
                        fresh_until = before + self.max_staleness;
                        read_at(&self.authenticator, before, self.max_staleness);
                    }
                    if alarm.ends() {
                        tracing::info!("the store can be followed again");
                    }
                }
                Err(error) => {
                    if alarm.rings() {
                        match fresh_until.remaining().as_secs() {
                            0 => {
                                tracing::error!(%error, "cannot follow the store: every key is answered 503");
                            }
                            left => tracing::error!(
                                %error,
                                "cannot follow the store: in {left} seconds every key will be answered 503"
                            ),
                        }
                    }
                }
            }
        }
        if let Some(presence) = &mut self.presence
            && let Err(error) = presence.end()
        {
            tracing::warn!(%error, "cannot say in the store that this gateway is gone");
        }
    }
}

/// An embedded store was read to its end, and all of it is in force: at this moment that was the newest.
pub(super) fn read_at(authenticator: &Authenticator, moment: BootTime, max_staleness: Duration) {
    authenticator.set_current_until(moment + Authenticator::CURRENT);
    authenticator.set_fresh_until(moment + max_staleness);
}
