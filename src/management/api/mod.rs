//! The REST API under `/v2-beta`, in the shapes of Rancher's, so that its clients work (`docs/api.md`).
//!
//! [`answer`] reads what the path names ([`path`]), verifies the caller, looks whether the caller's role knows the
//! method ([`types`]), and hands over to the file of the type.

mod account;
mod attempt;
mod audit;
mod collection;
mod input;
mod key;
mod member;
mod openapi;
mod path;
mod project;
mod query;
mod schema;
mod types;

use http::header::{ETAG, IF_MATCH, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::{Value, json};

use super::app::{Answer, Management, json as json_answer, refuse};
use super::desk::{Caller, Confirmed, Desk};
use super::document::View;
use super::refusal::Refusal;
use super::request::Request;
use crate::model::{EnvironmentId, KeyOwner, Name, State};
use crate::store::{ChangeNumber, Edit};
use path::{ROOT, Target, Thing};
use types::{Audience, Type};

const SCHEMAS: HeaderName = HeaderName::from_static("x-api-schemas");
const ACCOUNT_ID: HeaderName = HeaderName::from_static("x-api-account-id");
const ACCOUNT_KIND: HeaderName = HeaderName::from_static("x-api-account-kind");
const ACCOUNT_NAME: HeaderName = HeaderName::from_static("x-api-account-name");
/// The change that an answer to a change tells of, by its number in the log.
const CHANGE: HeaderName = HeaderName::from_static("x-api-change");
const USER_ID: HeaderName = HeaderName::from_static("x-api-user-id");

/// What a name is written with in a header: visible ASCII but the percent sign.
const IN_HEADER: &AsciiSet = &CONTROLS.add(b' ').add(b'%').add(b'"');

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
        && let Some(attempt) = attempt::of(request, target, &caller)
    {
        management.desk.note_refused(&caller, attempt, refusal).await;
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
            management.desk.present_environment(caller, &id).await?;
            Some(id)
        }
    };
    let audience = Audience::of(caller, context.as_ref());
    let call = Call { management, request, caller, context, audience };
    let mut answer = call.dispatch(&target.thing).await?;
    call.say_who(&mut answer);
    Ok(answer)
}

/// Who asks: by a credential, or, to look only, by having signed in on the page ("View in API").
async fn identify(management: &Management, request: &Request) -> Result<Caller, Refusal> {
    if !request.has_credential()
        && request.head.method == Method::GET
        && let Some((caller, _)) = management.signed_in(request).await?
    {
        return Ok(caller);
    }
    management.authenticate(request).await
}

/// One request of the API, by a verified caller.
struct Call<'a> {
    management: &'a Management,
    request: &'a Request,
    caller: &'a Caller,
    /// The environment that the path goes through, which the caller may see.
    context: Option<EnvironmentId>,
    audience: Audience,
}

