//! The management plane as a whole: from a request on its listener to the answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{
    AGE, ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderName, HeaderValue, Method, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

use super::connections::Place;
use super::desk::{Caller, Desk};
use super::health::{self, Health};
use super::refusal::Refusal;
use super::request::{self, Connection, Request};
use super::session::{self, Session, Sessions};
use super::site::Site;
use super::{api, ui};
use crate::auth::{AuthRefusal, Authenticator, Credential, CredentialError};
use crate::store::Via;
use crate::telemetry::RequestHistory;
use crate::wire::BASIC_CHALLENGE;

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub(super) const JSON: &str = "application/json; charset=utf-8";

/// An answer, whole.
pub(super) type Answer = Response<Full<Bytes>>;

/// Everything that answers on the management listener.
pub struct Management {
    pub(super) desk: Desk,
    pub(super) authenticator: Arc<Authenticator>,
    pub(super) health: Health,
    pub(super) sessions: Sessions,
    /// Requests of the last hour, by what became of them.
    pub(super) history: Arc<RequestHistory>,
    site: ArcSwap<Site>,
}

/// Whose a request's session cookie is.
pub(super) enum Visitor {
    /// There is none.
    Stranger,
    /// A session's that has ended.
    Ended(Ending),
    /// A session's that is alive.
    SignedIn(Caller, Session),
}

/// Why a session has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// It was unused for too long, is too old, or belongs to a gateway that has stopped.
    Time,
    /// Its key does not work any more.
    Key,
}

impl std::fmt::Debug for Management {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Management")
    }
}

impl Management {
    /// Puts it together.
    pub fn new(
        desk: Desk,
        authenticator: Arc<Authenticator>,
        health: Health,
        history: Arc<RequestHistory>,
        site: Site,
    ) -> Self {
        let sessions = Sessions::default();
        desk.set_environments_per_user(site.environments_per_user);
        Self { desk, authenticator, health, sessions, history, site: ArcSwap::from_pointee(site) }
    }

    /// Takes over what a reload has changed.
    pub fn reload(&self, site: Site) {
        self.desk.set_list_bounds(site.lists);
        self.desk.set_environments_per_user(site.environments_per_user);
        self.site.store(Arc::new(site));
    }

    /// What the configuration says now.
    pub(super) fn site(&self) -> Arc<Site> {
        self.site.load_full()
    }

    /// Answers a request.
    pub(super) async fn answer(
        &self,
        request: http::Request<Incoming>,
        connection: &Connection,
        place: &Place,
    ) -> Answer {
        let id = Uuid::new_v4().to_string();
        let (head, body) = request.into_parts();
        let site = self.site();
        let source = request::source_address(&head, connection.peer.ip(), &site.trusted_proxies);
        if place.is_for_health() && !health::is_check(head.uri.path()) {
            return refuse_without_place(&id);
        }
        if health::is_path(head.uri.path()) && !place.begin_request() {
            return refuse_without_place(&id);
        }
        if let Some(answer) = self.health.answer(&head, source).await {
            return answer;
        }
        let host = match request::admit_host(&head, connection, &site) {
            Ok(host) => host,
            Err(refusal) if api::is_api(head.uri.path()) => return refuse(&refusal, &id),
            Err(refusal) => return ui::refuse(&refusal, &id),
        };
        let is_secure = request::is_secure(&head, connection, &site);
        let has_body = !matches!(head.method, Method::GET | Method::HEAD);
        let mut request = Request { id, source, host, is_secure, head, body: Bytes::new() };
        let mut refusal = request.admit_origin().err();
        if refusal.is_none() && has_body {
            match request::read_body(body).await {
                Ok(body) => request.body = body,
                Err(unread) => refusal = Some(unread),
            }
        }
        // until here it has held its place against nobody
        if !place.begin_request() {
            return refuse_without_place(&request.id);
        }
        let mut answer = match (refusal, api::is_api(request.path())) {
            (Some(refusal), true) => api::refuse_unread(&refusal, &request),
            (Some(refusal), false) => ui::refuse(&refusal, &request.id),
            (None, true) => api::answer(self, &request).await,
            (None, false) => ui::answer(self, &request).await,
        };
        if let Ok(id) = HeaderValue::from_str(&request.id) {
            answer.headers_mut().insert(REQUEST_ID, id);
        }
        if let Some(age) = self.authenticator.staleness() {
            // what is read is what the record said then (RFC 9111 section 5.1)
            answer.headers_mut().insert(AGE, age.as_secs().into());
        }
        answer
    }

