//! How the streams that nobody works on any more have ended: what still comes for one is judged by it (RFC 9113 §5.1).

/// The latest identifiers of clients' streams that are remembered. Of an older one nobody knows how it ended.
const REMEMBERED: usize = 256;

/// What a stream is that nobody works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Closed {
    /// It never began. If a later one has, the client passed it over.
    Idle,
    /// This side has ended it before the client had said all, and the client may not know yet. Or it was long ago.
    Early,
    /// The client has reset it.
    Reset,
    /// Both sides have said all.
    Whole,
}

/// What is known of the streams of one connection, in as much memory for few as for many.
pub(super) struct ClosedStreams {
    /// How many identifiers have been used or passed over.
    count: usize,
    latest: [Closed; REMEMBERED],
}

impl ClosedStreams {
    pub(super) fn new() -> Self {
        Self { count: 0, latest: [Closed::Idle; REMEMBERED] }
    }

    /// The highest identifier of a stream that has begun; 0 before the first.
    pub(super) fn last(&self) -> u32 {
        u32::try_from(self.count * 2).map_or(u32::MAX >> 1, |end| end.saturating_sub(1))
    }

    /// A stream with a higher, odd identifier than all before it begins. Those passed over never will.
    pub(super) fn begin(&mut self, id: u32) {
        let at = id as usize / 2;
        for passed_over in self.count.max(at.saturating_sub(REMEMBERED))..at {
            self.latest[passed_over % REMEMBERED] = Closed::Idle;
        }
        self.latest[at % REMEMBERED] = Closed::Early;
        self.count = at + 1;
    }

    /// A stream has ended otherwise than [early](Closed::Early).
    pub(super) fn end(&mut self, id: u32, how: Closed) {
        let at = id as usize / 2;
        if self.count - at <= REMEMBERED {
            self.latest[at % REMEMBERED] = how;
        }
    }

    /// How a stream has ended that nobody works on.
    pub(super) fn of(&self, id: u32) -> Closed {
        let at = id as usize / 2;
        if id.is_multiple_of(2) || at >= self.count {
            Closed::Idle
        } else if self.count - at > REMEMBERED {
            Closed::Early
        } else {
            self.latest[at % REMEMBERED]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stream_is_what_became_of_it() {
        let mut closed = ClosedStreams::new();
        assert_eq!((closed.last(), closed.of(1), closed.of(2)), (0, Closed::Idle, Closed::Idle));
        for id in [3, 5, 11] {
            closed.begin(id);
        }
        closed.end(3, Closed::Whole);
        closed.end(11, Closed::Reset);
        let all: Vec<_> = [1, 2, 3, 5, 7, 9, 10, 11, 13].iter().map(|id| closed.of(*id)).collect();
        let (idle, early) = (Closed::Idle, Closed::Early);
        assert_eq!(all, [idle, idle, Closed::Whole, early, idle, idle, idle, Closed::Reset, idle]);
        assert_eq!(closed.last(), 11);
    }

    #[test]
    fn what_is_long_ago_is_treated_as_what_this_side_has_ended() {
        let mut closed = ClosedStreams::new();
        let oldest = |last: u32| last + 2 - 2 * u32::try_from(REMEMBERED).unwrap();
        for id in (1..=2001).step_by(2) {
            closed.begin(id);
            closed.end(id, Closed::Whole);
        }
        assert_eq!((closed.of(oldest(2001)), closed.of(oldest(2001) - 2)), (Closed::Whole, Closed::Early));
        // a late word on such a one changes nothing about those that share its place
        closed.end(oldest(2001) - 2, Closed::Reset);
        assert_eq!((closed.of(2001), closed.of(oldest(2001) - 2)), (Closed::Whole, Closed::Early));
        // as many passed over as are remembered, and more
        for last in [2201, 1 << 30 | 1, u32::MAX >> 1] {
            closed.begin(last);
            assert_eq!(
                (closed.last(), closed.of(last), closed.of(last - 2)),
                (last, Closed::Early, Closed::Idle)
            );
            assert_eq!(closed.of(oldest(last) - 2), Closed::Early);
        }
    }
}
