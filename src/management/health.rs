//! Health checks and metrics.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use http::header::{ACCEPT, AUTHORIZATION, VARY};
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode};
use uuid::Uuid;

use super::answer::{Answer, refuse, with_body};
use super::keys_expiring::KeysExpiring;
use super::metrics_token::MetricsToken;
use super::refusal::Refusal;
use super::scope;
use crate::auth::{Authenticator, Credential};
use crate::telemetry::{Metrics, MetricsFormat};

const TEXT: &str = "text/plain; charset=utf-8";

/// Whether [`Health::answer`] answers this path.
pub(super) fn is_health_or_metrics(path: &str) -> bool {
    is_health_check(path) || path == "/metrics"
}

/// Whether this is the path of a health check.
pub(super) fn is_health_check(path: &str) -> bool {
    matches!(path, "/healthz" | "/readyz")
}

/// The gateway's health.
#[derive(Clone)]
pub struct Health {
    /// Tells whether the gateway's knowledge of keys is fresh, and verifies who asks for metrics.
    pub authenticator: Arc<Authenticator>,
    /// The gateway is stopping.
    pub draining: Arc<AtomicBool>,
    /// All metrics.
    pub metrics: Arc<Metrics>,
    /// What is counted when they are asked for.
    pub keys_expiring: KeysExpiring,
}

impl Health {
    /// Answers `/healthz` (the process runs), `/readyz` (it can serve keys) and `/metrics` (for admin keys and the
    /// scraper's token); `None` for any other path. Monitoring may use any host name, so `Host` is not checked.
    pub(super) async fn answer(
        &self,
        head: &Parts,
        source: IpAddr,
        token: Option<&MetricsToken>,
    ) -> Option<Answer> {
        let path = head.uri.path();
        if !is_health_or_metrics(path) {
            return None;
        }
        let id = Uuid::new_v4().to_string();
        if !matches!(head.method, Method::GET | Method::HEAD) {
            let refusal = Refusal::MethodNotAllowed { allow: "GET, HEAD".to_owned(), detail: None };
            return Some(refuse(&refusal, &id));
        }
        Some(match path {
            "/healthz" => text(StatusCode::OK, "ok\n"),
            "/readyz" if self.draining.load(Ordering::Relaxed) => {
                text(StatusCode::SERVICE_UNAVAILABLE, "the gateway is stopping\n")
            }
            "/readyz" if !self.authenticator.has_lease() => {
                text(StatusCode::SERVICE_UNAVAILABLE, "the store has not been heard of for too long\n")
            }
            "/readyz" => text(StatusCode::OK, "ready\n"),
            _ => match self.authorize(head, source, token).await {
                Ok(()) => {
                    self.keys_expiring.refresh().await;
                    let format = wanted_format(head);
                    let mut answer =
                        with_body(StatusCode::OK, format.content_type(), self.metrics.text(format));
                    answer.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
                    answer
                }
                Err(refusal) => refuse(&refusal, &id),
            },
        })
    }

    async fn authorize(
        &self,
        head: &Parts,
        source: IpAddr,
        token: Option<&MetricsToken>,
    ) -> Result<(), Refusal> {
        let mut values = head.headers.get_all(AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return Err(Refusal::Unauthorized) };
        if token.is_some_and(|token| token.is_in(value.as_bytes())) {
            return Ok(());
        }
        let identity = match Credential::parse(value.as_bytes()) {
            Ok(credential) => self.authenticator.authenticate(&credential, source, Instant::now()).await?,
            Err(_) => return Err(self.authenticator.refuse_malformed(source).into()),
        };
        scope::require_within(&identity.principal.key, &head.method, head.uri.path())?;
        if identity.principal.is_admin() { Ok(()) } else { Err(Refusal::Forbidden { detail: None }) }
    }
}

impl std::fmt::Debug for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Health")
    }
}

fn wanted_format(head: &Parts) -> MetricsFormat {
    let accepted: Vec<_> =
        head.headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    MetricsFormat::from_accept(&accepted.join(","))
}

fn text(status: StatusCode, body: &'static str) -> Answer {
    with_body(status, TEXT, body)
}
