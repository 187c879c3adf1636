//! `auditLog`: who did, or tried, what. For admins.

use super::call::Call;
use super::types::Type;
use super::{collection, query};
use crate::management::app::Answer;
use crate::management::document;
use crate::management::refusal::Refusal;

/// A page of the audit log.
pub(super) async fn list(call: &Call<'_>) -> Result<Answer, Refusal> {
    let listed = query::read(call.request, Type::AuditLog.listed_by())?;
    let page = call.desk().audit(call.caller, listed.query.clone()).await?;
    let data: Vec<_> =
        page.items.iter().map(|entry| document::audit(entry, &call.view(false, false))).collect();
    Ok(call.found(&collection::document(call, Type::AuditLog, &listed, &data, page.next.as_ref())))
}

/// One row.
pub(super) async fn get(call: &Call<'_>, id: &str) -> Result<Answer, Refusal> {
    let digits = id.strip_prefix("1al").ok_or(Refusal::NotFound)?;
    // one spelling only, as of other ids
    if digits.starts_with(['0', '+', '-']) {
        return Err(Refusal::NotFound);
    }
    let number = digits.parse().map_err(|_| Refusal::NotFound)?;
    let entry = call.desk().audit_entry(call.caller, number).await?;
    Ok(call.found(&document::audit(&entry, &call.view(false, false))))
}
