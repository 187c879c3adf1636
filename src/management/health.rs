//! Health and metrics.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;

use crate::auth::{AuthRefusal, Authenticator, Credential};
use crate::telemetry::{History, Metrics};
use crate::wire::{CHALLENGE, error_document};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TEXT: &str = "text/plain; charset=utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const JSON: &str = "application/json; charset=utf-8";

/// What the management listener knows of the gateway's state.
#[derive(Clone)]
pub struct Health {
    /// Whether what the gateway knows is fresh, and who asks for metrics.
    pub authenticator: Arc<Authenticator>,
    /// The gateway is stopping.
    pub draining: Arc<AtomicBool>,
    /// All figures.
    pub metrics: Arc<Metrics>,
    /// Requests of the last hour, by what became of them.
    pub history: Arc<History>,
}

impl Health {
    /// `/healthz`: the process answers. `/readyz`: it can serve keys. `/metrics`: for keys of admin accounts.
    pub(super) async fn answer(&self, request: Request<Incoming>, source: IpAddr) -> Response<Full<Bytes>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return refusal(StatusCode::METHOD_NOT_ALLOWED, None);
        }
        match request.uri().path() {
            "/healthz" => text(StatusCode::OK, TEXT, "ok\n".to_owned()),
            "/readyz" if self.draining.load(Ordering::Relaxed) => {
                text(StatusCode::SERVICE_UNAVAILABLE, TEXT, "the gateway is stopping\n".to_owned())
            }
            "/readyz" if !self.authenticator.is_fresh(Instant::now()) => text(
                StatusCode::SERVICE_UNAVAILABLE,
                TEXT,
                "the store has not been heard of for too long\n".to_owned(),
            ),
            "/readyz" => text(StatusCode::OK, TEXT, "ready\n".to_owned()),
            "/metrics" => match self.authorize_admin(&request, source).await {
                Ok(()) => text(StatusCode::OK, OPEN_METRICS, self.metrics.text()),
                Err(refusal) => refusal,
            },
            _ => refusal(StatusCode::NOT_FOUND, None),
        }
    }

    async fn authorize_admin(
        &self,
        request: &Request<Incoming>,
        source: IpAddr,
    ) -> Result<(), Response<Full<Bytes>>> {
        let mut values = request.headers().get_all(AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return Err(refusal(StatusCode::UNAUTHORIZED, None));
        };
        let verified = match Credential::parse(value.as_bytes()) {
            Ok(credential) => self.authenticator.authenticate(&credential, source, Instant::now()).await,
            Err(_) => Err(self.authenticator.refuse_unreadable(source)),
        };
        match verified {
            Ok(identity) if identity.principal.is_admin() => Ok(()),
            Ok(_) => Err(refusal(StatusCode::FORBIDDEN, None)),
            Err(AuthRefusal::Unauthorized) => Err(refusal(StatusCode::UNAUTHORIZED, None)),
            Err(AuthRefusal::Throttled { retry_after }) => {
                Err(refusal(StatusCode::TOO_MANY_REQUESTS, Some(retry_after)))
            }
            Err(AuthRefusal::Busy { retry_after } | AuthRefusal::Unavailable { retry_after }) => {
                Err(refusal(StatusCode::SERVICE_UNAVAILABLE, Some(retry_after)))
            }
        }
    }
}

fn text(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn refusal(status: StatusCode, retry_after: Option<Duration>) -> Response<Full<Bytes>> {
    let id = uuid::Uuid::new_v4().to_string();
    let mut response = text(status, JSON, error_document(&id, status, None));
    let headers = response.headers_mut();
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(CHALLENGE));
    }
    if let Some(after) = retry_after {
        headers.insert(
            RETRY_AFTER,
            HeaderValue::from(u64::try_from(after.as_millis().div_ceil(1000)).unwrap_or(1)),
        );
    }
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, id);
    }
    response
}
