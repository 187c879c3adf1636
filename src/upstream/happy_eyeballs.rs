//! New connections for a request that finds none kept: to one destination, and to another one beside it where that takes
//! long.
//!
//! An address that swallows what is sent there, such as one of a family that is not routed, shows nothing before
//! `timeouts.upstream_connect` is over. No request waits for that as long as there is another address (RFC 8305, "Happy
//! Eyeballs", for all addresses of an upstream).

use std::future::{pending, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::connect::ConnectError;
use super::destination::{Destination, InFlight};
use super::http2_connections::ConnectionId;
use super::pool::{AcquiredConnection, Connection, ExcludedConnections, Pool};

/// How long a connection may take until another one is tried beside it (RFC 8305 §5).
const PATIENCE: Duration = Duration::from_millis(250);

/// What an attempt came to. `bool`: whether another request had opened the connection.
type Opened = (InFlight, Result<(Connection, bool), ConnectError>);

/// A connection that is being opened.
struct Attempt {
    to: Rc<Destination>,
    opening: Pin<Box<dyn Future<Output = Opened>>>,
}

impl Pool {
    /// Opens a connection to where `first` goes, or to another one if that fails or takes long. `tried`: where the request
    /// does not go.
    pub(super) async fn open_somewhere(
        self: &Rc<Self>,
        first: InFlight,
        excluded: &ExcludedConnections,
        mut tried: Vec<Rc<Destination>>,
        may_be_lost: bool,
    ) -> Result<AcquiredConnection, ConnectError> {
        let not_on = excluded.connection();
        tried.push(Rc::clone(&first.destination));
        let mut attempts = vec![self.attempt(first, not_on)];
        let mut last = ConnectError::AllInUse;
        let mut may_be_more = true;
        loop {
            match next_of(&mut attempts, may_be_more.then_some(PATIENCE)).await {
                Some((in_flight, Ok((connection, is_reused)))) => {
                    self.finish_in_background(attempts);
                    return Ok(AcquiredConnection { in_flight, is_reused, connection });
                }
                // not the endpoint's fault, and the best there is
                Some((mut in_flight, Err(ConnectError::AllInUse))) => {
                    if let Some(connection) = self.take_kept(&mut in_flight, None) {
                        self.finish_in_background(attempts);
                        return Ok(AcquiredConnection { in_flight, is_reused: true, connection });
                    }
                }
                Some((in_flight, Err(error))) => {
                    self.connect_failed(&in_flight, &error);
                    last = error;
                }
                None => {}
            }
            // beside one that is slow only those that are well
            let Some(mut in_flight) = self.balancer.choose(&tried, may_be_lost, attempts.is_empty()) else {
                if attempts.is_empty() {
                    return Err(last);
                }
                may_be_more = false;
                continue;
            };
            // meanwhile others need not wait for the slow ones
            for slow in &attempts {
                slow.to.state.pause();
            }
            if !matches!(excluded, ExcludedConnections::Kept)
                && let Some(connection) = self.take_kept(&mut in_flight, not_on)
            {
                self.finish_in_background(attempts);
                return Ok(AcquiredConnection { in_flight, is_reused: true, connection });
            }
            tried.push(Rc::clone(&in_flight.destination));
            attempts.push(self.attempt(in_flight, not_on));
        }
    }

    fn attempt(self: &Rc<Self>, mut in_flight: InFlight, not_on: Option<&ConnectionId>) -> Attempt {
        let (pool, not_on, to) = (Rc::clone(self), not_on.cloned(), Rc::clone(&in_flight.destination));
        let opening = Box::pin(async move {
            let opened = pool.open_or_wait(&mut in_flight, not_on.as_ref()).await;
            (in_flight, opened)
        });
        Attempt { to, opening }
    }

    /// Connections that came too late for their request are kept for others. What fails is told of.
    fn finish_in_background(self: &Rc<Self>, attempts: Vec<Attempt>) {
        for attempt in attempts {
            let pool = Rc::clone(self);
            tokio::task::spawn_local(async move {
                match attempt.opening.await {
                    (in_flight, Ok((Connection::Http1(peer), _))) => {
                        pool.give_back(peer, &in_flight, Instant::now());
                    }
                    // it is kept already
                    (_, Ok((Connection::Http2(_), _)) | Err(ConnectError::AllInUse)) => {}
                    (in_flight, Err(error)) => pool.connect_failed(&in_flight, &error),
                }
            });
        }
    }
}

/// Takes out the first attempt that ends; `None`: none has in this time.
async fn next_of(attempts: &mut Vec<Attempt>, patience: Option<Duration>) -> Option<Opened> {
    let mut slow = pin!(async {
        match patience {
            Some(patience) => tokio::time::sleep(patience).await,
            None => pending().await,
        }
    });
    poll_fn(|cx| {
        for at in 0..attempts.len() {
            if let Poll::Ready(opened) = attempts[at].opening.as_mut().poll(cx) {
                drop(attempts.remove(at));
                return Poll::Ready(Some(opened));
            }
        }
        slow.as_mut().poll(cx).map(|()| None)
    })
    .await
}
