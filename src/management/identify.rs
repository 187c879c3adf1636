//! Identification: who makes a request, by a credential (RFC 7617) or by a session of the page.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::AUTHORIZATION;
use jiff::Timestamp;

use super::operations::Caller;
use super::refusal::Refusal;
use super::request::Request;
use super::scope;
use super::session::{self, Session};
use super::state::Management;
use crate::auth::{AuthFailure, AuthRefusal, Credential, CredentialError};
use crate::store::Via;

/// Who opens a page.
pub(super) enum Visitor {
    /// The request has no session cookie.
    Anonymous,
    /// The cookie's session has ended.
    SessionEnded(SessionEnd),
    /// The session is alive.
    SignedIn(Caller, Session),
}

/// Why a session has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SessionEnd {
    /// It was idle too long, is too old, or was of a gateway process that has stopped.
    Expired,
    /// Its key does not work any more.
    KeyStopped,
    /// Its key may not be used from the client's address. Where it may be, the session goes on.
    Network,
    /// Its key has a scope that leaves no room for the page.
    Narrowed,
}

/// The caller that the request's `Authorization` names.
pub(super) async fn by_credential(management: &Management, request: &Request) -> Result<Caller, Refusal> {
    let mut values = request.head.headers.get_all(AUTHORIZATION).iter();
    let credential = match (values.next(), values.next()) {
        (None, _) => return Err(Refusal::Unauthorized),
        (Some(_), Some(_)) => Err(CredentialError::Several),
        (Some(value), None) => Credential::parse(value.as_bytes()),
    };
    let credential = match credential {
        Ok(credential) => credential,
        Err(error @ CredentialError::Several) => {
            return Err(Refusal::BadRequest { code: "Bad Request", field: None, detail: error.to_string() });
        }
        Err(_) => return Err(management.authenticator.refuse_malformed(request.source).into()),
    };
    verify(management, &credential, request, Via::Api).await
}

/// Verifies a credential. Failures count for the same throttle as the proxy's.
pub(super) async fn verify(
    management: &Management,
    credential: &Credential,
    request: &Request,
    via: Via,
) -> Result<Caller, Refusal> {
    let identity = management.authenticator.authenticate(credential, request.source, Instant::now()).await?;
    // a key that only manages is used too
    identity.record_use(Timestamp::now().as_second().unsigned_abs(), request.source);
    Ok(Caller { identity, via, source: request.source, request_id: request.id.clone() })
}

/// Who the session cookie belongs to. If anything about the session's key has changed, the key is read again; the
/// session ends if it does not work any more.
pub(super) async fn by_session(management: &Management, request: &Request) -> Result<Visitor, Refusal> {
    let Some(token) = request.cookie(session::cookie_name(request.is_secure)) else {
        return Ok(Visitor::Anonymous);
    };
    let Some(mut session) = management.sessions.find(token, &management.settings(), Instant::now()) else {
        return Ok(Visitor::SessionEnded(SessionEnd::Expired));
    };
    if session.identity.is_stale() {
        match management.authenticator.refresh(&session.identity, request.source).await {
            Ok(identity) => {
                management.sessions.renew(token, Arc::clone(&identity));
                session.identity = identity;
            }
            Err(AuthRefusal::Unauthorized(AuthFailure::Network)) => {
                return Ok(Visitor::SessionEnded(SessionEnd::Network));
            }
            Err(AuthRefusal::Unauthorized(_)) => {
                management.sessions.end(token);
                return Ok(Visitor::SessionEnded(SessionEnd::KeyStopped));
            }
            Err(refusal) => return Err(refusal.into()),
        }
    } else if !management.authenticator.has_lease() {
        return Err(Refusal::Unavailable { retry_after: Duration::from_secs(1) });
    }
    let key = &session.identity.principal.key;
    if !key.may_come_from(request.source) {
        return Ok(Visitor::SessionEnded(SessionEnd::Network));
    }
    if !scope::leaves_the_page(key) {
        management.sessions.end(token);
        return Ok(Visitor::SessionEnded(SessionEnd::Narrowed));
    }
    let caller = Caller {
        identity: Arc::clone(&session.identity),
        via: Via::Page,
        source: request.source,
        request_id: request.id.clone(),
    };
    Ok(Visitor::SignedIn(caller, session))
}
