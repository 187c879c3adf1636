//! Follows the store's change log: a thread that looks every 50 ms, so that what the command line wrote is in force
//! well within half a second.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::control::Order;
use crate::auth::Authenticator;
use crate::store::Follower;
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

/// Starts to follow; what is known counts as fresh from now on.
pub(super) fn spawn(
    follower: Follower,
    authenticator: Arc<Authenticator>,
    max_staleness: Duration,
    orders: mpsc::UnboundedSender<Order>,
    (tell, told): (Sender<Told>, Receiver<Told>),
) -> io::Result<Following> {
    authenticator.set_fresh_until(Instant::now() + max_staleness);
    let thread = std::thread::Builder::new().name("follower".to_owned()).spawn(move || {
        follow(follower, &authenticator, max_staleness, &orders, &told);
    })?;
    Ok(Following { tell, thread })
}

fn follow(
    mut follower: Follower,
    authenticator: &Authenticator,
    max_staleness: Duration,
    orders: &mpsc::UnboundedSender<Order>,
    told: &Receiver<Told>,
) {
    let alarm = Alarm::default();
    let mut fresh_until = Instant::now() + max_staleness;
    while matches!(told.recv_timeout(INTERVAL), Ok(Told::Look) | Err(RecvTimeoutError::Timeout)) {
        // one look sees what all of them have written
        if told.try_iter().any(|told| matches!(told, Told::Stop)) {
            return;
        }
        // counted from before the look: what is written afterwards may be missed by it
        let before = Instant::now();
        match follower.poll() {
            Ok(changes) => {
                if !changes.is_empty() {
                    let (done, applied) = oneshot::channel();
                    let sent = orders.send(Order::Apply(changes.into(), done));
                    // an error means that the gateway is stopping
                    if sent.is_err() || applied.blocking_recv().is_err() {
                        return;
                    }
                }
                // a backlog that takes more than one look says that what is known is still old
                if follower.is_caught_up() {
                    fresh_until = before + max_staleness;
                    authenticator.set_fresh_until(fresh_until);
                }
                if alarm.ends() {
                    tracing::info!("the store can be followed again");
                }
            }
            Err(error) => {
                if alarm.rings() {
                    match fresh_until.saturating_duration_since(Instant::now()).as_secs() {
                        0 => tracing::error!(%error, "cannot follow the store: every key is answered 503"),
                        left => tracing::error!(
                            %error,
                            "cannot follow the store: in {left} seconds every key will be answered 503"
                        ),
                    }
                }
            }
        }
    }
}
