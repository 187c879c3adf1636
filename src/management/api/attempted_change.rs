//! What a request was to change, in the audit log's words, for where it is refused before the record is asked.

use http::Method;

use super::input::Input;
use super::path::{Target, Thing};
use super::query;
use super::types::{Audience, Type};
use crate::management::operations::{Caller, Operations};
use crate::management::request::Request;
use crate::store::Attempt;

/// What a request is to change; `None` where nobody changes anything that way.
pub(super) fn of(request: &Request, target: &Target, caller: &Caller) -> Option<Attempt> {
    let method = &request.head.method;
    let (kind, id) = match &target.thing {
        Thing::Collection(kind) if method == Method::POST => (*kind, None),
        Thing::Resource(kind, id) => (*kind, Some(id)),
        _ => return None,
    };
    let subject = match kind {
        Type::ApiKey => "key",
        Type::Account => "account",
        Type::Project => "environment",
        Type::ProjectMember => "membership",
        Type::ProjectTemplate | Type::AuditLog | Type::Schema | Type::ApiVersion => return None,
    };
    let is_membership = kind == Type::ProjectMember;
    let (action, subject, object) = match (id, method) {
        (None, _) => {
            let action = if is_membership { "add" } else { "create" };
            (action, subject, new_object(request, target, caller, kind))
        }
        (Some(id), &Method::PUT) => (if is_membership { "role" } else { "edit" }, subject, id.clone()),
        (Some(id), &Method::DELETE) => ("remove", subject, id.clone()),
        (Some(id), &Method::POST) if !kind.actions(Audience::Admin).is_empty() => {
            let action = query::pairs(request.query()).find(|(name, _)| name == "action");
            match action.as_ref().map(|(_, action)| action.as_str()) {
                Some("activate") => ("activate", subject, id.clone()),
                Some("deactivate") => ("deactivate", subject, id.clone()),
                Some("remove") => ("remove", subject, id.clone()),
                Some("setmembers") => ("edit", "membership", id.clone()),
                _ => ("edit", subject, id.clone()),
            }
        }
        _ => return None,
    };
    Some(Attempt::claimed(action, subject, &object))
}

/// What something new would belong to, or be called.
fn new_object(request: &Request, target: &Target, caller: &Caller, kind: Type) -> String {
    if let Some(context) = &target.context {
        return context.clone();
    }
    let field = match kind {
        Type::Account => "name",
        Type::Project => "id",
        Type::ProjectMember => "projectId",
        _ => return Operations::own_keys(caller).to_string(),
    };
    let input = Input::read(request).ok();
    let named = input.as_ref().and_then(|input| input.text(field).ok().flatten());
    named.unwrap_or_default().to_owned()
}
