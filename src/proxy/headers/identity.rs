//! What the upstream is told about the caller.

use std::fmt::Write as _;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::model::{Name, Owner, Principal};

/// All that is not plain in a header value, and `%` itself. The rest of UTF-8 is always encoded.
const NAME: &AsciiSet = &CONTROLS.add(b'%').add(b'"').add(b'\\').add(b',').add(b';');

/// The fields that depend on the key alone, as lines of HTTP/1.1. Built once per identity.
///
/// An environment key has its environment as account on every path, of kind `project`.
pub(super) fn lines(principal: &Principal) -> Box<[u8]> {
    let (id, kind, name) = match &principal.owner {
        Owner::Account { account, .. } => {
            (account.id.to_string(), account.kind.as_str(), Some(account.name.as_str()))
        }
        Owner::Environment(environment) => {
            (environment.id.to_string(), "project", environment.name.as_ref().map(Name::as_str))
        }
    };
    let mut lines = format!("X-API-Account-Id: {id}\r\nX-API-Account-Kind: {kind}\r\n");
    if let Some(name) = name {
        let name = utf8_percent_encode(name.trim(), NAME);
        // writing to a String does not fail
        let _ = write!(lines, "X-API-Account-Name: {name}\r\n");
    }
    let _ = write!(lines, "X-API-Key-Id: {}\r\n", principal.key.access_key);
    lines.into_bytes().into()
}
