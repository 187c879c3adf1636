//! What a worker has open, so that it can be interrupted: when its time is up, when its key loses a right, when the
//! gateway stops.
//!
//! Timeouts are looked at on a tick, not armed one by one: a timer for each step of each request would cost more
//! than the steps. A connection (HTTP/1.1) or a stream (HTTP/2) registers once and then only writes a cell.

use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use slab::Slab;
use tokio::sync::Notify;

use crate::auth::{Authenticator, Identity};
use crate::store::{Change, Subject};

/// How often a worker looks at what is open. Timeouts are late by this much at most.
pub(super) const TICK: Duration = Duration::from_millis(100);

/// Why a running step was interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Interrupt {
    /// The step's time is up.
    Deadline,
    /// Something about the key or its owner has changed: what it may do must be decided again.
    Changed,
    /// The gateway is stopping: begin nothing new.
    Drain,
    /// The gateway closes what is open.
    Close,
}

/// All that a worker has open.
pub(super) struct OpenStreams {
    open: RefCell<Slab<Rc<StreamState>>>,
    started: Instant,
    /// Milliseconds since the worker started, as of the last tick.
    now: Cell<u64>,
    /// How many changes have been looked at; see [`OpenStreams::changes_seen`].
    changes: Cell<u64>,
    decided: Notify,
    /// Tells whether what is known of keys may still be acted on.
    authenticator: Arc<Authenticator>,
}

struct StreamState {
    /// In milliseconds since the worker started; `u64::MAX`: none.
    deadline: Cell<u64>,
    interrupt: Cell<Option<Interrupt>>,
    waker: RefCell<Option<Waker>>,
    identity: RefCell<Option<Arc<Identity>>>,
    /// A change concerns it, and whether it may go on has not been decided yet.
    undecided: Cell<bool>,
    idle: Cell<bool>,
    /// For an HTTP/2 stream: its connection.
    connection: Option<Rc<StreamState>>,
    /// For an HTTP/2 connection: how many streams are open on it.
    stream_count: Cell<u32>,
}

/// One open connection or stream; dropping it takes it off the list.
pub(super) struct OpenStream {
    streams: Rc<OpenStreams>,
    open: Rc<StreamState>,
    at: usize,
}

impl OpenStreams {
    pub(super) fn new(authenticator: Arc<Authenticator>) -> Rc<Self> {
        Rc::new(Self {
            authenticator,
            open: RefCell::default(),
            started: Instant::now(),
            now: Cell::new(0),
            changes: Cell::new(0),
            decided: Notify::new(),
        })
    }

    /// Adds a connection.
    pub(super) fn open_connection(self: &Rc<Self>) -> OpenStream {
        self.insert(None)
    }

    fn insert(self: &Rc<Self>, connection: Option<Rc<StreamState>>) -> OpenStream {
        if let Some(connection) = &connection {
            connection.stream_count.set(connection.stream_count.get() + 1);
        }
        let open = Rc::new(StreamState {
            deadline: Cell::new(u64::MAX),
            interrupt: Cell::new(None),
            waker: RefCell::new(None),
            identity: RefCell::new(None),
            undecided: Cell::new(false),
            idle: Cell::new(false),
            connection,
            stream_count: Cell::new(0),
        });
        let at = self.open.borrow_mut().insert(Rc::clone(&open));
        OpenStream { streams: Rc::clone(self), open, at }
    }

    /// Looks at the clock and interrupts whose time is up.
    pub(super) fn tick(&self) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.now.set(now);
        for (_, open) in self.open.borrow().iter() {
            if open.deadline.get() <= now {
                open.deadline.set(u64::MAX);
                open.interrupt(Interrupt::Deadline);
            }
        }
    }

    /// Interrupts every stream that one of the changes is about. Returns when for each it is decided whether it goes on.
    pub(super) async fn apply(&self, changes: &[Change]) {
        self.changes.set(self.changes.get() + 1);
        let affected: Vec<Rc<StreamState>> =
            self.open
                .borrow()
                .iter()
                .filter(|(_, open)| {
                    open.identity.borrow().as_deref().is_some_and(|identity| {
                        changes.iter().any(|change| concerns(&change.subject, identity))
                    })
                })
                .map(|(_, open)| Rc::clone(open))
                .collect();
        for open in &affected {
            open.undecided.set(true);
            open.interrupt(Interrupt::Changed);
        }
        // one thread: nothing can be decided between the look and the wait
        while affected.iter().any(|open| open.undecided.get()) {
            self.decided.notified().await;
        }
    }

    /// Interrupts every stream that is open for a key, because what is known of keys may be out of date.
    pub(super) fn recheck_keys(&self) {
        for (_, open) in self.open.borrow().iter().filter(|(_, open)| open.identity.borrow().is_some()) {
            open.interrupt(Interrupt::Changed);
        }
    }

    /// Changes whenever streams were interrupted because of changes. An identity that was obtained while this moved
    /// may have missed them.
    pub(super) fn changes_seen(&self) -> u64 {
        self.changes.get()
    }

    /// Interrupts what only waits for a next request: none is taken any more.
    pub(super) fn drain(&self) {
        for (_, open) in self.open.borrow().iter().filter(|(_, open)| open.idle.get()) {
            open.interrupt(Interrupt::Drain);
        }
    }

    /// Ends what is open, but for connections that carry streams: they must outlive them, so that the last bytes of
    /// the streams can leave.
    pub(super) fn close_requests(&self) {
        self.close(|open| open.stream_count.get() == 0);
    }

    /// Ends everything that is open.
    pub(super) fn close_all(&self) {
        self.close(|_| true);
    }

    fn close(&self, which: impl Fn(&StreamState) -> bool) {
        for (_, open) in self.open.borrow().iter().filter(|(_, open)| which(open)) {
            open.interrupt(Interrupt::Close);
        }
    }

    /// Whether nothing is open.
    pub(super) fn is_empty(&self) -> bool {
        self.open.borrow().is_empty()
    }
}

