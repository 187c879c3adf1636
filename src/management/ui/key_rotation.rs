//! Rotating a key: the form, and the end of the former secret.

use std::sync::Arc;
use std::time::Instant;

use super::super::answer::Answer;
use super::super::refusal::Refusal;
use super::form::Form;
use super::form_page::{Field, FormPage};
use super::key_display::{find_key, key_label, key_list_path};
use super::key_forms::{forget_later, new_secret_notice};
use super::page::Section;
use super::signed_in_request::{
    SignedInRequest, change_notice, error_notice, form_return_path, redirect, with_query,
};
use crate::model::WantedOverlap;
use crate::policy::ManagementAction;
use crate::store::{ExpectedRevision, KeyEntry};

/// What comes before how long the former secret must be unused.
const UNTIL_UNUSED: &str = "unused ";

fn rotate_form(request: &SignedInRequest<'_>, entry: &KeyEntry, to: String, chosen: &str) -> FormPage {
    let name = key_label(&entry.key);
    let mut page = FormPage::new(request, Section::Keys, "rotate-key", "Rotate the secret key", "Rotate", to);
    page.intro = vec![format!(
        "“{name}” gets a new secret key, which is shown once. Its access key, name and rights stay. The former secret key \
         works for a while longer, so that you can replace it wherever it is used. The page of the key shows who still \
         uses it."
    )];
    if request.caller.principal().key.id == entry.key.id {
        page.intro.push(
            "You are signed in with this key. Your session ends when the secret that you signed in with stops working."
                .to_owned(),
        );
    }
    page.facts = vec![("Access key (user name)", entry.key.access_key.to_string())];
    let choices = vec![
        ("24h", "24 hours"),
        ("1h", "1 hour"),
        ("7d", "7 days"),
        ("30d", "30 days"),
        ("unused 2h", "Until nobody has used it for 2 hours, 30 days at most"),
        ("unused 1d", "Until nobody has used it for a day, 30 days at most"),
        ("0", "Not at all: it stops at once"),
    ];
    page.fields = vec![Field::choice("overlap", "The former secret key works for", choices, chosen)];
    page
}

/// `/keys/{id}/rotate`, asked
pub(super) async fn show(request: &SignedInRequest<'_>, id: &str) -> Result<Answer, Refusal> {
    let entry = find_key(request, id).await?;
    request.caller.require(&ManagementAction::ChangeKeys(entry.key.owner.clone()))?;
    let to = request.return_path(&key_list_path(request, &entry.key.owner));
    Ok(rotate_form(request, &entry, to, "24h").show())
}

/// `/keys/{id}/rotate`, sent
pub(super) async fn rotate(request: &SignedInRequest<'_>, id: &str, form: &Form) -> Result<Answer, Refusal> {
    let entry = find_key(request, id).await?;
    let to = form_return_path(form, &key_list_path(request, &entry.key.owner));
    let chosen = form.value("overlap");
    let rotated = async {
        let wanted = match chosen.strip_prefix(UNTIL_UNUSED) {
            Some(idle) => WantedOverlap::read(None, Some(idle), None)?,
            None => WantedOverlap::read(Some(chosen), None, None)?,
        };
        request.operations().rotate_key(&request.caller, entry.key.id, wanted, ExpectedRevision::Any).await
    };
    match rotated.await {
        Ok(issued) => {
            let id = entry.key.id;
            if let Some(secret) = issued.secret {
                request.session.flash.put_secret(id, secret, Instant::now());
                forget_later(Arc::clone(&request.session.flash));
            }
            request.session.flash.set_notice(new_secret_notice(&issued.changed, "has a new secret key"));
            Ok(redirect(&with_query(&format!("/keys/{id}/created"), &[("to", &to)])))
        }
        Err(refusal) => rotate_form(request, &entry, to, chosen).show_refused(refusal),
    }
}

/// `/keys/{id}/end-rotation`, asked
pub(super) async fn confirm_end(request: &SignedInRequest<'_>, id: &str) -> Result<Answer, Refusal> {
    let entry = find_key(request, id).await?;
    request.caller.require(&ManagementAction::ChangeKeys(entry.key.owner.clone()))?;
    let to = request.return_path(&key_list_path(request, &entry.key.owner));
    let mut page =
        FormPage::new(request, Section::Keys, "end-rotation", "End the former secret key", "End it now", to);
    let name = key_label(&entry.key);
    page.intro = vec![format!(
        "The former secret key of “{name}” stops working at once. The new one goes on. This cannot be undone."
    )];
    page.is_destructive = true;
    page.facts = vec![("Access key", entry.key.access_key.to_string())];
    Ok(page.show())
}

/// `/keys/{id}/end-rotation`, sent
pub(super) async fn end(request: &SignedInRequest<'_>, id: &str, form: &Form) -> Result<Answer, Refusal> {
    let entry = find_key(request, id).await?;
    let usual = key_list_path(request, &entry.key.owner);
    let ended = request.operations().end_rotation(&request.caller, entry.key.id, ExpectedRevision::Any).await;
    let notice = match ended {
        Ok(done) => {
            let text = format!("The former secret key of “{}” has ended.", key_label(&entry.key));
            change_notice(&done, &text)
        }
        Err(refusal) => error_notice(refusal)?,
    };
    Ok(request.redirect_back(form, &usual, notice))
}
