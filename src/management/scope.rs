//! What a key with a scope may do here: it reads within its methods and paths, and changes nothing.
//!
//! Could it change anything, it could make itself another key, without the scope. A scope of networks alone does not narrow
//! what a request does, and is judged where the key is verified.

use http::Method;

use super::refusal::Refusal;
use crate::model::ApiKey;
use crate::policy::{Rule, is_safe};

/// Refuses a request of the API, or for metrics, that lies outside the key's scope.
pub(super) fn require_within(key: &ApiKey, method: &Method, path: &str) -> Result<(), Refusal> {
    let Some(scope) = key.scope.as_ref().filter(|scope| scope.narrows_requests()) else { return Ok(()) };
    let outside = |rule: Rule| Err(Refusal::Forbidden { detail: Some(rule.to_string()) });
    if !is_safe(method) {
        Err(Refusal::NarrowedKey)
    } else if !scope.has_method(method) {
        outside(Rule::OutsideKeysMethods)
    } else if !scope.has_path(path.as_bytes()) {
        outside(Rule::OutsideKeysPaths)
    } else {
        Ok(())
    }
}

/// Whether somebody can sign in to the page with this key. The page has paths of its own, and is read with GET.
pub(super) fn leaves_the_page(key: &ApiKey) -> bool {
    key.scope.as_ref().is_none_or(|scope| scope.paths().is_empty() && scope.has_method(&Method::GET))
}
