//! How many requests one worker sends to an upstream at once, shared fairly among keys and sources; others wait in a
//! queue.
//!
//! A request needs a permit before it gets a connection. An upstream that is slow, or a client that asks much, uses the
//! permits up, and the others wait in a queue that is bounded too. Nobody gets all of either: see [`may_take`].
//!
//! No lock: a limit lives on its worker's thread. It outlives the pools that a reload replaces, so that what still runs
//! in a former one counts.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use foldhash::fast::RandomState;

use super::prepared_upstream::Upstream;
use crate::config::Protocol;
use crate::model::{ClientSource, KeyId};

/// How much one holder may have, compared with what is left free.
#[derive(Clone, Copy)]
struct FairShare {
    /// This many times as much as is left free,
    weight: usize,
    /// without the last ones, which are for those who have none.
    last: usize,
}

/// What one key may have: two thirds of all if it is alone. Of the rest at least one is for other keys of its source, and
/// one for other sources.
const OF_KEY: FairShare = FairShare { weight: 2, last: 2 };
/// The same of one source with all its keys: eight ninths.
const OF_SOURCE: FairShare = FairShare { weight: 8, last: 1 };

/// Whether a holder that has `held` may have one more, if `free` are left.
///
/// A holder stops at a multiple of what is left. So something is always left for holders that have little, however many
/// have much.
fn may_take(held: usize, free: usize, share: FairShare) -> bool {
    if held == 0 { free > 0 } else { held < share.weight.saturating_mul(free.saturating_sub(share.last)) }
}

/// Who asks for a connection.
#[derive(Debug, Clone, Copy)]
pub struct Requester {
    /// The key, where the request has one.
    pub key: Option<KeyId>,
    /// Where it comes from.
    pub source: ClientSource,
}

/// Whose permits are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Holder {
    Key(KeyId),
    /// What comes from there without a key.
    Keyless(ClientSource),
    /// All that comes from there.
    Source(ClientSource),
}

/// How many permits and places in the queue a holder has.
#[derive(Default)]
struct Usage {
    permits: Cell<usize>,
    waiting: Cell<usize>,
}

/// The usage of the two holders that a request counts for: its key and its source.
#[derive(Clone)]
struct RequesterUsage {
    key: Rc<Usage>,
    source: Rc<Usage>,
}

impl RequesterUsage {
    fn may_take(&self, free: usize, count: impl Fn(&Usage) -> &Cell<usize>) -> bool {
        may_take(count(&self.key).get(), free, OF_KEY) && may_take(count(&self.source).get(), free, OF_SOURCE)
    }

    fn add(&self, count: impl Fn(&Usage) -> &Cell<usize>) {
        for cell in [count(&self.key), count(&self.source)] {
            cell.set(cell.get() + 1);
        }
    }

    fn take_away(&self, count: impl Fn(&Usage) -> &Cell<usize>) {
        for cell in [count(&self.key), count(&self.source)] {
            cell.set(cell.get() - 1);
        }
    }
}

/// One worker's requests at one upstream.
pub struct ConcurrencyLimit {
    upstream: String,
    protocol: Protocol,
    max_connections: Cell<usize>,
    max_waiting: Cell<usize>,
    /// What one connection carries at once.
    streams: Cell<usize>,
    permits: Cell<usize>,
    /// Shared connections that are open or being opened; see [`ConcurrencyLimit::reserve_connection`].
    connections: Cell<usize>,
    /// By a hash with a random seed that costs a third of the standard library's, as each request looks twice.
    usage_by_holder: RefCell<HashMap<Holder, Rc<Usage>, RandomState>>,
    waiting: RefCell<VecDeque<Rc<Waiter>>>,
}

/// The answer to a request for a permit.
pub enum PermitRequest {
    /// Here it is.
    Granted(Permit),
    /// It has to wait.
    Queued(QueuedRequest),
    /// Too many wait already.
    Full,
}

/// The permission to have one request at the upstream, until it is dropped.
pub struct Permit {
    limit: Rc<ConcurrencyLimit>,
    usage: RequesterUsage,
}

/// A place in the queue, given up when it is dropped.
pub struct QueuedRequest {
    limit: Rc<ConcurrencyLimit>,
    waiter: Rc<Waiter>,
}

