//! The REST API under `/v2-beta`, in the shapes of Rancher's, so that its clients work (`docs/api.md`).
//!
//! [`answer`] reads what the path names ([`path`]), verifies the caller, looks whether the caller's role knows the
//! method ([`types`]), and hands over to the file of the type.

mod account;
mod api_request;
mod attempted_change;
mod audit;
mod collection;
mod fixed;
mod input;
mod key;
mod member;
mod openapi;
mod path;
mod project;
mod query;
mod schema;
mod types;

use http::header::WWW_AUTHENTICATE;
use http::{HeaderName, HeaderValue, Method};

use super::answer::{Answer, refuse};
use super::identify::{self, Visitor};
use super::operations::Caller;
use super::refusal::Refusal;
use super::request::Request;
use super::resource_json::TEMPLATE_ID;
use super::state::Management;
use crate::model::{EnvironmentId, State};
use api_request::ApiRequest;
use fixed::VERSION_ID;
use path::{ROOT, Target, Thing};
use types::{Audience, Type};

const SCHEMAS: HeaderName = HeaderName::from_static("x-api-schemas");

/// Whether a path is the API's.
pub(super) fn is_api(path: &str) -> bool {
    path == ROOT || path.strip_prefix(ROOT).is_some_and(|rest| rest.starts_with('/')) || path == openapi::PATH
}

/// Answers a request of the API.
pub(super) async fn answer(management: &Management, request: &Request) -> Answer {
    if request.path() == openapi::PATH {
        return openapi::answer(request);
    }
    let target = Target::parse(request.path());
    let mut answer = match handle(management, request, &target).await {
        Ok(answer) => answer,
        Err(refusal) => refuse(&refusal, &request.id),
    };
    say_where_schemas_are(&mut answer, request);
    answer
}

/// Refuses a request of the API before anything of it was read.
pub(super) fn refuse_unread(refusal: &Refusal, request: &Request) -> Answer {
    let mut answer = refuse(refusal, &request.id);
    say_where_schemas_are(&mut answer, request);
    answer
}

/// What every answer says, refusals too: Rancher's clients begin there.
fn say_where_schemas_are(answer: &mut Answer, request: &Request) {
    let context = Target::parse(request.path()).context_id().and_then(Result::ok);
    let schemas = format!("{}/schemas", prefix(request, context.as_ref()));
    let headers = answer.headers_mut();
    if let Ok(schemas) = HeaderValue::from_str(&schemas) {
        headers.insert(SCHEMAS, schemas);
    }
    // a page that asks by script does not want the browser's own prompt
    if request.field("x-api-no-challenge").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        headers.remove(WWW_AUTHENTICATE);
    }
}

fn prefix(request: &Request, context: Option<&EnvironmentId>) -> String {
    let base = request.base();
    match context {
        Some(id) => format!("{base}{ROOT}/projects/{id}"),
        None => format!("{base}{ROOT}"),
    }
}

async fn handle(management: &Management, request: &Request, target: &Target) -> Result<Answer, Refusal> {
    let caller = identify(management, request).await?;
    let answer = serve(management, request, target, &caller).await;
    if let Err(refusal) = &answer
        && let Some(attempt) = attempted_change::of(request, target, &caller)
    {
        management.operations.audit_refusal(&caller, attempt, refusal).await;
    }
    answer
}

/// Answers a caller.
async fn serve(
    management: &Management,
    request: &Request,
    target: &Target,
    caller: &Caller,
) -> Result<Answer, Refusal> {
    let context = match target.context_id() {
        None => None,
        Some(id) => {
            let id = id.map_err(|()| Refusal::NotFound)?;
            management.operations.present_environment(caller, &id).await?;
            Some(id)
        }
    };
    let audience = Audience::of(&management.operations, caller, context.as_ref());
    let confirmed_up_to = management.operations.confirmed_up_to().await;
    let call = ApiRequest { management, request, caller, context, audience, confirmed_up_to };
    let mut answer = call.dispatch(&target.thing).await?;
    call.say_who(&mut answer);
    Ok(answer)
}

