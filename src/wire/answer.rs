//! The gateway's own answers, alike on both planes.

use http::StatusCode;
use serde::Serialize;

/// What clients are asked for (RFC 7617; the realm is Rancher's).
pub const CHALLENGE: &str =
    r#"Basic realm="Enter API access key and secret key as username and password", charset="UTF-8""#;

/// In the order of Rancher's own.
#[derive(Serialize)]
struct ErrorDocument<'a> {
    id: &'a str,
    r#type: &'static str,
    links: Empty,
    actions: Empty,
    status: u16,
    code: &'static str,
    message: &'static str,
    detail: Option<&'a str>,
    #[serde(rename = "baseType")]
    base_type: &'static str,
}

#[derive(Serialize)]
struct Empty {}

/// The error document, in the shape of Rancher's API; `id` is the request's id.
///
/// # Panics
///
/// Never: the document is strings and numbers.
pub fn error_document(id: &str, status: StatusCode, detail: Option<&str>) -> Vec<u8> {
    let phrase = status.canonical_reason().unwrap_or("Error");
    let document = ErrorDocument {
        id,
        r#type: "error",
        links: Empty {},
        actions: Empty {},
        status: status.as_u16(),
        code: phrase,
        message: phrase,
        detail,
        base_type: "error",
    };
    // room for the usual one
    let mut text = Vec::with_capacity(320);
    serde_json::to_writer(&mut text, &document).expect("strings and numbers in a struct are always JSON");
    // a person's prompt then stands on its own line
    text.push(b'\n');
    text
}
