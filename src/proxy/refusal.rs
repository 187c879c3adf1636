//! Every refusal of the data plane, and the one place where it becomes an answer.

use std::borrow::Cow;
use std::time::Duration;

use http::StatusCode;

use super::credential_places::CredentialPlaces;
use crate::auth::{AuthFailure, AuthRefusal};
use crate::policy::{PathRefusal, Rule, SelectorRefusal};
use crate::wire::{BodyError, HeadError, error_document};

/// The causes of refusals, as metrics and the access log name them.
pub const REFUSAL_CAUSES: &[&str] = &[
    "malformed",
    "framing",
    "ambiguous_path",
    "selector",
    "method",
    "protocol",
    "expectation",
    "uri_too_long",
    "header_too_large",
    "body_too_large",
    "client_timeout",
    "no_route",
    "unauthenticated",
    "forbidden",
    "throttled",
    "verification_busy",
    "stale",
    "stopping",
    "upstream_unreachable",
    "upstream_broken",
    "upstream_timeout",
    "upstream_busy",
];

/// Why the gateway answers itself.
#[derive(Debug, Clone)]
pub(super) enum Refusal {
    /// The head cannot be read.
    Head(HeadError),
    /// The body's framing is unclear.
    Framing(BodyError),
    /// Something else about the message is malformed.
    Malformed(&'static str),
    /// A field that may stand once stands twice.
    Repeated(&'static str),
    /// The path could be read in two ways.
    Path(PathRefusal),
    /// A selector is malformed, repeated, contradicts the path, or overrides the method.
    Selector(SelectorRefusal),
    /// CONNECT, TRACE, `OPTIONS *`.
    Method,
    /// RFC 8441 with another protocol than `websocket`.
    UnknownProtocol,
    /// `Expect` with something else than `100-continue`.
    Expectation,
    /// The request target is too long.
    UriTooLong,
    /// The body is larger than allowed.
    BodyTooLarge,
    /// The client took too long to send its request.
    ClientTimeout,
    /// No route leads there.
    NoRoute,
    /// No key, or none that works.
    Unauthenticated(AuthFailure),
    /// The key may not do this.
    Forbidden(Rule),
    /// Too many failures from this source.
    Throttled(Duration),
    /// Verification is overloaded.
    Busy(Duration),
    /// What the gateway knows is too old to decide by.
    Unavailable(Duration),
    /// The gateway is stopping.
    Stopping,
    /// No endpoint could be connected to.
    UpstreamUnreachable,
    /// The upstream's answer is broken, or there is none.
    UpstreamBroken(&'static str),
    /// The upstream took too long.
    UpstreamTimeout,
    /// All connections to the upstream that this key, source or everybody may use are in use.
    UpstreamBusy,
}

/// What a refusal is answered with, beside its message.
#[derive(Debug, Clone, Copy)]
pub(super) struct RefusalResponse {
    pub(super) status: u16,
    /// For metrics and the access log: one word.
    pub(super) cause: &'static str,
    pub(super) retry_after: Option<Duration>,
}

/// A header field of the gateway's own answers.
pub(super) type OwnField<'r> = (&'static str, Cow<'r, str>);

impl Refusal {
    /// The status, the cause and the time to wait.
    pub(super) fn response(&self) -> RefusalResponse {
        let (status, cause, retry_after) = match self {
            Self::Head(HeadError::LineTooLong) | Self::UriTooLong => (414, "uri_too_long", None),
            Self::Head(HeadError::TooLarge | HeadError::TooMany) => (431, "header_too_large", None),
            Self::Head(HeadError::MajorVersion) => (505, "protocol", None),
            Self::Head(_) | Self::Malformed(_) | Self::Repeated(_) => (400, "malformed", None),
            Self::Framing(_) => (400, "framing", None),
            Self::Path(_) => (400, "ambiguous_path", None),
            Self::Selector(_) => (400, "selector", None),
            Self::Method => (405, "method", None),
            Self::UnknownProtocol => (501, "protocol", None),
            Self::Expectation => (417, "expectation", None),
            Self::BodyTooLarge => (413, "body_too_large", None),
            Self::ClientTimeout => (408, "client_timeout", None),
            Self::NoRoute => (404, "no_route", None),
            Self::Unauthenticated(_) => (401, "unauthenticated", None),
            Self::Forbidden(_) => (403, "forbidden", None),
            Self::Throttled(after) => (429, "throttled", Some(*after)),
            Self::Busy(after) => (503, "verification_busy", Some(*after)),
            Self::Unavailable(after) => (503, "stale", Some(*after)),
            Self::Stopping => (503, "stopping", Some(Duration::from_secs(1))),
            Self::UpstreamUnreachable => (502, "upstream_unreachable", None),
            Self::UpstreamBroken(_) => (502, "upstream_broken", None),
            Self::UpstreamTimeout => (504, "upstream_timeout", None),
            Self::UpstreamBusy => (503, "upstream_busy", Some(Duration::from_secs(1))),
        };
        RefusalResponse { status, cause, retry_after }
    }

    /// Whether what came does not follow the grammar of HTTP/1.1: what comes after it may be anything (RFC 9112 §2.2).
    pub(super) fn is_ill_formed(&self) -> bool {
        match self {
            Self::Head(_) | Self::Framing(_) | Self::Malformed(_) | Self::Repeated(_) => true,
            Self::Path(refusal) => refusal.is_malformed_target(),
            _ => false,
        }
    }

    /// The place of the cause in [`REFUSAL_CAUSES`].
    pub(super) fn cause(&self) -> usize {
        let cause = self.response().cause;
        REFUSAL_CAUSES.iter().position(|known| *known == cause).unwrap_or_default()
    }

    /// Why the request is not authenticated, if it is refused for that.
    pub(super) fn auth_failure(&self) -> Option<AuthFailure> {
        if let Self::Unauthenticated(failure) = self { Some(*failure) } else { None }
    }

    /// Why, for the access log: the cause, and what was seen.
    pub(super) fn reason(&self) -> Cow<'static, str> {
        match (self, self.detail()) {
            (Self::Forbidden(rule), _) => rule.to_string().into(),
            (_, Some(detail)) => format!("{}: {detail}", self.response().cause).into(),
            (_, None) => self.response().cause.into(),
        }
    }

    /// What was seen, where the cause alone does not say it.
    fn detail(&self) -> Option<String> {
        match self {
            Self::Head(error) => Some(error.to_string()),
            Self::Framing(error) => Some(error.to_string()),
            Self::Malformed(what) | Self::UpstreamBroken(what) => Some((*what).to_owned()),
            Self::Repeated(what) => Some(format!("{what} stands more than once")),
            Self::Path(error) => Some(error.to_string()),
            Self::Selector(error) => Some(error.to_string()),
            Self::UnknownProtocol => Some("only 'websocket' is offered".to_owned()),
            _ => None,
        }
    }

    /// What the client is told: that it was the gateway, not the API behind it, and why, if that does not help an attacker.
    fn message<'p>(&self, places: &'p CredentialPlaces) -> Cow<'p, str> {
        match self {
            Self::Unauthenticated(_) => places.message().into(),
            Self::Forbidden(rule) => format!("Portcullis refuses this: {}", rule.client_message()).into(),
            Self::NoRoute => "Portcullis has no route for this path".into(),
            Self::Method => "Portcullis does not forward this method".into(),
            Self::Expectation => "Portcullis meets no other expectation than 100-continue".into(),
            Self::UriTooLong => "Portcullis takes no request target of this length".into(),
            Self::BodyTooLarge => "Portcullis takes no request body of this size here".into(),
            Self::ClientTimeout => "Portcullis waited too long for the rest of the request".into(),
            Self::Throttled(_) => "Portcullis had too many wrong keys from this address".into(),
            Self::Busy(_) => "Portcullis has too many keys to check at this moment".into(),
            Self::Unavailable(_) => "Portcullis cannot check keys at this moment".into(),
            Self::Stopping => "Portcullis is being stopped here".into(),
            Self::UpstreamUnreachable => "Portcullis cannot reach the API behind it".into(),
            Self::UpstreamBusy => {
                "Portcullis has too many requests for the API behind it at this moment".into()
            }
            Self::UpstreamTimeout => "the API behind Portcullis did not answer in time".into(),
            Self::UpstreamBroken(what) => {
                format!("the API behind Portcullis answered what cannot be passed on: {what}").into()
            }
            Self::Head(_)
            | Self::Framing(_)
            | Self::Malformed(_)
            | Self::Repeated(_)
            | Self::Path(_)
            | Self::Selector(_)
            | Self::UnknownProtocol => {
                format!("Portcullis refuses this request: {}", self.detail().unwrap_or_default()).into()
            }
        }
    }

