//! One request to the management listener, from its head to the answer.

use std::time::Duration;

use http::HeaderValue;
use http::header::{AGE, CONNECTION};
use hyper::body::Incoming;
use uuid::Uuid;

use super::answer::{Answer, refuse, set_request_id};
use super::connection_slots::Slot;
use super::refusal::Refusal;
use super::request::Connection;
use super::state::Management;
use super::{admit, api, health, ui};

/// Answers a request: a health check at once; everything else is admitted and goes to the API or to the page, which
/// identify the caller, read what the request asks for, have `operations` do it, and render the outcome.
pub(super) async fn answer(
    management: &Management,
    request: http::Request<Incoming>,
    connection: &Connection,
    slot: &Slot,
) -> Answer {
    let id = Uuid::new_v4().to_string();
    let settings = management.settings();
    let (head, body) = request.into_parts();
    let source = admit::source_address(&head, connection.peer.ip(), &settings.trusted_proxies);

    if slot.is_for_health() && !health::is_health_check(head.uri.path()) {
        return refuse_without_slot(&id);
    }
    if health::is_health_or_metrics(head.uri.path()) && !slot.begin_request() {
        return refuse_without_slot(&id);
    }
    if let Some(answer) = management.health.answer(&head, source, settings.metrics_token.as_deref()).await {
        return answer;
    }

    let is_api = api::is_api(head.uri.path());
    let mut request = match admit::head(id.clone(), source, head, connection, &settings) {
        Ok(request) => request,
        Err(refusal) if is_api => return refuse(&refusal, &id),
        Err(refusal) => return ui::refuse(&refusal, &id),
    };
    let admitted = admit::origin_and_body(&mut request, body).await;
    // only now: a connection that has not sent its whole request gives way to others
    if !slot.begin_request() {
        return refuse_without_slot(&id);
    }
    let mut answer = match (admitted, is_api) {
        (Ok(()), true) => api::answer(management, &request).await,
        (Ok(()), false) => ui::answer(management, &request).await,
        (Err(refusal), true) => api::refuse(&refusal, &request),
        (Err(refusal), false) => ui::refuse(&refusal, &id),
    };
    set_request_id(&mut answer, &id);
    if let Some(age) = management.authenticator.staleness() {
        // the answer is as old as what this gateway knows of the record (RFC 9111 section 5.1)
        answer.headers_mut().insert(AGE, age.as_secs().into());
    }
    answer
}

/// The answer on a connection that is closed because all slots are taken.
fn refuse_without_slot(id: &str) -> Answer {
    let mut answer = refuse(&Refusal::Unavailable { retry_after: Duration::from_secs(1) }, id);
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    answer
}
