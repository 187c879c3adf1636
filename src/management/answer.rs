//! Answers: status, headers and body in one piece.

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde_json::Value;

use super::refusal::Refusal;
use crate::wire::BASIC_CHALLENGE;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub(super) const JSON: &str = "application/json; charset=utf-8";

/// An answer with its whole body.
pub(super) type Answer = Response<Full<Bytes>>;

/// An answer with a JSON body.
pub(super) fn json(status: StatusCode, document: &Value) -> Answer {
    let mut body = document.to_string();
    // curl leaves the shell's prompt on a line of its own
    body.push('\n');
    with_body(status, JSON, body)
}

/// An answer with a body that no cache may keep.
pub(super) fn with_body(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

/// A refusal as a JSON error document.
pub(super) fn refuse(refusal: &Refusal, request_id: &str) -> Answer {
    let mut answer = json(refusal.status(), &refusal.document(request_id));
    if *refusal == Refusal::Unauthorized {
        answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(BASIC_CHALLENGE));
    }
    set_refusal_headers(&mut answer, refusal);
    set_request_id(&mut answer, request_id);
    answer
}

/// `Allow` and `Retry-After`, where a refusal has them.
pub(super) fn set_refusal_headers(answer: &mut Answer, refusal: &Refusal) {
    let headers = answer.headers_mut();
    if let Refusal::MethodNotAllowed { allow, .. } = refusal
        && let Ok(allow) = HeaderValue::from_str(allow)
    {
        headers.insert(ALLOW, allow);
    }
    if let Some(after) = refusal.retry_after() {
        let seconds = u64::try_from(after.as_millis().div_ceil(1000)).unwrap_or(1);
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
}

/// `X-Request-Id`: the log and the audit log know the request by it.
pub(super) fn set_request_id(answer: &mut Answer, request_id: &str) {
    if let Ok(id) = HeaderValue::from_str(request_id) {
        answer.headers_mut().insert(REQUEST_ID, id);
    }
}
