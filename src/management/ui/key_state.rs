//! Activating, deactivating and deleting a key: the question, and what is done.

use super::super::answer::Answer;
use super::super::refusal::Refusal;
use super::form::Form;
use super::form_page::{Field, FormPage, read_confirmation};
use super::key_display::{find_key, key_label, key_list_path};
use super::page::Section;
use super::sign_in::{self, SignInReason};
use super::signed_in_request::{SignedInRequest, change_notice, error_notice, form_return_path, redirect};
use crate::model::State;
use crate::policy::ManagementAction;
use crate::store::KeyEntry;

fn state_form(request: &SignedInRequest<'_>, entry: &KeyEntry, state: State, to: String) -> FormPage {
    let name = key_label(&entry.key);
    let is_own = request.caller.principal().key.id == entry.key.id;
    let (id, heading, submit, intro) = match state {
        State::Active => (
            "activate-key",
            "Activate API key",
            "Activate",
            format!("Activate the key “{name}”? It works again at once."),
        ),
        State::Inactive => (
            "deactivate-key",
            "Deactivate API key",
            "Deactivate",
            format!("Deactivate the key “{name}”? It stops working at once, and can be activated again."),
        ),
        State::Removed => (
            "delete-key",
            "Delete API key",
            "Delete",
            format!("Delete the key “{name}”? This cannot be undone."),
        ),
    };
    let mut page = FormPage::new(request, Section::Keys, id, heading, submit, to);
    page.intro = vec![intro];
    page.is_destructive = state != State::Active;
    page.facts = vec![("Access key", entry.key.access_key.to_string())];
    if is_own && state != State::Active {
        page.intro.push("You are signed in with this key. Your session ends at once.".to_owned());
        page.fields = vec![Field::tick("confirm", "Yes, stop the key that I am signed in with")];
    }
    page
}

/// `/keys/{id}/activate`, `deactivate`, `delete`: the question
pub(super) async fn confirm_state_change(
    request: &SignedInRequest<'_>,
    id: &str,
    state: State,
) -> Result<Answer, Refusal> {
    let entry = find_key(request, id).await?;
    request.caller.require(&ManagementAction::ChangeKeys(entry.key.owner.clone()))?;
    let to = request.return_path(&key_list_path(request, &entry.key.owner));
    Ok(state_form(request, &entry, state, to).show())
}

/// `/keys/{id}/activate`, `deactivate`, `delete`
pub(super) async fn change_state(
    request: &SignedInRequest<'_>,
    id: &str,
    state: State,
    form: &Form,
) -> Result<Answer, Refusal> {
    let entry = find_key(request, id).await?;
    let usual = key_list_path(request, &entry.key.owner);
    match request
        .operations()
        .set_key_state(&request.caller, entry.key.id, state, read_confirmation(form))
        .await
    {
        Ok(done) if request.caller.principal().key.id == entry.key.id => {
            Ok(sign_in::end_session(request, SignInReason::own_key_stopped(&done)))
        }
        Ok(done) => {
            let name = key_label(&entry.key);
            let text = match state {
                State::Removed => format!("Key “{name}” is deleted."),
                state => format!("Key “{name}” is {state}."),
            };
            // a deleted key has no page to go back to
            let own_page = format!("/keys/{}", entry.key.id);
            let to = form_return_path(form, &usual);
            if state == State::Removed && to.starts_with(&own_page) {
                request.session.flash.set_notice(change_notice(&done, &text));
                return Ok(redirect(&usual));
            }
            Ok(request.redirect_back(form, &usual, change_notice(&done, &text)))
        }
        Err(refusal) if refusal.field() == Some("confirm") => {
            state_form(request, &entry, state, form_return_path(form, &usual)).show_refused(refusal)
        }
        Err(refusal) => Ok(request.redirect_back(form, &usual, error_notice(refusal)?)),
    }
}
