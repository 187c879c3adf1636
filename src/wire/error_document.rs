//! The body of the gateway's own error responses, the same on both planes.

use http::StatusCode;

/// The value of `WWW-Authenticate` (RFC 7617; the realm is Rancher's).
pub const BASIC_CHALLENGE: &str =
    r#"Basic realm="Enter API access key and secret key as username and password", charset="UTF-8""#;

/// The error document, in the shape and the order of Rancher's API; `id` is the request's id.
///
/// # Panics
///
/// Never: a string is always JSON.
pub fn error_document(id: &str, status: StatusCode, detail: Option<&str>) -> Vec<u8> {
    // most of it is the same for all: only what comes from outside is looked at for what JSON has to escape
    let phrase = status.canonical_reason().unwrap_or("Error").as_bytes();
    let mut text = Vec::with_capacity(320);
    let string = |text: &mut Vec<u8>, value: &str| {
        serde_json::to_writer(text, value).expect("a string is always JSON");
    };
    text.extend_from_slice(br#"{"id":"#);
    string(&mut text, id);
    text.extend_from_slice(br#","type":"error","links":{},"actions":{},"status":"#);
    text.extend_from_slice(itoa::Buffer::new().format(status.as_u16()).as_bytes());
    for name in [&br#","code":""#[..], br#"","message":""#] {
        text.extend_from_slice(name);
        text.extend_from_slice(phrase);
    }
    text.extend_from_slice(br#"","detail":"#);
    match detail {
        Some(detail) => string(&mut text, detail),
        None => text.extend_from_slice(b"null"),
    }
    text.extend_from_slice(br#","baseType":"error"}"#);
    // a person's prompt then stands on its own line
    text.push(b'\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_document_is_json_whatever_is_in_it() {
        for (id, detail) in [("1", None), ("a\"b\\c", Some("line\nend")), ("ü", Some(""))] {
            let text = error_document(id, StatusCode::UNAUTHORIZED, detail);
            let document: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
            let expected = serde_json::json!({
                "id": id, "type": "error", "links": {}, "actions": {}, "status": 401, "code": "Unauthorized",
                "message": "Unauthorized", "detail": detail, "baseType": "error",
            });
            assert_eq!(document, expected);
        }
    }
}
