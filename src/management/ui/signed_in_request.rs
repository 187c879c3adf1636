//! One request of somebody who has signed in.

use std::sync::Arc;

use form_urlencoded::Serializer;
use http::header::LOCATION;
use http::{HeaderValue, Method, StatusCode};

use super::super::answer::{Answer, with_body};
use super::super::flash::{Notice, NoticeKind};
use super::super::operations::{Caller, Changed, Operations};
use super::super::refusal::Refusal;
use super::super::request::Request;
use super::super::session::Session;
use super::super::state::Management;
use super::form::Form;
use super::page::{Layout, Section, SignedInAccount};
use crate::store::{GatewayEntry, Receipt};

/// The request, who makes it, and the session it belongs to.
pub(super) struct SignedInRequest<'a> {
    pub(super) management: &'a Management,
    pub(super) http: &'a Request,
    pub(super) caller: Caller,
    pub(super) session: Session,
}

impl SignedInRequest<'_> {
    pub(super) fn operations(&self) -> &Operations {
        &self.management.operations
    }

    /// The layout of a page. What the page before has left is shown in it, and gone.
    pub(super) fn layout(&self, title: impl Into<String>, section: Section) -> Layout {
        Layout { section: Some(section), ..self.layout_without_section(title) }
    }

    /// The layout of a page that is no part of the navigation.
    pub(super) fn layout_without_section(&self, title: impl Into<String>) -> Layout {
        let account = self.caller.account();
        Layout {
            title: title.into(),
            section: None,
            account: account.map(|account| SignedInAccount {
                name: account.name.to_string(),
                id: account.id.to_string(),
                is_admin: self.caller.is_admin(),
            }),
            search: String::new(),
            csrf_token: Arc::clone(&self.session.csrf_token),
            notice: if self.http.head.method == Method::HEAD {
                None
            } else {
                self.session.flash.take_notice()
            },
            age: self.management.authenticator.staleness().map(|age| age.as_secs()),
        }
    }

    /// Path and query of this request, to come back to.
    pub(super) fn url(&self) -> String {
        self.http.head.uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string)
    }

    /// The value of a parameter of the query string; `None` where it is absent, empty or given twice.
    pub(super) fn parameter(&self, wanted: &str) -> Option<String> {
        parameter(self.http.query(), wanted)
    }

    /// Where this page was asked from; `usual` where it does not say.
    pub(super) fn return_path(&self, usual: &str) -> String {
        self.parameter("to").filter(|to| is_local_path(to)).unwrap_or_else(|| usual.to_owned())
    }

    /// Sends the browser back to where a form was asked from, with a notice.
    pub(super) fn redirect_back(&self, form: &Form, usual: &str, notice: Notice) -> Answer {
        self.session.flash.set_notice(notice);
        redirect(&form_return_path(form, usual))
    }
}

/// Where a form was asked from; `usual` where it does not say.
pub(super) fn form_return_path(form: &Form, usual: &str) -> String {
    let to = form.value("to");
    if is_local_path(to) { to.to_owned() } else { usual.to_owned() }
}

/// The value of a parameter of a query string; `None` where it is absent, empty or given twice.
pub(super) fn parameter(query: &str, wanted: &str) -> Option<String> {
    let mut values = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == wanted);
    match (values.next(), values.next()) {
        (Some((_, value)), None) if !value.is_empty() => Some(value.into_owned()),
        _ => None,
    }
}