struct Waiter {
    usage: RequesterUsage,
    permit: RefCell<Option<Permit>>,
    waker: RefCell<Option<Waker>>,
}

/// A shared connection counts until this is dropped.
pub(super) struct ConnectionReservation(Rc<ConcurrencyLimit>);

impl ConcurrencyLimit {
    fn new(upstream: String, protocol: Protocol) -> Rc<Self> {
        Rc::new(Self {
            upstream,
            protocol,
            max_connections: Cell::new(1),
            max_waiting: Cell::new(0),
            // of an HTTP/2 upstream too, until it has said more: what is given away is not taken back
            streams: Cell::new(1),
            permits: Cell::new(0),
            connections: Cell::new(0),
            usage_by_holder: RefCell::default(),
            waiting: RefCell::default(),
        })
    }

    fn set(self: &Rc<Self>, max_connections: usize, max_waiting: usize) {
        self.max_connections.set(max_connections);
        self.max_waiting.set(max_waiting);
        self.serve_queue();
    }

    fn free(&self) -> usize {
        let all = self.max_connections.get().saturating_mul(self.streams.get());
        all.saturating_sub(self.permits.get())
    }

    /// Asks for a permit. Nobody in the queue is overtaken: who waits there may have none now.
    pub fn request_permit(self: &Rc<Self>, requester: Requester) -> PermitRequest {
        let usage = self.usage_of(requester);
        if usage.may_take(self.free(), |used| &used.permits) {
            return PermitRequest::Granted(self.permit(usage));
        }
        let mut waiting = self.waiting.borrow_mut();
        let free = self.max_waiting.get().saturating_sub(waiting.len());
        if !usage.may_take(free, |used| &used.waiting) {
            return PermitRequest::Full;
        }
        usage.add(|used| &used.waiting);
        let waiter = Rc::new(Waiter { usage, permit: RefCell::default(), waker: RefCell::default() });
        waiting.push_back(Rc::clone(&waiter));
        PermitRequest::Queued(QueuedRequest { limit: Rc::clone(self), waiter })
    }

    fn usage_of(&self, requester: Requester) -> RequesterUsage {
        let Requester { key, source } = requester;
        let mut held = self.usage_by_holder.borrow_mut();
        let mut of = |holder| Rc::clone(held.entry(holder).or_default());
        RequesterUsage {
            key: of(key.map_or(Holder::Keyless(source), Holder::Key)),
            source: of(Holder::Source(source)),
        }
    }

    fn permit(self: &Rc<Self>, usage: RequesterUsage) -> Permit {
        self.permits.set(self.permits.get() + 1);
        usage.add(|used| &used.permits);
        Permit { limit: Rc::clone(self), usage }
    }

    /// Gives free permits to the queue: to the holder that has fewest, and among those to the one that has waited longest.
    fn serve_queue(self: &Rc<Self>) {
        loop {
            let mut waiting = self.waiting.borrow_mut();
            let free = self.free();
            if waiting.is_empty() || free == 0 {
                return;
            }
            let may_go = waiting
                .iter()
                .enumerate()
                .filter(|(_, waiter)| waiter.usage.may_take(free, |used| &used.permits));
            let Some((next, _)) = may_go.min_by_key(|(_, waiter)| waiter.usage.key.permits.get()) else {
                return;
            };
            let Some(waiter) = waiting.remove(next) else { return };
            drop(waiting);
            waiter.usage.take_away(|used| &used.waiting);
            waiter.permit.replace(Some(self.permit(waiter.usage.clone())));
            if let Some(waker) = waiter.waker.take() {
                waker.wake();
            }
        }
    }

    /// How many connections there may be; with HTTP/1.1 those that are kept idle among them.
    pub(super) fn max_connections(&self) -> usize {
        self.max_connections.get()
    }

    /// How many requests have a permit: with HTTP/1.1 each has a connection of its own, or is about to.
    pub(super) fn permits(&self) -> usize {
        self.permits.get()
    }

    /// Room for one more shared connection, unless there are as many as may be.
    pub(super) fn reserve_connection(self: &Rc<Self>) -> Option<ConnectionReservation> {
        let count = self.connections.get();
        (count < self.max_connections.get()).then(|| {
            self.connections.set(count + 1);
            ConnectionReservation(Rc::clone(self))
        })
    }

