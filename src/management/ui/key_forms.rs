//! The forms that make a key and change what its owner decides.

use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;

use super::super::answer::Answer;
use super::super::flash::{Flash, Notice, NoticeKind, SECRET_LIFETIME};
use super::super::operations::{Changed, NewPair};
use super::super::refusal::Refusal;
use super::environment_picker::environment_label;
use super::form::Form;
use super::form_page::{Field, FormPage, current_values, read_name_and_description, read_revision};
use super::key_display::{find_key, key_label, key_list_path};
use super::page::Section;
use super::scope_fields;
use super::signed_in_request::{
    SignedInRequest, change_notice, form_return_path, redirect, waiting, with_query,
};
use crate::config::lifetime_text;
use crate::model::{AccountId, EnvironmentId, InvalidEnd, KeyOwner, WantedEnd};
use crate::policy::ManagementAction;
use crate::store::{Edit, KeyEdit, KeyEntry};

/// Whose key is to be made, as the query string says.
fn wanted_owner(request: &SignedInRequest<'_>) -> Result<KeyOwner, Refusal> {
    match (request.parameter("account"), request.parameter("environment")) {
        (None, None) => Ok(request.caller.owner().clone()),
        (Some(id), None) => id.parse::<AccountId>().map(KeyOwner::Account).map_err(|_| Refusal::NotFound),
        (None, Some(id)) => {
            id.parse::<EnvironmentId>().map(KeyOwner::Environment).map_err(|_| Refusal::NotFound)
        }
        (Some(_), Some(_)) => Err(Refusal::NotFound),
    }
}

async fn new_form(request: &SignedInRequest<'_>, owner: &KeyOwner, to: String) -> Result<FormPage, Refusal> {
    let whose = match owner {
        KeyOwner::Account(id) => {
            format!(
                "for the account {}",
                request.operations().account(&request.caller, *id).await?.object.name
            )
        }
        KeyOwner::Environment(id) => {
            let entry = request.operations().existing_environment(&request.caller, id).await?;
            format!("for the environment {}", environment_label(&entry.object))
        }
    };
    let mut page = FormPage::new(request, Section::Keys, "new-key", "New API key", "Create", to);
    page.intro = vec![format!(
        "A key {whose}. Name and description are optional, and you can change all of it later."
    )];
    // the owner stands in the query string, as it did when the form was asked for
    page.action = match owner {
        KeyOwner::Account(id) => with_query("/keys/new", &[("account", &id.to_string())]),
        KeyOwner::Environment(id) => with_query("/keys/new", &[("environment", id.as_str())]),
    };
    Ok(page)
}

const NAME_HINT: &str = "Who or what uses it, such as ci-server";

const DESCRIPTION_HINT: &str = "What it is for";

/// When a key ends, as the form has it: empty for never, so that browsers suggest all usual lifetimes.
fn expires_text(expires: Option<Timestamp>) -> String {
    expires.map(|time| time.to_string()).unwrap_or_default()
}

/// What a form says of a key.
fn read_key(request: &SignedInRequest<'_>, form: &Form) -> Result<KeyEdit, Refusal> {
    let (name, description) = read_name_and_description(form)?;
    // a form without the field says nothing of it
    let wanted = form.values("expires").next().map(|text| match text.trim() {
        "" => Ok(WantedEnd::Never),
        text => text
            .parse()
            .map_err(|error: InvalidEnd| Refusal::invalid("InvalidDateFormat", "expires", error.to_string())),
    });
    Ok(KeyEdit {
        common: Edit { name: Some(name), description: Some(description), ..Edit::default() },
        expires: wanted.transpose()?.map(|wanted| wanted.from(request.operations().now())),
        scope: scope_fields::are_in(form).then(|| scope_fields::read(form)).transpose()?,
    })
}

/// `/keys/new`, asked
pub(super) async fn show_new(request: &SignedInRequest<'_>) -> Result<Answer, Refusal> {
    let owner = wanted_owner(request)?;
    request.caller.require(&ManagementAction::ChangeKeys(owner.clone()))?;
    let to = request.return_path(&key_list_path(request, &owner));
    let mut page = new_form(request, &owner, to).await?;
    let default = request.operations().lifetimes().default;
    let default = default.map(lifetime_text).unwrap_or_default();
    page.fields =
        vec![Field::name("", NAME_HINT), Field::description("", DESCRIPTION_HINT), Field::expires(default)];
    page.fields.extend(scope_fields::fields(None));
    Ok(page.show())
}

