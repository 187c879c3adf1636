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
use super::page::{Frame, Section, Who};
use crate::store::{GatewayEntry, Receipt};

/// The request, who makes it, and the session it belongs to.
pub(super) struct Visit<'a> {
    pub(super) management: &'a Management,
    pub(super) request: &'a Request,
    pub(super) caller: Caller,
    pub(super) session: Session,
}

impl Visit<'_> {
    pub(super) fn operations(&self) -> &Operations {
        &self.management.operations
    }

    /// The frame of a page. What the page before has left is shown in it, and gone.
    pub(super) fn frame(&self, title: impl Into<String>, section: Section) -> Frame {
        Frame { section: Some(section), ..self.frame_of_nothing(title) }
    }

    /// The frame of a page that is no part of the navigation.
    pub(super) fn frame_of_nothing(&self, title: impl Into<String>) -> Frame {
        let account = self.caller.account();
        Frame {
            title: title.into(),
            section: None,
            who: account.map(|account| Who {
                name: account.name.to_string(),
                id: account.id.to_string(),
                is_admin: self.caller.is_admin(),
            }),
            form_token: Arc::clone(&self.session.form_token),
            notice: if self.request.head.method == Method::HEAD {
                None
            } else {
                self.session.flash.take_notice()
            },
            age: self.management.authenticator.staleness().map(|age| age.as_secs()),
        }
    }

    /// Path and query of this request, to come back to.
    pub(super) fn here(&self) -> String {
        self.request.head.uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string)
    }

    /// The value of a parameter of the query string; `None` where it is absent, empty or given twice.
    pub(super) fn parameter(&self, wanted: &str) -> Option<String> {
        parameter(self.request.query(), wanted)
    }

    /// Where this page was asked from; `usual` where it does not say.
    pub(super) fn origin(&self, usual: &str) -> String {
        self.parameter("to").filter(|to| is_own_path(to)).unwrap_or_else(|| usual.to_owned())
    }

    /// Sends the browser back to where a form was asked from, with a notice.
    pub(super) fn back(&self, form: &Form, usual: &str, notice: Notice) -> Answer {
        self.session.flash.set_notice(notice);
        see_other(&origin_of(form, usual))
    }
}

/// Where a form was asked from; `usual` where it does not say.
pub(super) fn origin_of(form: &Form, usual: &str) -> String {
    let to = form.value("to");
    if is_own_path(to) { to.to_owned() } else { usual.to_owned() }
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
pub(super) fn with(path: &str, parameters: &[(&str, &str)]) -> String {
    let query = Serializer::new(String::new()).extend_pairs(parameters).finish();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

/// Whether a text is a path of this listener, and no way to another site in disguise: browsers read `//` and `/\` as
/// the beginning of a host.
pub(super) fn is_own_path(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next() == Some(b'/')
        && !text[1..].starts_with('/')
        && text.len() <= 4096
        && bytes.all(|byte| byte.is_ascii_graphic() && byte != b'\\')
}

/// Sends the browser on, to a page that it gets.
pub(super) fn see_other(path: &str) -> Answer {
    let mut answer = with_body(StatusCode::SEE_OTHER, "text/plain; charset=utf-8", "");
    let location = HeaderValue::from_str(path).unwrap_or(HeaderValue::from_static("/"));
    answer.headers_mut().insert(LOCATION, location);
    answer
}

/// What is said of something that was done: the sentence, and whether it is in force.
pub(super) fn notice_of<T>(done: &Changed<T>, sentence: &str) -> Notice {
    let change = done.receipt.number;
    if done.is_confirmed() {
        Notice {
            kind: NoticeKind::Done,
            text: format!("{sentence} In force on {} since change {change}.", names(&done.receipt.applied)),
        }
    } else {
        let until = match done.receipt.not_after() {
            Some(time) => format!("After {time} no gateway acts on what was before."),
            None => "Reload in a moment.".to_owned(),
        };
        let waiting = waiting(&done.receipt);
        let text = format!(
            "{sentence} It is recorded as change {change}, but not yet confirmed by {waiting}. {until}"
        );
        Notice { kind: NoticeKind::Pending, text }
    }
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
pub(super) fn problem_of(refusal: Refusal) -> Result<Notice, Refusal> {
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
            assert!(is_own_path(path), "{path}");
        }
        for path in
            ["", "keys", "//evil.test", "/\\evil.test", "https://evil.test", "/a b", "/a\r\nX: y", "/é"]
        {
            assert!(!is_own_path(path), "{path}");
        }
        assert!(!is_own_path(&format!("/{}", "x".repeat(5000))));
    }

    #[test]
    fn parameters_are_escaped() {
        assert_eq!(with("/keys/new", &[("to", "/keys?a=b&c=d")]), "/keys/new?to=%2Fkeys%3Fa%3Db%26c%3Dd");
        assert_eq!(parameter("to=%2Fkeys%3Fa%3Db&x=1", "to").as_deref(), Some("/keys?a=b"));
        assert_eq!(parameter("to=1&to=2", "to"), None);
    }

    #[test]
    fn errors_become_sentences() {
        assert_eq!(sentence("a name is short"), "A name is short.");
        assert_eq!(sentence("Done!"), "Done!");
    }
}
