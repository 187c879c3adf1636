//! `auditLog`: who did, or tried, what. For admins.

use super::api_request::ApiRequest;
use super::types::Type;
use super::{collection, query};
use crate::management::answer::Answer;
use crate::management::refusal::Refusal;
use crate::management::resource_json;

/// A page of the audit log.
pub(super) async fn list(call: &ApiRequest<'_>) -> Result<Answer, Refusal> {
    let listed = query::read(call.request, Type::AuditLog.listed_by())?;
    let page = call.operations().audit(call.caller, listed.query.clone()).await?;
    let data: Vec<_> =
        page.items.iter().map(|entry| resource_json::audit(entry, &call.view(false, false))).collect();
    Ok(call.found(&collection::document(call, Type::AuditLog, &listed, &data, page.next.as_ref())))
}

/// One row.
pub(super) async fn get(call: &ApiRequest<'_>, id: &str) -> Result<Answer, Refusal> {
    let digits = id.strip_prefix("1al").ok_or(Refusal::NotFound)?;
    // one spelling only, as of other ids
    if digits.starts_with(['0', '+', '-']) {
        return Err(Refusal::NotFound);
    }
    let number = digits.parse().map_err(|_| Refusal::NotFound)?;
    let entry = call.operations().audit_entry(call.caller, number).await?;
    Ok(call.found(&resource_json::audit(&entry, &call.view(false, false))))
}
