//! The web page, rendered on the server: a `match` on the path's segments, and on whether something is sent.
//!
//! What is sent needs the session's form token (`form`), and an origin that is this listener's own
//! (`management::admit`). A page that has done something sends the browser on to one that shows it (`visit`), so that
//! reloading repeats nothing. Every page works without a script; the script only copies, opens forms as dialogs, and closes menus.

mod accounts;
mod attempted_change;
mod audit;
mod chart;
mod chooser;
mod created;
mod details;
mod environments;
mod form;
mod form_page;
mod keys;
mod list_page;
mod members;
mod moment;
mod overview;
mod page;
mod refused;
mod sign_in;
mod static_files;
mod table;
mod view;
mod visit;

use http::Method;

use super::answer::Answer;
use super::identify::{self, Visitor};
use super::refusal::Refusal;
use super::request::Request;
use super::state::Management;
use crate::model::State;
use form::Form;
use visit::Visit;

/// Answers a request that is none of the API's.
pub(super) async fn answer(management: &Management, request: &Request) -> Answer {
    let mut answer = respond(management, request).await;
    page::protect(&mut answer);
    answer
}

/// A refusal of a request that no page has seen.
pub(super) fn refuse(refusal: &Refusal, id: &str) -> Answer {
    let mut answer = refused::answer(None, refusal, id);
    page::protect(&mut answer);
    answer
}

async fn respond(management: &Management, request: &Request) -> Answer {
    let sent = match request.head.method {
        Method::GET | Method::HEAD => None,
        Method::POST => Some(Form::read(&request.body)),
        _ => {
            let refusal = Refusal::MethodNotAllowed { allow: "GET, HEAD, POST".to_owned(), detail: None };
            return refused::answer(None, &refusal, &request.id);
        }
    };
    if sent.is_none()
        && let Some(file) = static_files::answer(request.path())
    {
        return file;
    }
    let segments = segments(request.path());
    let visitor = match identify::by_session(management, request).await {
        Ok(visitor) => visitor,
        Err(refusal) => return refused::answer(None, &refusal, &request.id),
    };
    if segments == ["sign-in"] {
        return sign_in::answer(management, request, &visitor, sent.as_ref()).await;
    }
    let (caller, session) = match visitor {
        Visitor::SignedIn(caller, session) => (caller, session),
        Visitor::Anonymous => return sign_in::send_there(request, None),
        Visitor::SessionEnded(end) => return sign_in::send_there(request, Some(end.into())),
    };
    let visit = Visit { management, request, caller, session };
    if let Some(form) = &sent
        && let Err(refusal) = form.admit_token(&visit.session)
    {
        return refused::answer(Some(&visit), &refusal, &request.id);
    }
    let answer = pages(&visit, &segments, sent.as_ref()).await;
    if let (Err(refusal), Some(form)) = (&answer, &sent)
        && let Some(attempt) = attempted_change::of(&visit, &segments, form)
    {
        visit.operations().audit_refusal(&visit.caller, attempt, refusal).await;
    }
    match answer {
        Ok(answer) => answer,
        // the key stopped working while the page was made
        Err(Refusal::Unauthorized) => sign_in::end(&visit, sign_in::Why::Key),
        Err(refusal) => refused::answer(Some(&visit), &refusal, &request.id),
    }
}

