//! The REST API under `/v2-beta`, in the shapes of Rancher's, so that its clients work (`docs/api.md`).
//!
//! [`answer`] takes a request through these steps, each with a value of its own: route → identify → read → operate →
//! render. A new type is a file in `types/` and a row in [`types`].

mod api_request;
mod attempted_change;
mod audience;
mod field;
mod input;
mod openapi;
mod operate;
mod operation_outcome;
mod query;
mod render;
mod resource_type;
mod route;
mod types;
mod url;

use http::Method;

use super::answer::{Answer, refuse as refuse_request};
use super::identify::{self, Visitor};
use super::operations::Caller;
use super::refusal::Refusal;
use super::request::Request;
use super::scope;
use super::state::Management;
use api_request::ApiRequest;
use route::Route;

/// Whether a path is the API's.
pub(super) fn is_api(path: &str) -> bool {
    path == url::ROOT
        || path.strip_prefix(url::ROOT).is_some_and(|rest| rest.starts_with('/'))
        || path == openapi::PATH
}

/// Answers a request of the API.
pub(super) async fn answer(management: &Management, request: &Request) -> Answer {
    if request.path() == openapi::PATH {
        return openapi::answer(request);
    }
    let route = Route::parse(request.path());
    let answered = match identify(management, request).await {
        Ok(caller) => answer_caller(management, request, &route, &caller).await,
        Err(refusal) => Err(refusal),
    };
    let mut answer = answered.unwrap_or_else(|refusal| refuse_request(&refusal, &request.id));
    render::set_schemas_header(&mut answer, request, &route);
    answer
}

/// Refuses a request that was not admitted.
pub(super) fn refuse(refusal: &Refusal, request: &Request) -> Answer {
    let mut answer = refuse_request(refusal, &request.id);
    render::set_schemas_header(&mut answer, request, &Route::parse(request.path()));
    answer
}

/// The caller, by a credential; for `GET` also by a session of the page, so that its links to the API work.
async fn identify(management: &Management, request: &Request) -> Result<Caller, Refusal> {
    if !request.has_credential()
        && request.head.method == Method::GET
        && let Visitor::SignedIn(caller, _) = identify::by_session(management, request).await?
    {
        return Ok(caller);
    }
    identify::by_credential(management, request).await
}

async fn answer_caller(
    management: &Management,
    request: &Request,
    route: &Route,
    caller: &Caller,
) -> Result<Answer, Refusal> {
    let answered = async {
        scope::require_within(&caller.principal().key, &request.head.method, request.path())?;
        let request = ApiRequest::read(management, request, caller, route.environment_id()?).await?;
        let operation = operate::choose(route, &request)?;
        let reply = operation.run(&request).await?;
        Ok(render::render(reply, &request))
    };
    let answered = answered.await;
    if let Err(refusal) = &answered
        && let Some(attempt) = attempted_change::of(request, route, caller)
    {
        management.operations.audit_refusal(caller, attempt, refusal).await;
    }
    answered
}
