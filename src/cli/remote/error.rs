//! What can go wrong between a command and a gateway. Every message says what, where, and what to do.

use std::path::PathBuf;
use std::time::Duration;

/// Why a gateway did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum RemoteError {
    /// TCP or name resolution failed.
    #[error(
        "cannot connect to {origin}: {detail}: is the gateway running, and is this the address of its management \
         listener?"
    )]
    Connect { origin: String, detail: String },
    /// TCP and TLS took too long.
    #[error("cannot connect to {origin} within {limit:?}: is the gateway running, and reachable from here?")]
    ConnectTimeout { origin: String, limit: Duration },
    /// Nobody who is trusted has signed the certificate.
    #[error(
        "the certificate of {origin} is not signed by anyone whom {trusted}: name the file with the authority's \
         certificate, or with the gateway's own, with --cacert"
    )]
    Untrusted { origin: String, trusted: Trusted },
    /// The certificate is wrong in another way.
    #[error("the certificate of {origin} cannot be accepted: {detail}")]
    Certificate { origin: String, detail: String },
    /// The handshake failed.
    #[error("TLS with {origin} failed: {detail}: if it does not speak TLS there, say http://")]
    Tls { origin: String, detail: String },
    /// The port does not speak TLS.
    #[error("{origin} does not speak TLS: say http:// in --url")]
    PlainHttp { origin: String },
    /// The port speaks TLS.
    #[error("{origin} expects TLS: say https:// in --url")]
    TlsExpected { origin: String },
    /// What came is no HTTP.
    #[error("what answers at {origin} does not speak HTTP: {detail}{hint}", hint = tls_hint(origin))]
    NotHttp { origin: String, detail: String },
    /// The connection ended too soon.
    #[error("the connection to {origin} broke before the answer was there: {detail}{}", doubt(*.is_change))]
    Broken { origin: String, detail: String, is_change: bool },
    /// The answer took too long.
    #[error("{origin} did not answer within {limit:?}{}", doubt(*.is_change))]
    Slow { origin: String, limit: Duration, is_change: bool },
    /// The answer was too large.
    #[error("{origin} sent more than {limit} bytes, and no management API's answer is that large{}", doubt(*.is_change))]
    TooLarge { origin: String, limit: usize, is_change: bool },
    /// The answer leads elsewhere.
    #[error("{origin} answers with a redirect ({status}){to}, and none is followed: give the right --url")]
    Redirect { origin: String, status: u16, to: String },
    /// What answers is something else.
    #[error(
        "what answers at {origin} is not a Portcullis management API (status {status}): --url needs the address under \
         'management:' in the gateway's configuration, not the one that clients of your API use"
    )]
    NotApi { origin: String, status: u16 },
    /// A document that the gateway cannot have meant.
    #[error("{origin} sent a document that cannot be right: {detail}")]
    Unexpected { origin: String, detail: String },
    /// The key does not work.
    #[error(
        "{origin} does not accept {key} (401): the key, its account or its environment does not exist or is not \
         active, the key has expired, or the secret is wrong"
    )]
    Unauthorized { origin: String, key: String },
    /// The key's role is not enough.
    #[error("the key that asks may not do this (403){}", after(.detail.as_ref()))]
    Forbidden { detail: Option<String> },
    /// There is nothing there, or nothing that the key may see.
    #[error("there is no such thing, or none that the key that asks may see (404){}", after(.detail.as_ref()))]
    NotFound { detail: Option<String> },
    /// Not with this object, or not by this key.
    #[error("{}", .detail.as_deref().unwrap_or("the key that asks may not do this (405): the role of its owner does not permit it"))]
    NotAllowed { detail: Option<String> },
    /// Somebody else was faster.
    #[error("{} (412)", .detail.as_deref().unwrap_or("it was changed meanwhile: look at it again"))]
    Changed { detail: Option<String> },
    /// The key that asks would stop itself.
    #[error("this would stop the very key that asks: repeat it with --confirm-self if that is meant")]
    Unconfirmed,
    /// The object's state does not permit it.
    #[error("{} ({status})", .detail.as_deref().unwrap_or("its state does not permit that"))]
    WrongState { status: u16, detail: Option<String> },
    /// Anything else that was refused, mostly 422.
    #[error("refused ({status}, {code}){}", after(.detail.as_ref()))]
    Refused { status: u16, code: String, detail: Option<String> },
    /// Try again later.
    #[error("{origin} cannot do it now ({status}){}: try again in {after:?}", self::after(.detail.as_ref()))]
    Busy { origin: String, status: u16, after: Duration, detail: Option<String> },
}

/// Whose signatures are believed.
#[derive(Debug, Clone, thiserror::Error)]
pub(in crate::cli) enum Trusted {
    /// `--cacert`
    #[error("{path} names", path = .0.display())]
    File(PathBuf),
    /// The system's authorities.
    #[error("this machine trusts")]
    System,
}

fn tls_hint(origin: &str) -> &'static str {
    if origin.starts_with("https:") { "" } else { "; if it speaks TLS there, say https://" }
}

/// What is added where a request for a change may have been done.
fn doubt(is_change: bool) -> &'static str {
    if is_change { "; whether the change was made is not known: look at it before you try again" } else { "" }
}

fn after(detail: Option<&String>) -> String {
    detail.map(|detail| format!(": {detail}")).unwrap_or_default()
}

/// Characters of a text of the server's that are shown.
const MAX_SHOWN: usize = 400;

/// A text of the server's as it can be shown: on one line, not endless, and nothing that drives a terminal.
pub(super) fn printable(text: &str) -> String {
    let shown = |c: char| if c.is_control() || is_invisible(c) { ' ' } else { c };
    text.chars().take(MAX_SHOWN).map(shown).collect()
}

/// Characters that change how the text round them is read, or are not seen (Unicode TR 9, TR 36).
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}