impl Call<'_> {
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
                    (Type::ProjectTemplate, _) => self.list_fixed(Type::ProjectTemplate, &[self.template()]),
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
        self.matched(kind, id).await?;
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
        self.matched(kind, id).await?;
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

    fn desk(&self) -> &Desk {
        &self.management.desk
    }

    fn prefix(&self) -> String {
        prefix(self.request, self.context.as_ref())
    }

    fn top(&self) -> String {
        prefix(self.request, None)
    }

    /// How documents are seen from here.
    fn view(&self, offers_actions: bool, is_pending: bool) -> View {
        View { prefix: Some(self.prefix()), offers_actions, is_pending }
    }

    /// The same outside any environment.
    fn top_view(&self, offers_actions: bool, is_pending: bool) -> View {
        View { prefix: Some(self.top()), offers_actions, is_pending }
    }

    /// Whether the caller has said that the own key is meant.
    fn confirmed(&self) -> Confirmed {
        let is_said =
            query::pairs(self.request.query()).any(|(name, value)| name == "confirm" && value == "self");
        if is_said { Confirmed::Itself } else { Confirmed::No }
    }

    /// The edit, which is refused where somebody else changes the resource before it is made.
    async fn expecting(&self, kind: Type, id: &str, edit: Edit) -> Result<Edit, Refusal> {
        Ok(Edit { expected: self.matched(kind, id).await?, ..edit })
    }

    /// Judges `If-Match` (RFC 9110 section 13.1.1) by the resource as it is now: refuses where no tag of it is the
    /// resource's own. The revision that was meant, if one was. What names no revision itself (memberships) matches
    /// `*` only.
    async fn matched(&self, kind: Type, id: &str) -> Result<Option<ChangeNumber>, Refusal> {
        let headers = &self.request.head.headers;
        if !headers.contains_key(IF_MATCH) {
            return Ok(None);
        }
        // 404 comes first
        let found = self.get(kind, id).await?;
        let tag = found.headers().get(ETAG).and_then(|tag| tag.to_str().ok());
        let given: Vec<_> = headers
            .get_all(IF_MATCH)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(str::trim)
            .collect();
        if given.contains(&"*") {
            return Ok(None);
        }
        match tag.filter(|tag| given.contains(tag)) {
            Some(tag) => Ok(tag.trim_matches('"').parse().ok().map(ChangeNumber)),
            None => Err(Refusal::Changed {
                detail: "the resource is not as it was when If-Match was made for it: look at it again"
                    .to_owned(),
            }),
        }
    }

    /// 200 where everything has confirmed, else 202.
    fn status(in_force: bool) -> StatusCode {
        if in_force { StatusCode::OK } else { StatusCode::ACCEPTED }
    }

    /// What is gone already cannot be deleted.
    fn not_deletable(refusal: Refusal) -> Refusal {
        match refusal {
            Refusal::Invalid { code: "ActionNotAvailable", detail, .. } => {
                Refusal::MethodNotAllowed { allow: "GET".to_owned(), detail: Some(detail) }
            }
            refusal => refusal,
        }
    }

    fn found(&self, document: &Value) -> Answer {
        self.answer(StatusCode::OK, document)
    }

    fn found_at(&self, document: &Value, revision: ChangeNumber) -> Answer {
        tagged(self.found(document), revision)
    }

    fn done(&self, document: &Value, revision: ChangeNumber, in_force: bool) -> Answer {
        numbered(tagged(self.answer(Self::status(in_force), document), revision), revision)
    }

    /// The answer to a creation. What it holds is wiped: it may be a secret.
    fn once(&self, status: StatusCode, mut document: Value, revision: ChangeNumber) -> Answer {
        let answer = numbered(tagged(self.answer(status, &document), revision), revision);
        if let Some(Value::String(secret)) = document.get_mut("secretValue") {
            zeroize::Zeroize::zeroize(secret);
        }
        answer
    }

    /// An answer, with its actions under the name that the client asks for.
    fn answer(&self, status: StatusCode, document: &Value) -> Answer {
        if self.request.field("x-api-action-links").is_none_or(|value| value != "actionLinks") {
            return json_answer(status, document);
        }
        let mut document = document.clone();
        rename_actions(&mut document);
        if let Some(items) = document.get_mut("data").and_then(Value::as_array_mut) {
            items.iter_mut().for_each(rename_actions);
        }
        json_answer(status, &document)
    }

    fn list_fixed(&self, kind: Type, data: &[Value]) -> Result<Answer, Refusal> {
        let listed = query::read(self.request, kind.listed_by())?;
        Ok(self.found(&collection::document(self, kind, &listed, data, None)))
    }

    /// Who was recognised, as Rancher's servers say it.
    fn say_who(&self, answer: &mut Answer) {
        let own = match self.caller.owner() {
            KeyOwner::Account(id) => id.to_string(),
            KeyOwner::Environment(id) => id.to_string(),
        };
        let (kind, name) = match self.caller.account() {
            Some(account) => (account.kind.as_str(), Some(&account.name)),
            None => ("project", None),
        };
        let effective = self.context.as_ref().map_or(own.clone(), ToString::to_string);
        let name = name.map(|name: &Name| utf8_percent_encode(name.as_str(), IN_HEADER).to_string());
        let said = [
            (ACCOUNT_ID, Some(effective)),
            (USER_ID, Some(own)),
            (ACCOUNT_KIND, Some(kind.to_owned())),
            (ACCOUNT_NAME, name),
        ];
        for (header, value) in said {
            if let Some(Ok(value)) = value.map(|value| HeaderValue::from_str(&value)) {
                answer.headers_mut().insert(header, value);
            }
        }
    }

    /// `apiVersion`: where everything begins.
    fn version(&self) -> Value {
        let prefix = prefix(self.request, None);
        let mut links = serde_json::Map::new();
        for kind in Type::ALL.into_iter().filter(|kind| kind.methods(self.audience).is_some()) {
            let plural = kind.plural();
            links.insert(plural.to_owned(), format!("{prefix}/{}", plural.to_ascii_lowercase()).into());
        }
        links.insert("self".to_owned(), prefix.into());
        json!({ "id": VERSION_ID, "type": "apiVersion", "baseType": "apiVersion", "links": links, "actions": {} })
    }

    /// The one template that environments are made from: they have nothing of their own to choose.
    fn template(&self) -> Value {
        let url = format!("{}/projecttemplates/{TEMPLATE_ID}", prefix(self.request, None));
        json!({
            "id": TEMPLATE_ID,
            "type": "projectTemplate",
            "baseType": "projectTemplate",
            "links": { "self": url },
            "actions": {},
            "name": "Cattle",
            "description": "What Rancher's command line asks for; every environment is alike here",
        })
    }
}

const VERSION_ID: &str = "v2-beta";
const TEMPLATE_ID: &str = "1pt1";

fn tagged(mut answer: Answer, revision: ChangeNumber) -> Answer {
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{revision}\"")) {
        answer.headers_mut().insert(ETAG, tag);
    }
    answer
}

/// Says which change the answer tells of.
fn numbered(mut answer: Answer, change: ChangeNumber) -> Answer {
    answer.headers_mut().insert(CHANGE, HeaderValue::from(change.0));
    answer
}

fn rename_actions(document: &mut Value) {
    if let Some(document) = document.as_object_mut()
        && let Some(actions) = document.remove("actions")
    {
        document.insert("actionLinks".to_owned(), actions);
    }
}
