//! `auditLog`: who did, or tried, what. For admins.

use super::types::Type;
use super::{Call, collection, query};
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
    let id = id.strip_prefix("1al").and_then(|number| number.parse().ok()).ok_or(Refusal::NotFound)?;
    let entry = call.desk().audit_entry(call.caller, id).await?;
    Ok(call.found(&document::audit(&entry, &call.view(false, false))))
}
