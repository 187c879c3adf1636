//! What a gateway does to keep up with the record, and until when it may act on what it has: the decisions alone,
//! without I/O and without a clock, so that `tests/simulation` drives the very same ones.
//!
//! The order makes the promise. To renew: the lease is written into the record, its head is read, everything up to it
//! is applied; only then this gateway acts for another lease, counted from before the first step. So whoever changes
//! something either sees a lease, and waits for its gateway or its end; or the gateway sees the change.

use std::time::Duration;

use super::{BootTime, Position};

/// A gateway's lease, as it counts it itself.
#[derive(Debug, Clone)]
pub struct LeaseState {
    length: Duration,
    until: BootTime,
    due: BootTime,
    /// What the record was told last.
    acknowledged: Option<Position>,
    /// The steps that are being done: from when on what they find is known to be the newest.
    as_of: BootTime,
    /// The lease has been written into the record since they began.
    has_renewed: bool,
    reached: Option<Position>,
}

/// What is to be done next. Where it fails, [`LeaseState::begin`] begins anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Write the lease into the record, for [`LeaseState::in_record`]; then [`LeaseState::renewed`].
    Renew,
    /// Bring the replica up to the record's newest change; then [`LeaseState::reached`].
    Look,
    /// Have everything up to there applied on this gateway; then [`LeaseState::confirmed`].
    Confirm(Position),
    /// Act until [`LeaseState::until`], write that down beside the replica; then [`LeaseState::extended`].
    Extend,
    /// Tell the record that everything up to there is in force; then [`LeaseState::acknowledged`].
    Acknowledge(Position),
    /// All is done.
    Rest,
}

impl LeaseState {
    /// A lease in the record outlasts the gateway's own by this: for what is on its way when the gateway's ends, and
    /// for clocks that run differently.
    pub const MARGIN: Duration = Duration::from_secs(2);

    /// Nothing was renewed yet: `until` is [`LeaseState::remembered`].
    pub fn new(length: Duration, until: BootTime) -> Self {
        let due = BootTime::default();
        Self { length, until, due, acknowledged: None, as_of: due, has_renewed: false, reached: None }
    }

    /// The lease that a replica remembers: none after a restart of the machine, whose clock has begun anew.
    pub fn remembered(until: BootTime, of_boot: &str, this_boot: &str) -> BootTime {
        if !of_boot.is_empty() && of_boot == this_boot { until } else { BootTime::default() }
    }

    /// For how long a lease is written into the record.
    pub fn in_record(length: Duration) -> Duration {
        length + Self::MARGIN
    }

    /// Until when this gateway may act on what it has applied.
    pub fn until(&self) -> BootTime {
        self.until
    }

    /// Whatever was found last was the newest at this moment.
    pub fn as_of(&self) -> BootTime {
        self.as_of
    }

    /// Begins; `now` is before anything is sent.
    ///
    /// With a look, also where the lease is due: only a gateway that applies what it sees renews. One that cannot (its
    /// disk is full, a worker hangs) lets its lease in the record end too, and nobody waits for it any more.
    pub fn begin(&mut self, now: BootTime) -> Next {
        self.as_of = now;
        self.reached = None;
        self.has_renewed = false;
        Next::Look
    }

    /// Begins, for a gateway that acts on nothing yet: there is nothing that it could have failed to apply.
    pub fn begin_to_act(&mut self, now: BootTime) -> Next {
        self.begin(now);
        Next::Renew
    }

    /// The lease is in the record. Its head is read after that, never before.
    pub fn renewed(&mut self) -> Next {
        self.has_renewed = true;
        Next::Look
    }

    /// The replica holds everything up to there.
    pub fn reached(&mut self, position: Position) -> Next {
        self.reached = Some(position);
        Next::Confirm(position)
    }

    /// This is in force on the gateway, at `now`. Where something is missing, nobody is told anything.
    pub fn confirmed(&mut self, in_force: Position, now: BootTime) -> Next {
        match self.reached {
            Some(reached) if in_force.includes(reached) => {
                if self.has_renewed {
                    self.until = self.as_of + self.length;
                    self.due = self.as_of + self.length / 3;
                    return Next::Extend;
                }
                if now >= self.due {
                    // from here on it is counted: nothing of the renewal has been sent yet
                    self.as_of = now;
                    self.reached = None;
                    return Next::Renew;
                }
                self.acknowledge(reached)
            }
            _ => Next::Rest,
        }
    }

    /// The gateway acts on it.
    pub fn extended(&mut self) -> Next {
        self.reached.map_or(Next::Rest, |reached| self.acknowledge(reached))
    }

    /// The record was told.
    pub fn acknowledged(&mut self) -> Next {
        self.acknowledged = self.reached;
        Next::Rest
    }

    /// At every renewal too: a record that was put back may have lost what it was told.
    fn acknowledge(&self, reached: Position) -> Next {
        if self.has_renewed || self.acknowledged != Some(reached) {
            Next::Acknowledge(reached)
        } else {
            Next::Rest
        }
    }
}
