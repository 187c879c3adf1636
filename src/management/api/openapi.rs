//! The `OpenAPI` document.

use http::StatusCode;
use serde_json::json;

use crate::management::app::{Answer, json as json_answer};
use crate::management::request::Request;

pub(super) const PATH: &str = "/openapi.json";

pub(super) fn answer(_request: &Request) -> Answer {
    json_answer(StatusCode::OK, &json!({}))
}