    /// Who sends these credentials (RFC 7617).
    pub(super) async fn authenticate(&self, request: &Request) -> Result<Caller, Refusal> {
        let mut values = request.head.headers.get_all(http::header::AUTHORIZATION).iter();
        let credential = match (values.next(), values.next()) {
            (None, _) => return Err(Refusal::Unauthorized),
            (Some(_), Some(_)) => Err(CredentialError::Several),
            (Some(value), None) => Credential::parse(value.as_bytes()),
        };
        let credential = match credential {
            Ok(credential) => credential,
            Err(error @ CredentialError::Several) => {
                return Err(Refusal::BadRequest {
                    code: "Bad Request",
                    field: None,
                    detail: error.to_string(),
                });
            }
            Err(_) => return Err(self.authenticator.refuse_unreadable(request.source).into()),
        };
        self.verify(&credential, request, Via::Api).await
    }

    /// Who has signed in on the page; `None` where nobody has, or not any more.
    pub(super) async fn signed_in(&self, request: &Request) -> Result<Option<(Caller, Session)>, Refusal> {
        match self.visitor(request).await? {
            Visitor::SignedIn(caller, session) => Ok(Some((caller, session))),
            Visitor::Stranger | Visitor::Ended(_) => Ok(None),
        }
    }

    /// Whose the session's cookie is. The key is looked at again when anything about it has changed; a session whose
    /// key does not work any more ends.
    pub(super) async fn visitor(&self, request: &Request) -> Result<Visitor, Refusal> {
        let Some(token) = request.cookie(session::cookie_name(request.is_secure)) else {
            return Ok(Visitor::Stranger);
        };
        let Some(mut session) = self.sessions.find(token, &self.site(), Instant::now()) else {
            return Ok(Visitor::Ended(Ending::Time));
        };
        if session.identity.is_stale() {
            match self.authenticator.reread(&session.identity).await {
                Ok(identity) => {
                    self.sessions.renew(token, Arc::clone(&identity));
                    session.identity = identity;
                }
                Err(AuthRefusal::Unauthorized) => {
                    self.sessions.end(token);
                    return Ok(Visitor::Ended(Ending::Key));
                }
                Err(refusal) => return Err(refusal.into()),
            }
        } else if !self.authenticator.is_fresh() {
            return Err(Refusal::Unavailable { retry_after: Duration::from_secs(1) });
        }
        let caller = Caller {
            identity: Arc::clone(&session.identity),
            via: Via::Page,
            source: request.source,
            request_id: request.id.clone(),
        };
        Ok(Visitor::SignedIn(caller, session))
    }

    /// Whose this credential is. Failures are throttled as the proxy's are.
    pub(super) async fn verify(
        &self,
        credential: &Credential,
        request: &Request,
        via: Via,
    ) -> Result<Caller, Refusal> {
        let identity = self.authenticator.authenticate(credential, request.source, Instant::now()).await?;
        // a key that is used for nothing but management is no unused key
        identity.touch(Timestamp::now().as_second().unsigned_abs(), request.source);
        Ok(Caller { identity, via, source: request.source, request_id: request.id.clone() })
    }
}

/// A JSON answer.
pub(super) fn json(status: StatusCode, document: &Value) -> Answer {
    let mut body = document.to_string();
    // a person's prompt then stands on its own line
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

/// What a connection is told that has no place of its own, before it is closed.
fn refuse_without_place(id: &str) -> Answer {
    let mut answer = refuse(&Refusal::Unavailable { retry_after: Duration::from_secs(1) }, id);
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    answer
}

/// A refusal as an error document.
pub(super) fn refuse(refusal: &Refusal, id: &str) -> Answer {
    let mut answer = json(refusal.status(), &refusal.document(id));
    let headers = answer.headers_mut();
    match refusal {
        Refusal::Unauthorized => {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(BASIC_CHALLENGE));
        }
        Refusal::MethodNotAllowed { allow, .. } => {
            if let Ok(allow) = HeaderValue::from_str(allow) {
                headers.insert(ALLOW, allow);
            }
        }
        _ => {}
    }
    if let Some(after) = refusal.retry_after() {
        let seconds = u64::try_from(after.as_millis().div_ceil(1000)).unwrap_or(1);
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert(REQUEST_ID, id);
    }
    answer
}
