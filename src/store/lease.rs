//! What a gateway does, step by step, to keep up with the record, and until when it may act on what it has. Only the
//! decisions are here, without I/O and without a clock, so that `tests/simulation` runs the very same ones.
//!
//! The order of the steps matters. To renew its lease, a gateway writes it into the record, reads the record's newest
//! change, and applies everything up to it. Only then it acts for another lease, counted from before the first step. So
//! whoever changes something either sees the lease, and waits for the gateway or for the end of the lease; or the gateway
//! sees the change.

use std::time::Duration;

use super::{BootInstant, StorePosition};

/// A gateway's lease, as the gateway counts it.
#[derive(Debug, Clone)]
pub struct LeaseState {
    length: Duration,
    until: BootInstant,
    due: BootInstant,
    /// What the gateway has acknowledged last.
    acknowledged: Option<StorePosition>,
    /// When the current steps began: what they find was the newest at that time.
    as_of: BootInstant,
    /// Whether the lease has been written into the record in these steps.
    has_renewed: bool,
    caught_up_to: Option<StorePosition>,
}

/// What to do next. If it fails, start again with [`LeaseState::begin`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseAction {
    /// Write the lease into the record, for [`LeaseState::in_record`]; then [`LeaseState::renewed`].
    Renew,
    /// Bring the replica up to the record's newest change; then [`LeaseState::caught_up`].
    CatchUp,
    /// Apply everything up to there on this gateway; then [`LeaseState::confirmed`].
    Confirm(StorePosition),
    /// Act until [`LeaseState::until`], and save that in the replica; then [`LeaseState::extended`].
    Extend,
    /// Tell the record that everything up to there is applied; then [`LeaseState::acknowledged`].
    Acknowledge(StorePosition),
    /// Nothing until the next [`LeaseState::begin`].
    Done,
}

impl LeaseState {
    /// A lease in the record lasts this much longer than the gateway's own, for requests that are on their way when it ends
    /// and for clocks that run differently.
    pub const MARGIN: Duration = Duration::from_secs(2);

    /// Before the first renewal: `until` is [`LeaseState::saved`].
    pub fn new(length: Duration, until: BootInstant) -> Self {
        let due = BootInstant::default();
        Self { length, until, due, acknowledged: None, as_of: due, has_renewed: false, caught_up_to: None }
    }

    /// The lease that is saved in a replica. After a restart of the machine there is none: its clock has begun anew.
    pub fn saved(until: BootInstant, of_boot: &str, this_boot: &str) -> BootInstant {
        if !of_boot.is_empty() && of_boot == this_boot { until } else { BootInstant::default() }
    }

    /// For how long a lease is written into the record.
    pub fn in_record(length: Duration) -> Duration {
        length + Self::MARGIN
    }

    /// Until when this gateway may act on what it has applied.
    pub fn until(&self) -> BootInstant {
        self.until
    }

    /// When the current steps began. What they find was the newest then.
    pub fn as_of(&self) -> BootInstant {
        self.as_of
    }

    /// The first step; `now` is before anything is sent.
    ///
    /// It is to catch up, even if the lease is due: only a gateway that applies what it reads renews. One that cannot (its
    /// disk is full, a worker hangs) lets its lease in the record end, and nobody waits for it any more.
    pub fn begin(&mut self, now: BootInstant) -> LeaseAction {
        self.as_of = now;
        self.caught_up_to = None;
        self.has_renewed = false;
        LeaseAction::CatchUp
    }

    /// The first step of a gateway that starts: it acts on nothing yet, so it may renew before it catches up.
    pub fn begin_startup(&mut self, now: BootInstant) -> LeaseAction {
        self.begin(now);
        LeaseAction::Renew
    }

    /// The lease is in the record. Its head is read after that, never before.
    pub fn renewed(&mut self) -> LeaseAction {
        self.has_renewed = true;
        LeaseAction::CatchUp
    }

    /// The replica holds everything up to there.
    pub fn caught_up(&mut self, position: StorePosition) -> LeaseAction {
        self.caught_up_to = Some(position);
        LeaseAction::Confirm(position)
    }

    /// The gateway has applied everything up to `in_force`, at `now`. If something is missing, nothing is acknowledged.
    pub fn confirmed(&mut self, in_force: StorePosition, now: BootInstant) -> LeaseAction {
        match self.caught_up_to {
            Some(reached) if in_force.includes(reached) => {
                if self.has_renewed {
                    self.until = self.as_of + self.length;
                    self.due = self.as_of + self.length / 3;
                    return LeaseAction::Extend;
                }
                if now >= self.due {
                    // the lease is counted from here: nothing of the renewal has been sent yet
                    self.as_of = now;
                    self.caught_up_to = None;
                    return LeaseAction::Renew;
                }
                self.acknowledge(reached)
            }
            _ => LeaseAction::Done,
        }
    }

    /// The gateway acts on it.
    pub fn extended(&mut self) -> LeaseAction {
        self.caught_up_to.map_or(LeaseAction::Done, |reached| self.acknowledge(reached))
    }

    /// The record has the acknowledgement.
    pub fn acknowledged(&mut self) -> LeaseAction {
        self.acknowledged = self.caught_up_to;
        LeaseAction::Done
    }

    /// Repeated at every renewal: a restored record may have lost the last acknowledgement.
    fn acknowledge(&self, reached: StorePosition) -> LeaseAction {
        if self.has_renewed || self.acknowledged != Some(reached) {
            LeaseAction::Acknowledge(reached)
        } else {
            LeaseAction::Done
        }
    }
}
