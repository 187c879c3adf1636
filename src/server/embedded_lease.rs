//! This gateway's row and lease in an embedded store.

use std::path::Path;
use std::time::Duration;

use crate::auth::Authenticator;
use crate::store::{BootTime, ChangeNumber, LeaseState, Next, Position, Presence, StoreError};

/// This gateway's row in an embedded store. Receipts count a gateway for as long as its row says, so it acts no longer
/// than that, whether it cannot write any more (a full disk, a lock) or has stood still (SIGSTOP, a paused machine).
pub(super) struct EmbeddedLease {
    pub(super) presence: Presence,
    pub(super) state: LeaseState,
    acknowledged: ChangeNumber,
}

impl EmbeddedLease {
    /// Writes the row, before the gateway reads anything.
    pub(super) fn begin(path: &Path, name: &str, length: Duration) -> Result<Self, StoreError> {
        let mut state = LeaseState::new(length, BootTime::default());
        state.begin_to_act(BootTime::now());
        let presence = Presence::begin(path, name, LeaseState::in_record(length))?;
        state.renewed();
        Ok(Self { presence, state, acknowledged: ChangeNumber::default() })
    }

    /// The gateway can act on what its follower began with: no cache holds anything older.
    pub(super) fn act(
        &mut self,
        position: Position,
        authenticator: &Authenticator,
    ) -> Result<(), StoreError> {
        self.state.reached(position);
        let mut next = self.state.confirmed(position, BootTime::now());
        while next != Next::Rest {
            next = self.step(next, authenticator)?;
        }
        authenticator.set_current_until(self.state.as_of() + Authenticator::CURRENT);
        Ok(())
    }

    /// Does what is to be done with the row.
    pub(super) fn step(&mut self, next: Next, authenticator: &Authenticator) -> Result<Next, StoreError> {
        let Self { presence, state, acknowledged } = self;
        Ok(match next {
            Next::Renew => {
                presence.renew(*acknowledged)?;
                state.renewed()
            }
            Next::Extend => {
                authenticator.set_fresh_until(state.until());
                state.extended()
            }
            Next::Acknowledge(position) => {
                presence.renew(position.number)?;
                *acknowledged = position.number;
                state.acknowledged()
            }
            Next::Look | Next::Confirm(_) | Next::Rest => Next::Rest,
        })
    }
}
