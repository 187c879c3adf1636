//! One request of the API, by a verified caller: what it says beside its body, and how it is answered.

use http::header::{ETAG, IF_MATCH};
use http::{HeaderName, HeaderValue, StatusCode};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::Value;

use super::types::{Audience, Type};
use super::{collection, prefix, query};
use crate::management::answer::{Answer, json as json_answer};
use crate::management::operations::{Caller, Operations, SelfLockout};
use crate::management::refusal::Refusal;
use crate::management::request::Request;
use crate::management::resource_json::{self, RenderOptions};
use crate::management::state::Management;
use crate::model::{EnvironmentId, KeyOwner, Name, State};
use crate::store::{ChangeNumber, ConfirmedUpTo, Expected, Receipt, Transition};

const ACCOUNT_ID: HeaderName = HeaderName::from_static("x-api-account-id");
const ACCOUNT_KIND: HeaderName = HeaderName::from_static("x-api-account-kind");
const ACCOUNT_NAME: HeaderName = HeaderName::from_static("x-api-account-name");
/// The change that an answer to a change tells of, by its number in the log.
const CHANGE: HeaderName = HeaderName::from_static("x-api-change");
const USER_ID: HeaderName = HeaderName::from_static("x-api-user-id");

/// What a name is written with in a header: visible ASCII but the percent sign.
const IN_HEADER: &AsciiSet = &CONTROLS.add(b' ').add(b'%').add(b'"');

/// One request of the API, by a verified caller.
pub(super) struct ApiRequest<'a> {
    pub(super) management: &'a Management,
    pub(super) request: &'a Request,
    pub(super) caller: &'a Caller,
    /// The environment that the path goes through, which the caller may see.
    pub(super) context: Option<EnvironmentId>,
    pub(super) audience: Audience,
    /// What is known to be in force on every gateway.
    pub(super) confirmed_up_to: ConfirmedUpTo,
}

impl ApiRequest<'_> {
    pub(super) fn operations(&self) -> &Operations {
        &self.management.operations
    }

    pub(super) fn prefix(&self) -> String {
        prefix(self.request, self.context.as_ref())
    }

    pub(super) fn top(&self) -> String {
        prefix(self.request, None)
    }

    /// How documents are seen from here.
    pub(super) fn view(&self, offers_actions: bool, is_pending: bool) -> RenderOptions {
        RenderOptions { prefix: Some(self.prefix()), offers_actions, is_pending }
    }

    /// The same outside any environment.
    pub(super) fn top_view(&self, offers_actions: bool, is_pending: bool) -> RenderOptions {
        RenderOptions { prefix: Some(self.top()), offers_actions, is_pending }
    }

    /// Whether the caller has said that the own key is meant.
    pub(super) fn confirmed(&self) -> SelfLockout {
        let is_said =
            query::pairs(self.request.query()).any(|(name, value)| name == "confirm" && value == "self");
        if is_said { SelfLockout::Confirmed } else { SelfLockout::NotConfirmed }
    }

    /// As what the caller knows the resource, by `If-Match` (RFC 9110 section 13.1.1). The record judges it, in the
    /// change's own transaction: whoever was too late is in the audit log.
    pub(super) fn expected(&self) -> Expected {
        let headers = &self.request.head.headers;
        if !headers.contains_key(IF_MATCH) {
            return Expected::Any;
        }
        let given: Vec<_> = headers
            .get_all(IF_MATCH)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(str::trim)
            .collect();
        if given.contains(&"*") {
            return Expected::Any;
        }
        // what is no tag of ours matches nothing
        Expected::OneOf(given.into_iter().filter_map(revision_in).collect())
    }

    /// The way to `to`, from what the caller knows.
    pub(super) fn transition(&self, to: State) -> Transition {
        Transition { to, expected: self.expected() }
    }

    /// The status of a change that may take rights away: `confirmed` where every gateway has confirmed it, else 202.
    pub(super) fn status(receipt: &Receipt, confirmed: StatusCode) -> StatusCode {
        if receipt.is_complete() { confirmed } else { StatusCode::ACCEPTED }
    }

    /// What is gone already cannot be deleted.
    pub(super) fn not_deletable(refusal: Refusal) -> Refusal {
        match refusal {
            Refusal::Invalid { code: "ActionNotAvailable", detail, .. } => {
                Refusal::MethodNotAllowed { allow: "GET".to_owned(), detail: Some(detail) }
            }
            refusal => refusal,
        }
    }

    pub(super) fn found(&self, document: &Value) -> Answer {
        self.answer(StatusCode::OK, document)
    }

    pub(super) fn found_at(&self, document: &Value, revision: ChangeNumber) -> Answer {
        tagged(self.found(document), revision)
    }

    pub(super) fn done(&self, mut document: Value, revision: ChangeNumber, receipt: &Receipt) -> Answer {
        document["receipt"] = resource_json::receipt(receipt);
        numbered(
            tagged(self.answer(Self::status(receipt, StatusCode::OK), &document), revision),
            receipt.number,
        )
    }

    /// The answer to the creation of what has a state: 201 in any case, since it takes no rights away. What it holds is
    /// wiped: it may be a secret.
    pub(super) fn once(&self, mut document: Value, revision: ChangeNumber, receipt: &Receipt) -> Answer {
        document["receipt"] = resource_json::receipt(receipt);
        let answer = tagged(self.answer(StatusCode::CREATED, &document), revision);
        let answer = numbered(answer, receipt.number);
        if let Some(Value::String(secret)) = document.get_mut("secretValue") {
            zeroize::Zeroize::zeroize(secret);
        }
        answer
    }

    /// An answer, with its actions under the name that the client asks for.
    pub(super) fn answer(&self, status: StatusCode, document: &Value) -> Answer {
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

    pub(super) fn list_fixed(&self, kind: Type, data: &[Value]) -> Result<Answer, Refusal> {
        let listed = query::read(self.request, kind.listed_by())?;
        Ok(self.found(&collection::document(self, kind, &listed, data, None)))
    }

    /// Who was recognised, as Rancher's servers say it.
    pub(super) fn say_who(&self, answer: &mut Answer) {
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
}

fn tag(revision: ChangeNumber) -> String {
    format!("\"{revision}\"")
}

/// The revision that a tag names, where it is written as [`tag`] does.
fn revision_in(given: &str) -> Option<ChangeNumber> {
    let revision = given.trim_matches('"').parse().ok().map(ChangeNumber)?;
    (given == tag(revision)).then_some(revision)
}

fn tagged(mut answer: Answer, revision: ChangeNumber) -> Answer {
    if let Ok(tag) = HeaderValue::from_str(&tag(revision)) {
        answer.headers_mut().insert(ETAG, tag);
    }
    answer
}

/// Says which change the answer tells of.
pub(super) fn numbered(mut answer: Answer, change: ChangeNumber) -> Answer {
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
