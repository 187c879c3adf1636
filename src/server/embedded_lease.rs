//! This gateway's row and lease in an embedded store.

use std::path::Path;
use std::time::Duration;

use crate::auth::Authenticator;
use crate::store::{
    BootInstant, ChangeNumber, GatewayRegistration, LeaseAction, LeaseState, StoreError, StorePosition,
};

/// This gateway's row in an embedded store. Receipts count a gateway for as long as its row says, so it acts no longer
/// than that, whether it cannot write any more (a full disk, a lock) or has stood still (SIGSTOP, a paused machine).
pub(super) struct EmbeddedLease {
    pub(super) registration: GatewayRegistration,
    pub(super) state: LeaseState,
    acknowledged: ChangeNumber,
}

impl EmbeddedLease {
    /// Writes the row, before the gateway reads anything.
    pub(super) fn begin(path: &Path, name: &str, length: Duration) -> Result<Self, StoreError> {
        let mut state = LeaseState::new(length, BootInstant::default());
        state.begin_startup(BootInstant::now());
        let registration = GatewayRegistration::register(path, name, LeaseState::in_record(length))?;
        state.renewed();
        Ok(Self { registration, state, acknowledged: ChangeNumber::default() })
    }

    /// The gateway can act on what its follower began with: no cache holds anything older.
    pub(super) fn activate(
        &mut self,
        position: StorePosition,
        authenticator: &Authenticator,
    ) -> Result<(), StoreError> {
        self.state.caught_up(position);
        let mut next = self.state.confirmed(position, BootInstant::now());
        while next != LeaseAction::Done {
            next = self.step(next, authenticator)?;
        }
        authenticator
            .set_store_misses_trusted_until(self.state.as_of() + Authenticator::STORE_MISSES_TRUSTED_FOR);
        Ok(())
    }

    /// Removes the row of a gateway that does not start.
    pub(super) fn withdraw(mut self) {
        if let Err(error) = self.registration.deregister() {
            tracing::warn!(%error, "this gateway's lease in the store ends by itself");
        }
    }

    /// Does what is to be done with the row.
    pub(super) fn step(
        &mut self,
        next: LeaseAction,
        authenticator: &Authenticator,
    ) -> Result<LeaseAction, StoreError> {
        let Self { registration, state, acknowledged } = self;
        Ok(match next {
            LeaseAction::Renew => {
                registration.renew(*acknowledged, authenticator.uses_saved_until())?;
                state.renewed()
            }
            LeaseAction::Extend => {
                authenticator.set_lease_end(state.until());
                state.extended()
            }
            LeaseAction::Acknowledge(position) => {
                registration.renew(position.number, authenticator.uses_saved_until())?;
                *acknowledged = position.number;
                state.acknowledged()
            }
            LeaseAction::CatchUp | LeaseAction::Confirm(_) | LeaseAction::Done => LeaseAction::Done,
        })
    }
}
