//! The web page, rendered on the server.

use http::StatusCode;

use super::app::{Answer, Management, with_body};
use super::request::Request;

/// Answers a request that is none of the API's.
pub(super) async fn answer(_management: &Management, _request: &Request) -> Answer {
    with_body(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", "not yet")
}
