//! Reading the audit log.

use super::{Caller, Operations};
use crate::management::refusal::Refusal;
use crate::policy::ManagementAction;
use crate::store::{AuditEntry, Page, PageQuery};

impl Operations {
    /// A page of the audit log, for admins.
    pub async fn audit(&self, caller: &Caller, query: PageQuery) -> Result<Page<AuditEntry>, Refusal> {
        caller.require(&ManagementAction::SeeEverything)?;
        self.list(caller, move |store| store.audit_page(&query)).await
    }

    /// One row of the audit log, for admins.
    pub async fn audit_entry(&self, caller: &Caller, id: i64) -> Result<AuditEntry, Refusal> {
        caller.require(&ManagementAction::SeeEverything)?;
        Ok(self.store.read(move |store| store.audit_entry(id)).await?)
    }
}
