//! Names are not unique: what a notice adds where others have the name that an account or an environment was just given.

use super::signed_in_request::SignedInRequest;
use crate::model::Name;
use crate::store::ObjectId;

/// A sentence with a space before it, or nothing. For admins: others may not learn what there is.
pub(super) async fn namesakes_sentence(
    request: &SignedInRequest<'_>,
    id: ObjectId,
    name: Option<&Name>,
) -> String {
    let Some(name) = name else { return String::new() };
    let kind = if matches!(id, ObjectId::Account(_)) { "account" } else { "environment" };
    // the change is made: nobody needs to hear that this could not be learnt
    let ids = request.operations().namesakes(&request.caller, id, name.clone()).await.unwrap_or_default();
    let others = match ids.as_slice() {
        [] => return String::new(),
        [only] => format!("Another {kind}, {only}, has the name {name} too"),
        [first, ..] => format!("{} other {kind}s, {first} among them, have the name {name} too", ids.len()),
    };
    format!(" {others}: commands find none of them by it. Use the ids, or rename one.")
}
