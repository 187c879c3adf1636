//! Operating: choosing the function of the table that a request names, if the caller's role permits it, and calling it.

use http::Method;

use super::api_request::ApiRequest;
use super::operation_outcome::OperationOutcome;
use super::query;
use super::resource_type::{Action, CollectionHandler, ResourceHandler, Type};
use super::route::{Route, Target};
use super::types;
use crate::management::refusal::Refusal;

/// The function that a request names, permitted by the role.
pub(super) enum Operation<'a> {
    Root,
    OnCollection(CollectionHandler),
    OnResource(ResourceHandler, &'a str),
    /// `POST` on a resource, with the name of an action that the type may not have.
    RunAction(Type, &'a str, String),
}

impl Operation<'_> {
    pub(super) async fn run(self, request: &ApiRequest<'_>) -> Result<OperationOutcome, Refusal> {
        match self {
            Self::Root => Ok(types::root(request)),
            Self::OnCollection(handler) => handler(request).await,
            Self::OnResource(handler, id) => handler(request, id).await,
            Self::RunAction(kind, id, action) => run_action(request, kind, id, &action).await,
        }
    }
}

/// Refuses types that do not exist for the role (404), and methods that it does not have there (405).
pub(super) fn choose<'a>(route: &'a Route, request: &ApiRequest<'_>) -> Result<Operation<'a>, Refusal> {
    let (method, audience) = (&request.http.head.method, request.audience);
    let methods_of = |kind: Type| {
        let is_here = route.environment.is_none() || kind.is_in_environments;
        kind.methods(audience).filter(|_| is_here).ok_or(Refusal::NotFound)
    };
    match &route.target {
        Target::Unknown => Err(Refusal::NotFound),
        Target::Root => {
            allow(method, &["GET"])?;
            Ok(Operation::Root)
        }
        Target::Collection(kind) => {
            let methods = methods_of(kind)?.collection;
            allow(method, methods)?;
            let handler = match &kind.create {
                Some(create) if method == Method::POST => create.handler,
                _ => kind.list,
            };
            Ok(Operation::OnCollection(handler))
        }
        Target::Resource(kind, id) => {
            let methods = methods_of(kind)?.resource;
            let actions = kind.actions(audience);
            let not_allowed = || not_allowed_on_resource(methods, actions);
            if method == Method::POST {
                // a role that may not change resources of this type has no actions on them
                let action = query::parameters(request.http.query()).find(|(name, _)| name == "action");
                let (_, action) = action.filter(|_| methods.contains(&"PUT")).ok_or_else(not_allowed)?;
                return Ok(Operation::RunAction(kind, id, action));
            }
            allow(method, methods).map_err(|_| not_allowed())?;
            let handler = match *method {
                Method::PUT => kind.update,
                Method::DELETE => kind.delete.as_ref().map(|delete| delete.handler),
                _ => Some(kind.get),
            };
            Ok(Operation::OnResource(handler.ok_or(Refusal::NotFound)?, id))
        }
        Target::Link(kind, id, name) => {
            methods_of(kind)?;
            allow(method, &["GET"])?;
            let link = kind.links.iter().find(|link| link.path == name).ok_or(Refusal::NotFound)?;
            Ok(Operation::OnResource(link.handler, id))
        }
    }
}

fn allow(method: &Method, methods: &[&str]) -> Result<(), Refusal> {
    if methods.contains(&method.as_str()) {
        Ok(())
    } else {
        Err(Refusal::MethodNotAllowed { allow: methods.join(", "), detail: None })
    }
}

/// Rancher's schemas do not count the actions among the methods, `Allow` does (RFC 9110 section 10.2.1).
fn not_allowed_on_resource(methods: &[&str], actions: &[Action]) -> Refusal {
    let post = if actions.is_empty() { "" } else { ", POST" };
    Refusal::MethodNotAllowed { allow: format!("{}{post}", methods.join(", ")), detail: None }
}

/// Runs an action.
async fn run_action(
    request: &ApiRequest<'_>,
    kind: Type,
    id: &str,
    name: &str,
) -> Result<OperationOutcome, Refusal> {
    // input that cannot be read is refused, though some actions need none
    let input = request.input()?;
    input.edit()?;
    types::members_in(&input)?;
    // 404 comes first: what does not exist has no actions
    (kind.get)(request, id).await?;
    let action = kind.actions(request.audience).iter().find(|action| action.name == name);
    let unknown = || Refusal::invalid("InvalidAction", "action", format!("there is no action '{name}'"));
    (action.ok_or_else(unknown)?.handler)(request, id).await.map_err(|refusal| match refusal {
        // an object's state is "not allowed" for `DELETE`, "not available" for an action
        Refusal::MethodNotAllowed { detail: Some(detail), .. } => {
            Refusal::invalid("ActionNotAvailable", "action", detail)
        }
        refusal => refusal,
    })
}
