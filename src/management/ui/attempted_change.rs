//! What a form was to change, in the audit log's words, for where it is refused before the record is asked.

use super::form::Form;
use super::signed_in_request::SignedInRequest;
use crate::store::Attempt;

/// What a form at this path is to change; `None` where there is none.
pub(super) fn attempt(request: &SignedInRequest<'_>, segments: &[&str], form: &Form) -> Option<Attempt> {
    let (action, subject, object) = match segments {
        ["keys", "new"] => {
            let owner = request.parameter("environment").or_else(|| request.parameter("account"));
            ("create", "key", owner.unwrap_or_else(|| request.caller.owner().to_string()))
        }
        ["environments", "new"] => ("create", "environment", form.value("id").to_owned()),
        ["accounts", "new"] => ("create", "account", form.value("name").to_owned()),
        ["keys", id, verb] => (action(verb)?, "key", (*id).to_owned()),
        ["environments", id, verb] => (action(verb)?, "environment", (*id).to_owned()),
        ["accounts", id, verb] => (action(verb)?, "account", (*id).to_owned()),
        ["environments", id, "members", "add"] => ("add", "membership", (*id).to_owned()),
        ["environments", id, "members", account, "role"] => ("role", "membership", format!("{id}:{account}")),
        ["environments", id, "members", account, "remove"] => {
            ("remove", "membership", format!("{id}:{account}"))
        }
        _ => return None,
    };
    Some(Attempt::from_client(action, subject, &object))
}

fn action(verb: &str) -> Option<&'static str> {
    match verb {
        "edit" => Some("edit"),
        "activate" => Some("activate"),
        "deactivate" => Some("deactivate"),
        "delete" => Some("remove"),
        "rotate" => Some("rotate"),
        "end-rotation" => Some("endrotation"),
        _ => None,
    }
}
