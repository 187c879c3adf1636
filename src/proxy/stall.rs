//! Whether the other side of a connection still takes bytes.

use std::future::poll_fn;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::streams::{Interrupt, OpenStream};
use crate::wire::{Peer, TcpProgress};

/// How often within its time a side is looked at: it is cut late by this part at most.
const LOOKS: u32 = 8;
/// A reader's system acknowledges in steps: where its buffer was full, only when much of it has been read, over loopback
/// all of it. So its silence lasts longer than its reader's.
const GRACE: Duration = Duration::from_secs(3);
/// How many times as long a side may be silent that has been seen to take bytes: its steps may be large.
const STEADY: u32 = 2;

/// Measures the time in which the other side takes no byte at all: what it has acknowledged counts, not what the kernel
/// had room for. To be looked at when a deadline falls due; while bytes move, it costs nothing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stall {
    limit: Duration,
    /// The last moment at which it is known to have taken something, or nothing was there to take.
    since: Instant,
    /// What it had acknowledged at the last look.
    acknowledged: Option<u64>,
    /// What was on its way at the first look since bytes have moved. What others send later on the same connection is no
    /// progress.
    until: Option<u64>,
    /// It has acknowledged something between two looks.
    is_steady: bool,
}

impl Stall {
    /// Begins now; the other side may take nothing for so long.
    pub(super) fn new(limit: Duration, now: Instant) -> Self {
        Self { limit, since: now, acknowledged: None, until: None, is_steady: false }
    }

    /// Bytes have moved, which begins the time anew.
    pub(super) fn moved(&mut self, limit: Duration, now: Instant) {
        (self.limit, self.since, self.until) = (limit, now, None);
    }

    /// When to look first.
    pub(super) fn first_look(limit: Duration) -> Duration {
        limit / LOOKS
    }

    /// A deadline has fallen due: when to look again. `None`: it has taken nothing for as long as it may. Where the
    /// `progress` is not known, it counts as none.
    pub(super) fn look(&mut self, now: Instant, progress: Option<TcpProgress>) -> Option<Duration> {
        let mut is_whole = true;
        if let Some(TcpProgress { acknowledged, waiting }) = progress {
            // at the first look it may have taken some up to this moment
            let is_first = self.until.is_none();
            let until = *self.until.get_or_insert(acknowledged + u64::from(waiting));
            let acknowledged = acknowledged.min(until);
            let before = self.acknowledged.replace(acknowledged);
            let has_taken = before.is_some_and(|before| acknowledged > before);
            self.is_steady |= has_taken;
            if has_taken || (is_first && waiting > 0) {
                self.since = now;
            }
            is_whole = acknowledged == until;
        }
        let limit = match (is_whole, self.is_steady) {
            (true, _) => self.limit,
            (false, false) => self.limit + GRACE,
            (false, true) => (self.limit + GRACE).max(self.limit * STEADY),
        };
        let left = limit.checked_sub(now.saturating_duration_since(self.since))?;
        let next = if is_whole { left } else { left.min(self.limit / LOOKS) };
        (!left.is_zero()).then_some(next)
    }
}

/// Writes out what waits, as long as the other side takes any of it: not one byte for the time of `limit` ends it.
pub(super) async fn flush(peer: &mut Peer, stream: &OpenStream, limit: Duration) -> bool {
    // once before anything can interrupt it: the last word should leave though the gateway stops
    if let Poll::Ready(flushed) = poll_fn(|cx| Poll::Ready(peer.poll_flush(cx))).await {
        return flushed.is_ok();
    }
    let mut stall = Stall::new(limit, stream.about_now());
    let mut unsent = peer.unsent();
    stream.set_deadline(Stall::first_look(limit));
    loop {
        match stream.run_through(poll_fn(|cx| peer.poll_flush(cx))).await {
            Ok(flushed) => return flushed.is_ok(),
            Err(Interrupt::Deadline) => {}
            Err(_) => return false,
        }
        if std::mem::replace(&mut unsent, peer.unsent()) != unsent {
            stall.moved(limit, stream.about_now());
        }
        let Some(next) = stall.look(stream.about_now(), peer.progress()) else { return false };
        stream.set_deadline(next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(8);

    fn at(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    fn look(stall: &mut Stall, now: Instant, acknowledged: u64, waiting: u32) -> Option<Duration> {
        stall.look(now, Some(TcpProgress { acknowledged, waiting }))
    }

    #[test]
    fn who_takes_a_byte_now_and_then_is_never_cut() {
        let start = Instant::now();
        let mut stall = Stall::new(LIMIT, start);
        for second in 1..1000 {
            // at first one byte each second, then each fifteen seconds
            let acknowledged = if second < 4 { second } else { 4 + second / 15 };
            let next = look(&mut stall, at(start, second), acknowledged, 5000);
            assert_eq!(next, Some(Duration::from_secs(1)), "after {second} s");
            if second == 5 {
                stall.moved(LIMIT, at(start, second));
            }
        }
    }

    #[test]
    fn who_takes_nothing_is_cut_in_time() {
        let start = Instant::now();
        let mut stall = Stall::new(LIMIT, start);
        for second in 1..12 {
            assert!(look(&mut stall, at(start, second), 7, 5000).is_some(), "after {second} s");
        }
        assert_eq!(look(&mut stall, at(start, 12), 7, 5000), None);
    }

    #[test]
    fn with_nothing_on_its_way_the_limit_is_the_limit() {
        let start = Instant::now();
        for known in [Some(TcpProgress { acknowledged: 7, waiting: 0 }), None] {
            let mut stall = Stall::new(LIMIT, start);
            assert_eq!(stall.look(at(start, 1), known), Some(Duration::from_secs(7)));
            assert_eq!(stall.look(at(start, 8), known), None);
        }
    }

    #[test]
    fn what_others_send_on_the_same_connection_is_no_progress() {
        let start = Instant::now();
        let mut stall = Stall::new(LIMIT, start);
        assert!(look(&mut stall, at(start, 1), 0, 100).is_some());
        assert!(look(&mut stall, at(start, 2), 5000, 100).is_some());
        // 100 bytes were on their way at the first look, all taken at the second
        assert!(look(&mut stall, at(start, 9), 90_000, 100).is_some());
        assert_eq!(look(&mut stall, at(start, 10), 99_000, 100), None);
    }
}
