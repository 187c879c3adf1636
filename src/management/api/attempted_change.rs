//! The change that a request attempts, in the audit log's words: for requests that are refused before the record, which
//! writes the audit log, is asked.

use http::Method;

use super::input::Input;
use super::query;
use super::resource_type::Type;
use super::route::{Route, Target};
use crate::management::operations::Caller;
use crate::management::request::Request;
use crate::store::Attempt;

/// The change that a request attempts; `None` if such requests change nothing.
pub(super) fn of(request: &Request, route: &Route, caller: &Caller) -> Option<Attempt> {
    let method = &request.head.method;
    match &route.target {
        Target::Collection(kind) if method == Method::POST => {
            let audit = kind.audit.as_ref()?;
            let object = new_object(request, route, caller, audit.new_object);
            Some(Attempt::from_client(audit.create, audit.subject, &object))
        }
        Target::Resource(kind, id) => {
            let (action, subject) = on_resource(request, kind)?;
            Some(Attempt::from_client(action, subject, id))
        }
        _ => None,
    }
}

/// Action and subject.
fn on_resource(request: &Request, kind: Type) -> Option<(&'static str, &'static str)> {
    let audit = kind.audit.as_ref()?;
    match request.head.method {
        Method::PUT => Some((audit.update, audit.subject)),
        Method::DELETE => Some(("remove", audit.subject)),
        Method::POST if !kind.actions.is_empty() => {
            let name = query::parameters(request.query()).find(|(name, _)| name == "action");
            let named =
                |(_, name): &(String, String)| kind.actions.iter().find(|action| action.name == *name);
            let action = name.as_ref().and_then(named);
            Some(action.map_or((audit.update, audit.subject), |action| action.audit))
        }
        _ => None,
    }
}

/// What a new object would belong to, or be called.
fn new_object(request: &Request, route: &Route, caller: &Caller, field: Option<&'static str>) -> String {
    if let Some(environment) = &route.environment {
        return environment.clone();
    }
    let Some(field) = field else { return caller.owner().to_string() };
    let input = Input::read(request).ok();
    let named = input.as_ref().and_then(|input| input.text(field).ok().flatten());
    named.unwrap_or_default().to_owned()
}
