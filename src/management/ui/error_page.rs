//! The page of a refusal: what is wrong, what to do, and the id under which the log knows the request.

use askama::Template;
use http::StatusCode;

use super::super::answer::{Answer, set_refusal_headers};
use super::super::refusal::Refusal;
use super::page::{Layout, render};
use super::signed_in_request::{SignedInRequest, sentence};

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage<'a> {
    layout: Layout,
    status: StatusCode,
    heading: &'static str,
    text: String,
    id: &'a str,
}

/// Answers with the page of a refusal; `request` where somebody has signed in.
pub(super) fn answer(request: Option<&SignedInRequest<'_>>, refusal: &Refusal, id: &str) -> Answer {
    let status = match refusal {
        // a page never challenges: RFC 9110 §15.5.2 wants one with every 401
        Refusal::Unauthorized => StatusCode::FORBIDDEN,
        _ => refusal.status(),
    };
    let (heading, usual) = words(refusal);
    let text = refusal.detail().map_or_else(|| usual.to_owned(), sentence);
    let layout = match request {
        Some(request) => request.layout_without_section(heading),
        None => Layout::signed_out(heading),
    };
    let mut answer = render(status, &ErrorPage { layout, status, heading, text, id });
    set_refusal_headers(&mut answer, refusal);
    answer
}

/// A heading, and what to do where the refusal does not say.
fn words(refusal: &Refusal) -> (&'static str, &'static str) {
    match refusal {
        Refusal::Unauthorized => ("Sign in first", "Sign in with an account key."),
        Refusal::Throttled { .. } => ("Too many attempts", "Wait, then try again."),
        Refusal::Unavailable { .. } => ("Not available now", "Try again in a moment."),
        Refusal::TooManyLists { .. } | Refusal::ListsBusy { .. } => {
            ("Too many lists at once", "Try again in a moment.")
        }
        Refusal::OutcomeUnknown => {
            ("The result is unknown", "The change may have been made. Check before you repeat it.")
        }
        Refusal::Forbidden { .. } | Refusal::IdIsForAdmins => {
            ("Not permitted", "Your account may not do this. Ask an admin, or an owner of the environment.")
        }
        Refusal::NarrowedKey => ("Not with this key", "Sign in with a key that has no scope."),
        Refusal::NotFound => ("Not found", "There is no such page, or it is not for your account to see."),
        Refusal::MethodNotAllowed { .. } => {
            ("Not possible", "This address does not accept this kind of request.")
        }
        Refusal::BadRequest { .. } | Refusal::Invalid { .. } => ("Invalid request", "Go back and try again."),
        Refusal::PreconditionFailed { .. } => {
            ("Changed meanwhile", "Somebody else has changed it. Open it again.")
        }
        Refusal::TooLarge => ("Too large", "Send less text."),
        Refusal::Misdirected { .. } => ("Unknown host name", "Open this page by its address."),
    }
}
