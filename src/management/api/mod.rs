//! The REST API.

use super::app::{Answer, Management, refuse};
use super::refusal::Refusal;
use super::request::Request;

/// Whether a path is the API's.
pub(super) fn is_api(path: &str) -> bool {
    path == "/v2-beta" || path.starts_with("/v2-beta/") || path == "/openapi.json"
}

/// Answers a request of the API.
pub(super) async fn answer(_management: &Management, request: &Request) -> Answer {
    refuse(&Refusal::NotFound, &request.id)
}
