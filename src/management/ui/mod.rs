//! The web page, rendered on the server: a `match` on the path's segments, and on whether something is sent.
//!
//! What is sent needs the session's form token (`form`), and an origin that is this listener's own
//! (`management::admit`). A page that has done something sends the browser on to one that shows it (`request`), so that
//! reloading repeats nothing. Every page works without a script; the script only copies, opens forms as dialogs, and closes menus.

mod accounts;
mod attempted_change;
mod audit;
mod audit_filters;
mod bulk_deactivate;
mod chart;
mod detail_page;
mod endpoints;
mod environment_picker;
mod environments;
mod error_page;
mod form;
mod form_page;
mod key_display;
mod key_forms;
mod key_list;
mod key_page;
mod key_rotation;
mod key_state;
mod list_page;
mod list_view;
mod members;
mod namesakes;
mod new_key_page;
mod overview;
mod page;
mod relative_time;
mod scope_fields;
mod search;
mod sign_in;
mod signed_in_request;
mod static_files;
mod table;

use http::{Method, StatusCode};

use super::answer::Answer;
use super::flash::{Notice, NoticeKind};
use super::identify::{self, Visitor};
use super::refusal::Refusal;
use super::request::Request;
use super::state::Management;
use crate::model::State;
use form::Form;
use signed_in_request::SignedInRequest;

/// Answers a request that is none of the API's.
pub(super) async fn answer(management: &Management, request: &Request) -> Answer {
    let mut answer = respond(management, request).await;
    page::protect(&mut answer);
    answer
}

/// A refusal of a request that no page has seen.
pub(super) fn refuse(refusal: &Refusal, id: &str) -> Answer {
    let mut answer = error_page::answer(None, refusal, id);
    page::protect(&mut answer);
    answer
}