/// Whether a change may alter what this identity may do.
fn concerns(subject: &Subject, identity: &Identity) -> bool {
    let principal = &identity.principal;
    match subject {
        Subject::Key { id, .. } => principal.key.id == *id,
        Subject::Account(account) | Subject::Membership { account, .. } => {
            matches!(&principal.owner, crate::model::Owner::Account { account: owner, .. } if owner.id == *account)
        }
        // closes the environment to every key, admins' too
        Subject::Environment(_) | Subject::Everything => true,
    }
}

impl StreamState {
    fn interrupt(&self, interrupt: Interrupt) {
        // to close is final; a deadline must not be forgotten for a change that turns out harmless
        match (self.interrupt.get(), interrupt) {
            (Some(Interrupt::Close), _)
            | (Some(Interrupt::Deadline | Interrupt::Drain), Interrupt::Changed) => {}
            _ => self.interrupt.set(Some(interrupt)),
        }
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }

    fn poll_interrupt(&self, cx: &Context<'_>) -> Poll<Interrupt> {
        if let Some(interrupt) = self.interrupt.take() {
            if interrupt == Interrupt::Close {
                self.interrupt.set(Some(interrupt));
            }
            return Poll::Ready(interrupt);
        }
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl OpenStream {
    /// The time from now on after which the running step is interrupted.
    pub(super) fn set_deadline(&self, after: Duration) {
        // the clock stands between ticks: one more, so that nothing is ever early
        let after = u64::try_from((after + TICK).as_millis()).unwrap_or(u64::MAX);
        self.open.deadline.set(self.streams.now.get().saturating_add(after));
        self.forget_deadline();
    }

    /// The time as of the worker's last tick: up to [`TICK`] ago.
    pub(super) fn coarse_now(&self) -> Instant {
        self.streams.started + Duration::from_millis(self.streams.now.get())
    }

    /// The running step may take as long as it likes.
    pub(super) fn clear_deadline(&self) {
        self.open.deadline.set(u64::MAX);
        self.forget_deadline();
    }

    /// Forgets a deadline that has passed: it was for the step before.
    fn forget_deadline(&self) {
        if self.open.interrupt.get() == Some(Interrupt::Deadline) {
            self.open.interrupt.set(None);
        }
    }

    /// Says whose key it is open for from now on. Whether that key may do so has just been decided.
    pub(super) fn set_identity(&self, identity: Option<Arc<Identity>>) {
        *self.open.identity.borrow_mut() = identity;
        self.decided();
    }

    fn decided(&self) {
        if self.open.undecided.take() {
            self.streams.decided.notify_waiters();
        }
    }

    /// Adds a stream of this connection.
    pub(super) fn open_stream(&self) -> OpenStream {
        self.streams.insert(Some(Rc::clone(&self.open)))
    }

    /// How many streams are open on this connection.
    pub(super) fn stream_count(&self) -> u32 {
        self.open.stream_count.get()
    }

    /// Marks it as waiting for a next request: closed first when the gateway stops.
    pub(super) fn set_idle(&self, idle: bool) {
        self.open.idle.set(idle);
    }

    /// Runs a step that no change to a key interrupts: only a deadline and the gateway's end do.
    pub(super) async fn run_ignoring_changes<F: Future>(&self, step: F) -> Result<F::Output, Interrupt> {
        let mut step = pin!(step);
        std::future::poll_fn(|cx| self.poll_ignoring_changes(cx, |cx| step.as_mut().poll(cx))).await
    }

    /// As [`run_ignoring_changes`](Self::run_ignoring_changes), within a poll.
    pub(super) fn poll_ignoring_changes<T>(
        &self,
        cx: &mut Context<'_>,
        step: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<Result<T, Interrupt>> {
        while let Poll::Ready(interrupt) = self.open.poll_interrupt(cx) {
            if interrupt != Interrupt::Changed {
                return Poll::Ready(Err(interrupt));
            }
            self.decided();
        }
        step(cx).map(Ok)
    }

    /// Runs `step` until it is done or interrupted.
    ///
    /// Before each of its moves but the first, before which the caller looks, the lease is looked at. The tick looks
    /// too, for what does not move; but when the whole process stood still for a while (SIGSTOP, a paused machine),
    /// bytes may be ready before the tick is.
    pub(super) async fn run<F: Future>(&self, step: F) -> Result<F::Output, Interrupt> {
        let mut has_moved = false;
        let mut step = pin!(step);
        std::future::poll_fn(|cx| {
            if let Poll::Ready(interrupt) = self.open.poll_interrupt(cx) {
                return Poll::Ready(Err(interrupt));
            }
            if std::mem::replace(&mut has_moved, true)
                && self.open.identity.borrow().is_some()
                && !self.streams.authenticator.has_lease()
            {
                return Poll::Ready(Err(Interrupt::Changed));
            }
            step.as_mut().poll(cx).map(Ok)
        })
        .await
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.decided();
        if let Some(connection) = &self.open.connection {
            connection.stream_count.set(connection.stream_count.get() - 1);
        }
        self.streams.open.borrow_mut().remove(self.at);
    }
}