/// `/keys/new`, sent
pub(super) async fn create(request: &SignedInRequest<'_>, form: &Form) -> Result<Answer, Refusal> {
    let owner = wanted_owner(request)?;
    let to = form_return_path(form, &key_list_path(request, &owner));
    let made = async {
        let said = read_key(request, form)?;
        request.operations().create_key(&request.caller, owner.clone(), said, NewPair::Minted).await
    };
    match made.await {
        Ok(issued) => {
            let id = issued.changed.value.key.id;
            if let Some(secret) = issued.secret {
                request.session.flash.put_secret(id, secret, Instant::now());
                forget_later(Arc::clone(&request.session.flash));
            }
            request.session.flash.set_notice(new_secret_notice(&issued.changed, "is active"));
            Ok(redirect(&with_query(&format!("/keys/{id}/created"), &[("to", &to)])))
        }
        Err(refusal) => {
            let mut page = new_form(request, &owner, to).await?;
            page.fields = sent_fields(form);
            page.show_refused(refusal)
        }
    }
}

/// What is said of a key with a new secret. The page that says it shows the secret once, so nobody is asked to reload it.
pub(super) fn new_secret_notice(done: &Changed<KeyEntry>, what_is_so: &str) -> Notice {
    let name = key_label(&done.value.key);
    if done.is_confirmed() {
        return change_notice(done, &format!("Key “{name}” {what_is_so}."));
    }
    let text = format!(
        "Key “{name}” is recorded as change {}, but not yet confirmed by {}. Until then it may be refused there. \
         Save the pair now.",
        done.receipt.number,
        waiting(&done.receipt)
    );
    Notice { kind: NoticeKind::Pending, text }
}

/// Wipes the secret when nobody has come for it.
pub(super) fn forget_later(flash: Arc<Flash>) {
    tokio::spawn(async move {
        tokio::time::sleep(SECRET_LIFETIME).await;
        flash.drop_expired(Instant::now());
    });
}

/// The fields as they were sent.
fn sent_fields(form: &Form) -> Vec<Field> {
    let mut fields = vec![
        Field::name(form.value("name"), NAME_HINT),
        Field::description(form.lines("description"), DESCRIPTION_HINT),
        Field::expires(form.value("expires")),
    ];
    fields.extend(scope_fields::sent_fields(form));
    fields
}

fn edit_form(request: &SignedInRequest<'_>, entry: &KeyEntry, to: String) -> FormPage {
    let mut page = FormPage::new(request, Section::Keys, "edit-key", "Edit API key", "Save", to);
    page.facts = vec![
        ("Access key (user name)", entry.key.access_key.to_string()),
        ("May do", scope_fields::in_words(&entry.key)),
    ];
    page.hidden = vec![("revision", entry.revision.to_string())];
    page
}

/// `/keys/{id}/edit`, asked
pub(super) async fn show_edit(request: &SignedInRequest<'_>, id: &str) -> Result<Answer, Refusal> {
    let entry = find_key(request, id).await?;
    request.caller.require(&ManagementAction::ChangeKeys(entry.key.owner.clone()))?;
    let to = request.return_path(&key_list_path(request, &entry.key.owner));
    let mut page = edit_form(request, &entry, to);
    page.fields = vec![
        Field::name(entry.key.name.map(|name| name.to_string()).unwrap_or_default(), NAME_HINT),
        Field::description(
            entry.key.description.map(|text| text.to_string()).unwrap_or_default(),
            DESCRIPTION_HINT,
        ),
        Field::expires(expires_text(entry.key.expires)),
    ];
    page.fields.extend(scope_fields::fields(entry.key.scope.as_deref()));
    Ok(page.show())
}

/// `/keys/{id}/edit`, sent
pub(super) async fn edit(request: &SignedInRequest<'_>, id: &str, form: &Form) -> Result<Answer, Refusal> {
    let entry = find_key(request, id).await?;
    let usual = key_list_path(request, &entry.key.owner);
    let edited = async {
        let mut edit = read_key(request, form)?;
        edit.common.expected = read_revision(form)?;
        request.operations().edit_key(&request.caller, entry.key.id, edit).await
    };
    match edited.await {
        Ok(done) => {
            let text = format!("Key “{}” is saved.", key_label(&done.value.key));
            Ok(request.redirect_back(form, &usual, change_notice(&done, &text)))
        }
        Err(refusal) => {
            // as it is now: it may have changed since it was looked at above
            let entry = find_key(request, id).await?;
            let mut page = edit_form(request, &entry, form_return_path(form, &usual));
            if let Refusal::PreconditionFailed { .. } = refusal {
                page.current = current_values(entry.key.name.as_ref(), entry.key.description.as_ref());
                let expires = entry.key.expires.map_or("never".to_owned(), |time| time.to_string());
                page.current.push(("Expires", expires));
                page.current.push(("May do", scope_fields::in_words(&entry.key)));
            }
            page.fields = sent_fields(form);
            page.show_refused(refusal)
        }
    }
}