/// Who asks: by a credential, or, to look only, by having signed in on the page ("View in API").
async fn identify(management: &Management, request: &Request) -> Result<Caller, Refusal> {
    if !request.has_credential()
        && request.head.method == Method::GET
        && let Visitor::SignedIn(caller, _) = identify::by_session(management, request).await?
    {
        return Ok(caller);
    }
    identify::by_credential(management, request).await
}

impl ApiRequest<'_> {
    async fn dispatch(&self, thing: &Thing) -> Result<Answer, Refusal> {
        let method = &self.request.head.method;
        let is_here = |kind: Type| self.context.is_none() || kind.is_seen_through_environments();
        match thing {
            Thing::Collection(kind) | Thing::Resource(kind, _) | Thing::Link(kind, ..) if !is_here(*kind) => {
                Err(Refusal::NotFound)
            }
            Thing::Unknown => Err(Refusal::NotFound),
            Thing::Version => {
                self.allow(&["GET"])?;
                Ok(self.found(&self.version()))
            }
            Thing::Collection(kind) => {
                let methods = kind.methods(self.audience).ok_or(Refusal::NotFound)?;
                self.allow(methods.collection)?;
                match (*kind, method == Method::POST) {
                    (Type::ApiKey, false) => key::list(self, None).await,
                    (Type::ApiKey, true) => key::create(self).await,
                    (Type::Account, false) => account::list(self).await,
                    (Type::Account, true) => account::create(self).await,
                    (Type::Project, false) => project::list(self).await,
                    (Type::Project, true) => project::create(self).await,
                    (Type::ProjectMember, false) => member::list(self).await,
                    (Type::ProjectMember, true) => member::create(self).await,
                    (Type::AuditLog, _) => audit::list(self).await,
                    (Type::Schema, _) => self.list_fixed(
                        Type::Schema,
                        &schema::documents(self.audience, &self.prefix(), &self.top()),
                    ),
                    (Type::ProjectTemplate, _) => self.list_fixed(Type::ProjectTemplate, &self.templates()),
                    (Type::ApiVersion, _) => self.list_fixed(Type::ApiVersion, &[self.version()]),
                }
            }
            Thing::Resource(kind, id) => {
                let methods = kind.methods(self.audience).ok_or(Refusal::NotFound)?;
                if method == Method::POST {
                    return self.act(*kind, id).await;
                }
                self.allow_resource(*kind, methods.resource)?;
                match *method {
                    Method::PUT => self.update(*kind, id).await,
                    Method::DELETE => self.delete(*kind, id).await,
                    _ => self.get(*kind, id).await,
                }
            }
            Thing::Link(kind, id, link) => {
                kind.methods(self.audience).ok_or(Refusal::NotFound)?;
                self.allow(&["GET"])?;
                match (*kind, link.as_str()) {
                    (Type::ApiKey, "account") => key::owner(self, id).await,
                    (Type::Account, "apikeys") => account::keys(self, id).await,
                    _ => Err(Refusal::NotFound),
                }
            }
        }
    }

    async fn get(&self, kind: Type, id: &str) -> Result<Answer, Refusal> {
        match kind {
            Type::ApiKey => key::get(self, id).await,
            Type::Account => account::get(self, id).await,
            Type::Project => project::get(self, id).await,
            Type::ProjectMember => member::get(self, id).await,
            Type::AuditLog => audit::get(self, id).await,
            Type::Schema => {
                let kind = Type::named(id).ok_or(Refusal::NotFound)?;
                let document = schema::document(kind, self.audience, &self.prefix(), &self.top())
                    .ok_or(Refusal::NotFound)?;
                Ok(self.found(&document))
            }
            Type::ProjectTemplate if id == TEMPLATE_ID => Ok(self.found(&self.template())),
            Type::ApiVersion if id == VERSION_ID => Ok(self.found(&self.version())),
            Type::ProjectTemplate | Type::ApiVersion => Err(Refusal::NotFound),
        }
    }

    async fn update(&self, kind: Type, id: &str) -> Result<Answer, Refusal> {
        match kind {
            Type::ApiKey => key::update(self, id).await,
            Type::Account => account::update(self, id).await,
            Type::Project => project::update(self, id).await,
            Type::ProjectMember => member::update(self, id).await,
            Type::AuditLog | Type::Schema | Type::ProjectTemplate | Type::ApiVersion => {
                Err(Refusal::NotFound)
            }
        }
    }

    async fn delete(&self, kind: Type, id: &str) -> Result<Answer, Refusal> {
        match kind {
            Type::ApiKey => key::delete(self, id).await,
            Type::Account => account::delete(self, id).await,
            Type::Project => project::delete(self, id).await,
            Type::ProjectMember => member::delete(self, id).await,
            Type::AuditLog | Type::Schema | Type::ProjectTemplate | Type::ApiVersion => {
                Err(Refusal::NotFound)
            }
        }
    }

    /// `POST` on a resource: an action, named in the query.
    async fn act(&self, kind: Type, id: &str) -> Result<Answer, Refusal> {
        let resource = kind.methods(self.audience).map(|methods| methods.resource).unwrap_or_default();
        let not_here =
            || Refusal::MethodNotAllowed { allow: self.resource_methods(kind, resource), detail: None };
        // who may not change resources of this type has no actions on them
        if !resource.contains(&"PUT") {
            return Err(not_here());
        }
        let action = query::pairs(self.request.query()).find(|(name, _)| name == "action");
        let (_, action) = action.ok_or_else(not_here)?;
        // an action that needs nothing is still refused with what cannot be read
        let input = input::Input::read(self.request)?;
        input.edit()?;
        project::members_in(&input)?;
        // 404 comes first: what is not there has no actions
        self.get(kind, id).await?;
        if !kind.actions(self.audience).contains(&action.as_str()) {
            return Err(Refusal::invalid(
                "InvalidAction",
                "action",
                format!("there is no action '{action}'"),
            ));
        }
        match action.as_str() {
            "update" => self.update(kind, id).await,
            "setmembers" => project::set_members(self, id).await,
            "activate" => self.set_state(kind, id, State::Active).await,
            "deactivate" => self.set_state(kind, id, State::Inactive).await,
            _ => self.set_state(kind, id, State::Removed).await,
        }
    }

    async fn set_state(&self, kind: Type, id: &str, state: State) -> Result<Answer, Refusal> {
        let done = match kind {
            Type::Account => account::set_state(self, id, state).await,
            Type::Project => project::set_state(self, id, state).await,
            _ => key::set_state(self, id, state).await,
        };
        done.map_err(|refusal| match refusal {
            // an action says it in other words than DELETE does
            Refusal::MethodNotAllowed { detail: Some(detail), .. } => {
                Refusal::invalid("ActionNotAvailable", "action", detail)
            }
            refusal => refusal,
        })
    }

    fn allow(&self, methods: &[&str]) -> Result<(), Refusal> {
        if methods.contains(&self.request.head.method.as_str()) {
            Ok(())
        } else {
            Err(Refusal::MethodNotAllowed { allow: methods.join(", "), detail: None })
        }
    }

    fn allow_resource(&self, kind: Type, methods: &[&str]) -> Result<(), Refusal> {
        self.allow(methods).map_err(|_| Refusal::MethodNotAllowed {
            allow: self.resource_methods(kind, methods),
            detail: None,
        })
    }

    /// Rancher's schemas do not count the actions among the methods, `Allow` does (RFC 9110 section 10.2.1).
    fn resource_methods(&self, kind: Type, methods: &[&str]) -> String {
        let post = if kind.actions(self.audience).is_empty() { "" } else { ", POST" };
        format!("{}{post}", methods.join(", "))
    }
}
