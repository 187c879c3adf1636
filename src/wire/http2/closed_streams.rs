//! How recent streams have ended: this decides what a frame means that still comes for one (RFC 9113 §5.1).

/// How many of the latest streams are remembered.
const REMEMBERED: usize = 256;

/// How a stream has ended that is not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClosedState {
    /// It never began. The client may have skipped its identifier.
    Idle,
    /// The gateway ended it before the client had sent everything, and the client may not know yet. Or it is too old to be
    /// remembered.
    EndedHere,
    /// The client has reset it.
    Reset,
    /// Both sides have sent everything.
    Complete,
}

/// What is known of the closed streams of one connection, in constant memory.
pub(super) struct ClosedStreams {
    /// How many identifiers have been used or skipped.
    count: usize,
    latest: [ClosedState; REMEMBERED],
}

impl ClosedStreams {
    pub(super) fn new() -> Self {
        Self { count: 0, latest: [ClosedState::Idle; REMEMBERED] }
    }

    /// The highest identifier of a stream that has begun; 0 before the first.
    pub(super) fn last(&self) -> u32 {
        u32::try_from(self.count * 2).map_or(u32::MAX >> 1, |end| end.saturating_sub(1))
    }

    /// A stream begins, with an odd identifier higher than all before. Identifiers in between are skipped for ever.
    pub(super) fn begin(&mut self, id: u32) {
        let at = id as usize / 2;
        for skipped in self.count.max(at.saturating_sub(REMEMBERED))..at {
            self.latest[skipped % REMEMBERED] = ClosedState::Idle;
        }
        self.latest[at % REMEMBERED] = ClosedState::EndedHere;
        self.count = at + 1;
    }

    /// Notes how a stream has ended, if not [here](ClosedState::EndedHere).
    pub(super) fn end(&mut self, id: u32, how: ClosedState) {
        let at = id as usize / 2;
        if self.count - at <= REMEMBERED {
            self.latest[at % REMEMBERED] = how;
        }
    }

    /// How a stream that is not open has ended.
    pub(super) fn of(&self, id: u32) -> ClosedState {
        let at = id as usize / 2;
        if id.is_multiple_of(2) || at >= self.count {
            ClosedState::Idle
        } else if self.count - at > REMEMBERED {
            ClosedState::EndedHere
        } else {
            self.latest[at % REMEMBERED]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_closed_stream_is_remembered_by_how_it_ended() {
        let mut closed = ClosedStreams::new();
        assert_eq!((closed.last(), closed.of(1), closed.of(2)), (0, ClosedState::Idle, ClosedState::Idle));
        for id in [3, 5, 11] {
            closed.begin(id);
        }
        closed.end(3, ClosedState::Complete);
        closed.end(11, ClosedState::Reset);
        let all: Vec<_> = [1, 2, 3, 5, 7, 9, 10, 11, 13].iter().map(|id| closed.of(*id)).collect();
        let (idle, early) = (ClosedState::Idle, ClosedState::EndedHere);
        assert_eq!(
            all,
            [idle, idle, ClosedState::Complete, early, idle, idle, idle, ClosedState::Reset, idle]
        );
        assert_eq!(closed.last(), 11);
    }

    #[test]
    fn streams_of_long_ago_count_as_ended_by_the_gateway() {
        let mut closed = ClosedStreams::new();
        let oldest = |last: u32| last + 2 - 2 * u32::try_from(REMEMBERED).unwrap();
        for id in (1..=2001).step_by(2) {
            closed.begin(id);
            closed.end(id, ClosedState::Complete);
        }
        assert_eq!(
            (closed.of(oldest(2001)), closed.of(oldest(2001) - 2)),
            (ClosedState::Complete, ClosedState::EndedHere)
        );
        // a late word on such a one changes nothing about those that share its place
        closed.end(oldest(2001) - 2, ClosedState::Reset);
        assert_eq!(
            (closed.of(2001), closed.of(oldest(2001) - 2)),
            (ClosedState::Complete, ClosedState::EndedHere)
        );
        // as many passed over as are remembered, and more
        for last in [2201, 1 << 30 | 1, u32::MAX >> 1] {
            closed.begin(last);
            assert_eq!(
                (closed.last(), closed.of(last), closed.of(last - 2)),
                (last, ClosedState::EndedHere, ClosedState::Idle)
            );
            assert_eq!(closed.of(oldest(last) - 2), ClosedState::EndedHere);
        }
    }
}
