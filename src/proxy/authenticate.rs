//! The third step: whose key a request carries.

use std::pin::pin;
use std::sync::Arc;

use super::admit::Admitted;
use super::open_streams::Interrupt;
use super::refusal::Refusal;
use super::request_context::RequestContext;
use crate::auth::{AuthFailure, Credential, Identity};
use crate::config::AccessControl;
use crate::policy::Routed;

impl RequestContext<'_> {
    /// Reads the credential, if the path needs one or one was sent.
    pub(super) fn credential(
        &self,
        admitted: &Admitted<'_>,
        routed: &Routed<'_, '_>,
    ) -> Result<Option<Credential>, Refusal> {
        if routed.needs_no_key(&admitted.method) {
            return Ok(None);
        }
        match admitted.credential {
            None if self.access_control == AccessControl::Disabled => Ok(None),
            None => Err(Refusal::Unauthenticated(AuthFailure::NoCredential)),
            Some(sent) => self.active_config.snapshot.credential_places.read(sent).map(Some).map_err(|_| {
                self.worker.shared.authenticator.refuse_malformed(self.source(admitted.head)).into()
            }),
        }
    }

    /// Verifies the credential.
    pub(super) async fn authenticate(
        &self,
        admitted: &Admitted<'_>,
        credential: &Credential,
    ) -> Result<Arc<Identity>, Refusal> {
        let source = self.source(admitted.head);
        let authenticator = &self.worker.shared.authenticator;
        let identity =
            self.unless_stopping(authenticator.authenticate(credential, source, self.arrived)).await??;
        self.stream.set_identity(Some(Arc::clone(&identity)));
        identity.record_use(self.worker.unix_milliseconds(self.arrived).unsigned_abs() / 1000, source);
        Ok(identity)
    }

    /// Waits for a look-up in the store or a verification; only the gateway's end comes before it.
    pub(super) async fn unless_stopping<F: Future>(&self, step: F) -> Result<F::Output, Refusal> {
        let mut step = pin!(step);
        loop {
            match self.stream.run_ignoring_changes(step.as_mut()).await {
                Ok(output) => return Ok(output),
                Err(Interrupt::Close) => return Err(Refusal::Stopping),
                Err(_) => {}
            }
        }
    }
}