    /// How many requests the upstream takes at once on one connection.
    pub(super) fn set_streams(self: &Rc<Self>, streams: usize) {
        if self.streams.replace(streams) < streams {
            self.serve_queue();
        }
    }

    /// Forgets holders that have nothing any more.
    fn forget_idle_holders(&self) {
        self.usage_by_holder.borrow_mut().retain(|_, held| Rc::strong_count(held) > 1);
    }

    fn is_of(&self, upstream: &Upstream) -> bool {
        self.upstream == upstream.name && self.protocol == upstream.protocol
    }

    /// Connections that are open for requests, or about to be.
    fn in_use(&self) -> usize {
        match self.protocol {
            Protocol::Http1 => self.permits.get(),
            Protocol::Http2 => self.connections.get(),
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.usage.take_away(|used| &used.permits);
        self.limit.permits.set(self.limit.permits.get() - 1);
        self.limit.serve_queue();
    }
}

impl QueuedRequest {
    /// Waits for the permit.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Permit> {
        if let Some(permit) = self.waiter.permit.take() {
            return Poll::Ready(permit);
        }
        self.waiter.waker.replace(Some(cx.waker().clone()));
        Poll::Pending
    }
}

impl Drop for QueuedRequest {
    fn drop(&mut self) {
        let mut waiting = self.limit.waiting.borrow_mut();
        if let Some(at) = waiting.iter().position(|waiter| Rc::ptr_eq(waiter, &self.waiter)) {
            waiting.remove(at);
            self.waiter.usage.take_away(|used| &used.waiting);
        }
    }
}

impl Drop for ConnectionReservation {
    fn drop(&mut self) {
        self.0.connections.set(self.0.connections.get() - 1);
    }
}

/// One worker's limits.
#[derive(Default)]
pub struct ConcurrencyLimits {
    all: RefCell<Vec<Rc<ConcurrencyLimit>>>,
    /// What there is for all of them together.
    connections: Cell<usize>,
}

impl ConcurrencyLimits {
    /// The limits of these upstreams. `connections`: what the worker may have open to all of them. What is still in use
    /// of upstreams that a reload has taken out of the configuration counts.
    pub fn for_upstreams(
        &self,
        upstreams: &[Arc<Upstream>],
        connections: usize,
    ) -> Vec<Rc<ConcurrencyLimit>> {
        let limits: Vec<_> = upstreams.iter().map(|upstream| self.find_or_add(upstream)).collect();
        self.connections.set(connections);
        self.share_out(upstreams);
        limits
    }

    fn find_or_add(&self, upstream: &Upstream) -> Rc<ConcurrencyLimit> {
        let mut all = self.all.borrow_mut();
        if let Some(limit) = all.iter().find(|limit| limit.is_of(upstream)) {
            return Rc::clone(limit);
        }
        let limit = ConcurrencyLimit::new(upstream.name.clone(), upstream.protocol);
        all.push(Rc::clone(&limit));
        limit
    }

    fn share_out(&self, upstreams: &[Arc<Upstream>]) {
        let mut all = self.all.borrow_mut();
        all.retain(|limit| limit.in_use() > 0 || upstreams.iter().any(|upstream| limit.is_of(upstream)));
        let former = all.iter().filter(|limit| !upstreams.iter().any(|upstream| limit.is_of(upstream)));
        let left = self.connections.get().saturating_sub(former.map(|limit| limit.in_use()).sum());
        let wanted = upstreams.iter().map(|upstream| upstream.max_connections).fold(0, usize::saturating_add);
        let share = if wanted <= left { usize::MAX } else { (left / upstreams.len().max(1)).max(1) };
        for upstream in upstreams {
            for limit in all.iter().filter(|limit| limit.is_of(upstream)) {
                limit.set(upstream.max_connections.min(share), upstream.max_waiting);
            }
        }
    }

    /// Forgets limits and holders that are not used any more. To be called now and then, with the present upstreams.
    pub fn forget_unused(&self, upstreams: &[Arc<Upstream>]) {
        self.all.borrow().iter().for_each(|limit| limit.forget_idle_holders());
        if self.all.borrow().len() > upstreams.len() {
            self.share_out(upstreams);
        }
    }
}

#[cfg(test)]
mod tests;