/// A path with parameters.
pub(super) fn with_query(path: &str, parameters: &[(&str, &str)]) -> String {
    let query = Serializer::new(String::new()).extend_pairs(parameters).finish();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

/// Whether a text is a path of this listener, and no way to another site in disguise: browsers read `//` and `/\` as
/// the beginning of a host.
pub(super) fn is_local_path(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next() == Some(b'/')
        && !text[1..].starts_with('/')
        && text.len() <= 4096
        && bytes.all(|byte| byte.is_ascii_graphic() && byte != b'\\')
}

/// Sends the browser on, to a page that it gets.
pub(super) fn redirect(path: &str) -> Answer {
    let mut answer = with_body(StatusCode::SEE_OTHER, "text/plain; charset=utf-8", "");
    let location = HeaderValue::from_str(path).unwrap_or(HeaderValue::from_static("/"));
    answer.headers_mut().insert(LOCATION, location);
    answer
}

/// What is said of something that was done: the sentence, and where it is in force.
pub(super) fn change_notice<T>(done: &Changed<T>, sentence: &str) -> Notice {
    let kind = if done.is_confirmed() { NoticeKind::Done } else { NoticeKind::Pending };
    Notice { kind, text: format!("{sentence} {}", receipt_sentence(done)) }
}

/// Where a change is in force, and who has not confirmed it.
pub(super) fn receipt_sentence<T>(done: &Changed<T>) -> String {
    let change = done.receipt.number;
    if done.is_confirmed() {
        return format!("In force on {} since change {change}.", names(&done.receipt.applied));
    }
    let until = match done.receipt.not_after() {
        Some(time) => format!("After {time}, no gateway acts on the old state."),
        None => "Reload in a moment.".to_owned(),
    };
    let waiting = waiting(&done.receipt);
    format!("It is recorded as change {change}, but not yet confirmed by {waiting}. {until}")
}

/// The gateways that have not confirmed a change.
pub(super) fn waiting(receipt: &Receipt) -> String {
    if receipt.waiting.is_empty() { "every gateway".to_owned() } else { names(&receipt.waiting) }
}

fn names(gateways: &[GatewayEntry]) -> String {
    let names: Vec<_> = gateways.iter().map(|gateway| gateway.name.as_str()).collect();
    if names.is_empty() { "every gateway".to_owned() } else { names.join(", ") }
}

/// What is said of something that was not done, where the place to say it is the page that it was asked on; other
/// refusals have pages of their own.
pub(super) fn error_notice(refusal: Refusal) -> Result<Notice, Refusal> {
    let text = match &refusal {
        Refusal::Invalid { detail, .. }
        | Refusal::BadRequest { detail, .. }
        | Refusal::PreconditionFailed { detail }
        | Refusal::MethodNotAllowed { detail: Some(detail), .. } => sentence(detail),
        _ => return Err(refusal),
    };
    Ok(Notice { kind: NoticeKind::Problem, text })
}

/// An error's words as a sentence.
pub(super) fn sentence(words: &str) -> String {
    let mut characters = words.chars();
    let first = characters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    let end = if words.ends_with(['.', '!', '?']) { "" } else { "." };
    format!("{first}{}{end}", characters.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_own_paths_are_gone_back_to() {
        for path in ["/", "/keys", "/keys?a=b&c=%2F%2F#x", "/keys//x"] {
            assert!(is_local_path(path), "{path}");
        }
        for path in
            ["", "keys", "//evil.test", "/\\evil.test", "https://evil.test", "/a b", "/a\r\nX: y", "/é"]
        {
            assert!(!is_local_path(path), "{path}");
        }
        assert!(!is_local_path(&format!("/{}", "x".repeat(5000))));
    }

    #[test]
    fn parameters_are_escaped() {
        assert_eq!(
            with_query("/keys/new", &[("to", "/keys?a=b&c=d")]),
            "/keys/new?to=%2Fkeys%3Fa%3Db%26c%3Dd"
        );
        assert_eq!(parameter("to=%2Fkeys%3Fa%3Db&x=1", "to").as_deref(), Some("/keys?a=b"));
        assert_eq!(parameter("to=1&to=2", "to"), None);
    }

    #[test]
    fn errors_become_sentences() {
        assert_eq!(sentence("a name is short"), "A name is short.");
        assert_eq!(sentence("Done!"), "Done!");
    }
}