    /// The header fields and the body of the answer; `challenge`: ask for a key where one is missing.
    pub(super) fn render<'r>(
        &self,
        request_id: &'r str,
        places: &CredentialPlaces,
        challenge: bool,
    ) -> ([Option<OwnField<'r>>; 8], Vec<u8>) {
        let answer = self.response();
        // whole seconds, and not too early
        let seconds = |after: Duration| after.as_millis().div_ceil(1000).max(1).to_string();
        let [basic, bearer] =
            if answer.status == 401 && challenge { places.challenges() } else { [None, None] };
        let methods = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
        let fields = [
            Some(("Content-Type", Cow::Borrowed("application/json; charset=utf-8"))),
            Some(("Cache-Control", Cow::Borrowed("no-store"))),
            Some(("X-Content-Type-Options", Cow::Borrowed("nosniff"))),
            Some(("X-Request-Id", Cow::Borrowed(request_id))),
            basic,
            bearer,
            (answer.status == 405).then_some(("Allow", Cow::Borrowed(methods))),
            answer.retry_after.map(|after| ("Retry-After", Cow::Owned(seconds(after)))),
        ];
        let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = error_document(request_id, status, Some(&self.message(places)));
        (fields, body)
    }
}

impl From<AuthRefusal> for Refusal {
    fn from(refusal: AuthRefusal) -> Self {
        match refusal {
            AuthRefusal::Unauthorized(failure) => Self::Unauthenticated(failure),
            AuthRefusal::Throttled { retry_after } => Self::Throttled(retry_after),
            AuthRefusal::Busy { retry_after } => Self::Busy(retry_after),
            AuthRefusal::Unavailable { retry_after } => Self::Unavailable(retry_after),
        }
    }
}