/// What is found at a path, for somebody who has signed in. Segments are compared as they came: no id needs an escape.
async fn pages(visit: &Visit<'_>, segments: &[&str], sent: Option<&Form>) -> Result<Answer, Refusal> {
    match (segments, sent) {
        ([], None) => overview::show(visit).await,
        (["sign-out"], Some(_)) => Ok(sign_in::end(visit, sign_in::Why::SignedOut)),
        (["keys"], None) => keys::list(visit).await,
        (["keys", "new"], None) => keys::ask_new(visit).await,
        (["keys", "new"], Some(form)) => keys::create(visit, form).await,
        (["keys", id], None) => keys::show(visit, id).await,
        (["keys", id, "created"], None) => created::show(visit, id).await,
        (["keys", _, "created"], Some(_)) => Err(not_allowed("GET, HEAD")),
        (["keys", id, "edit"], None) => keys::ask_edit(visit, id).await,
        (["keys", id, "edit"], Some(form)) => keys::edit(visit, id, form).await,
        (["keys", id, verb], sent) => {
            let state = state_after(verb)?;
            match sent {
                None => keys::ask_state(visit, id, state).await,
                Some(form) => keys::set_state(visit, id, state, form).await,
            }
        }
        (["environments"], None) => environments::list(visit).await,
        (["environments", "new"], None) => environments::ask_new(visit),
        (["environments", "new"], Some(form)) => environments::create(visit, form).await,
        (["environments", id], None) => environments::show(visit, id).await,
        (["environments", id, "edit"], None) => environments::ask_edit(visit, id).await,
        (["environments", id, "edit"], Some(form)) => environments::edit(visit, id, form).await,
        (["environments", id, "members", "add"], None) => members::ask_add(visit, id).await,
        (["environments", id, "members", "add"], Some(form)) => members::add(visit, id, form).await,
        (["environments", id, "members", account, "role"], None) => {
            members::ask_role(visit, id, account).await
        }
        (["environments", id, "members", account, "role"], Some(form)) => {
            members::set_role(visit, id, account, form).await
        }
        (["environments", id, "members", account, "remove"], None) => {
            members::ask_remove(visit, id, account).await
        }
        (["environments", id, "members", account, "remove"], Some(form)) => {
            members::remove(visit, id, account, form).await
        }
        (["environments", id, verb], sent) => {
            let state = state_after(verb)?;
            match sent {
                None => environments::ask_state(visit, id, state).await,
                Some(form) => environments::set_state(visit, id, state, form).await,
            }
        }
        (["accounts"], None) => accounts::list(visit).await,
        (["accounts", "new"], None) => accounts::ask_new(visit),
        (["accounts", "new"], Some(form)) => accounts::create(visit, form).await,
        (["accounts", id], None) => accounts::show(visit, id).await,
        (["accounts", id, "edit"], None) => accounts::ask_edit(visit, id).await,
        (["accounts", id, "edit"], Some(form)) => accounts::edit(visit, id, form).await,
        (["accounts", id, verb], sent) => {
            let state = state_after(verb)?;
            match sent {
                None => accounts::ask_state(visit, id, state).await,
                Some(form) => accounts::set_state(visit, id, state, form).await,
            }
        }
        (["audit"], None) => audit::list(visit).await,
        (
            [] | ["audit" | "keys" | "environments" | "accounts"] | ["keys" | "environments" | "accounts", _],
            Some(_),
        ) => Err(not_allowed("GET, HEAD")),
        (["sign-out"], None) => Err(not_allowed("POST")),
        _ => Err(Refusal::NotFound),
    }
}

fn not_allowed(allow: &str) -> Refusal {
    Refusal::MethodNotAllowed { allow: allow.to_owned(), detail: None }
}

/// The state that an action's word leads to.
fn state_after(verb: &str) -> Result<State, Refusal> {
    match verb {
        "activate" => Ok(State::Active),
        "deactivate" => Ok(State::Inactive),
        "delete" => Ok(State::Removed),
        _ => Err(Refusal::NotFound),
    }
}

/// The segments of a path; a last empty one does not count.
fn segments(path: &str) -> Vec<&str> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let path = path.strip_suffix('/').unwrap_or(path);
    if path.is_empty() { Vec::new() } else { path.split('/').collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_segments_and_perhaps_a_last_slash() {
        assert!(segments("/").is_empty());
        assert_eq!(segments("/keys"), ["keys"]);
        assert_eq!(segments("/keys/1c5/"), ["keys", "1c5"]);
        assert_eq!(segments("//keys"), ["", "keys"]);
    }
}