async fn respond(management: &Management, request: &Request) -> Answer {
    let sent = match request.head.method {
        Method::GET | Method::HEAD => None,
        Method::POST => Some(Form::read(&request.body)),
        _ => {
            let refusal = Refusal::MethodNotAllowed { allow: "GET, HEAD, POST".to_owned(), detail: None };
            return error_page::answer(None, &refusal, &request.id);
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
        Err(refusal) => return error_page::answer(None, &refusal, &request.id),
    };
    if sent.is_none()
        && let Some((address, notice)) =
            search::address_without_secrets(request, &management.settings().key_prefixes)
    {
        if let (Visitor::SignedIn(_, session), Some(notice)) = (&visitor, notice) {
            session.flash.set_notice(notice);
        }
        return signed_in_request::redirect(&address);
    }
    if segments == ["sign-in"] {
        return sign_in::answer(management, request, &visitor, sent.as_ref()).await;
    }
    let (caller, session) = match visitor {
        Visitor::SignedIn(caller, session) => (caller, session),
        visitor => {
            let reason = match visitor {
                Visitor::SessionEnded(end) => Some(end.into()),
                _ => None,
            };
            return match &sent {
                Some(form) => sign_in::ask_to_sign_in_again(request, form, reason),
                None => sign_in::redirect_to_sign_in(request, reason),
            };
        }
    };
    let request = SignedInRequest { management, http: request, caller, session };
    if let Some(form) = &sent
        && let Err(refusal) = form.verify_csrf_token(&request.session)
    {
        return match form_of_another_session(&request, &segments, form).await {
            Some(answer) => answer,
            None => error_page::answer(Some(&request), &refusal, &request.http.id),
        };
    }
    let answer = pages(&request, &segments, sent.as_ref()).await;
    if let (Err(refusal), Some(form)) = (&answer, &sent)
        && let Some(attempt) = attempted_change::attempt(&request, &segments, form)
    {
        request.operations().audit_refusal(&request.caller, attempt, refusal).await;
    }
    match answer {
        Ok(answer) => answer,
        // the key stopped working while the page was made
        Err(Refusal::Unauthorized) => sign_in::end_session(&request, sign_in::SignInReason::Key),
        Err(refusal) => error_page::answer(Some(&request), &refusal, &request.http.id),
    }
}

/// Shows a form again that was opened in an earlier session, such as in another tab, with what was typed into it; `None`:
/// nothing was typed.
async fn form_of_another_session(
    request: &SignedInRequest<'_>,
    segments: &[&str],
    form: &Form,
) -> Option<Answer> {
    let typed = form.typed("");
    if typed.is_empty() {
        return None;
    }
    request.session.flash.set_typed(request.url(), typed);
    request.session.flash.set_notice(Notice {
        kind: NoticeKind::Problem,
        text: "This form does not belong to this session, so nothing was changed. Check what it says, and send it again."
            .to_owned(),
    });
    let mut answer = pages(request, segments, None).await.ok()?;
    *answer.status_mut() = StatusCode::FORBIDDEN;
    Some(answer)
}

/// What is found at a path, for somebody who has signed in. Segments are compared as they came: no id needs an escape.
async fn pages(
    request: &SignedInRequest<'_>,
    segments: &[&str],
    sent: Option<&Form>,
) -> Result<Answer, Refusal> {
    match (segments, sent) {
        ([], None) => overview::show(request).await,
        (["sign-out"], Some(_)) => Ok(sign_in::end_session(request, sign_in::SignInReason::SignedOut)),
        (["search"], None) => search::show(request).await,
        (["search"], Some(form)) => Ok(search::submit(request, form)),
        (["keys"], None) => key_list::list(request).await,
        (["keys", "new"], None) => key_forms::show_new(request).await,
        (["keys", "new"], Some(form)) => key_forms::create(request, form).await,
        (["keys", "deactivate"], None) => bulk_deactivate::confirm(request).await,
        (["keys", "deactivate"], Some(form)) => bulk_deactivate::deactivate(request, form).await,
        (["keys", id], None) => key_page::show(request, id).await,
        (["keys", id, "created"], None) => new_key_page::show(request, id).await,
        (["keys", _, "created"], Some(_)) => Err(not_allowed("GET, HEAD")),
        (["keys", id, "edit"], None) => key_forms::show_edit(request, id).await,
        (["keys", id, "edit"], Some(form)) => key_forms::edit(request, id, form).await,
        (["keys", id, "rotate"], None) => key_rotation::show(request, id).await,
        (["keys", id, "rotate"], Some(form)) => key_rotation::rotate(request, id, form).await,
        (["keys", id, "end-rotation"], None) => key_rotation::confirm_end(request, id).await,
        (["keys", id, "end-rotation"], Some(form)) => key_rotation::end(request, id, form).await,
        (["keys", id, verb], sent) => {
            let state = state_after(verb)?;
            match sent {
                None => key_state::confirm_state_change(request, id, state).await,
                Some(form) => key_state::change_state(request, id, state, form).await,
            }
        }
        (["environments"], None) => environments::list(request).await,
        (["environments", "new"], None) => environments::show_new(request),
        (["environments", "new"], Some(form)) => environments::create(request, form).await,
        (["environments", id], None) => environments::show(request, id).await,
        (["environments", id, "edit"], None) => environments::show_edit(request, id).await,
        (["environments", id, "edit"], Some(form)) => environments::edit(request, id, form).await,
        (["environments", id, "members", "add"], None) => members::show_add(request, id).await,
        (["environments", id, "members", "add"], Some(form)) => members::add(request, id, form).await,
        (["environments", id, "members", account, "role"], None) => {
            members::show_role(request, id, account).await
        }
        (["environments", id, "members", account, "role"], Some(form)) => {
            members::set_role(request, id, account, form).await
        }
        (["environments", id, "members", account, "remove"], None) => {
            members::confirm_remove(request, id, account).await
        }
        (["environments", id, "members", account, "remove"], Some(form)) => {
            members::remove(request, id, account, form).await
        }
        (["environments", id, verb], sent) => {
            let state = state_after(verb)?;
            match sent {
                None => environments::confirm_state_change(request, id, state).await,
                Some(form) => environments::change_state(request, id, state, form).await,
            }
        }
        (["accounts"], None) => accounts::list(request).await,
        (["accounts", "new"], None) => accounts::show_new(request),
        (["accounts", "new"], Some(form)) => accounts::create(request, form).await,
        (["accounts", id], None) => accounts::show(request, id).await,
        (["accounts", id, "edit"], None) => accounts::show_edit(request, id).await,
        (["accounts", id, "edit"], Some(form)) => accounts::edit(request, id, form).await,
        (["accounts", id, verb], sent) => {
            let state = state_after(verb)?;
            match sent {
                None => accounts::confirm_state_change(request, id, state).await,
                Some(form) => accounts::change_state(request, id, state, form).await,
            }
        }
        (["audit"], None) => audit::list(request).await,
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
