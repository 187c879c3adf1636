//! API keys: the page that lists them, one of them, and the forms that make and change them.

use std::sync::Arc;
use std::time::Instant;

use askama::Template;
use askama::filters::HtmlSafe;
use http::StatusCode;
use jiff::Timestamp;

use super::super::answer::Answer;
use super::super::flash::{Flash, Notice, NoticeKind, SECRET_LIFETIME};
use super::super::operations::{Changed, NewPair};
use super::super::refusal::Refusal;
use super::chooser::{Chooser, present};
use super::details::Details;
use super::form::Form;
use super::form_page::{Field, FormPage, confirmed, current, expected, texts};
use super::moment::Moment;
use super::page::{Frame, Section, render};
use super::sign_in::{self, Why};
use super::table::{Cell, Item, Row, Table, sorted};
use super::view::{Usual, View};
use super::visit::{Visit, notice_of, origin_of, problem_of, see_other, waiting, with};
use crate::model::{AccountId, ApiKey, EnvironmentId, KeyId, KeyOwner, State};
use crate::policy::ManagementAction;
use crate::store::{Edit, KEY_FIELDS, KeyEntry};

#[derive(Template)]
#[template(path = "keys.html")]
struct KeysPage {
    frame: Frame,
    sections: Vec<KeySection>,
}

/// The keys of one owner.
#[derive(Template)]
#[template(path = "key_section.html")]
struct KeySection {
    id: &'static str,
    heading: String,
    /// Whose they are, and who manages them.
    intro: String,
    chooser: Option<Chooser>,
    endpoints: Vec<String>,
    /// Where a key is added; `None`: not for the caller.
    add: Option<(&'static str, String)>,
    /// `None`: nothing to list, as the text says.
    table: Option<Table>,
}

impl HtmlSafe for KeySection {}

/// `/keys`: the keys of the caller's account and of an environment, or, with `account`, those of another account.
pub(super) async fn list(visit: &Visit<'_>) -> Result<Answer, Refusal> {
    let sections = if let Some(id) = visit.parameter("account") {
        let id: AccountId = id.parse().map_err(|_| Refusal::NotFound)?;
        vec![account_section(visit, id).await?]
    } else {
        let Some(own) = visit.caller.account().map(|account| account.id) else {
            return Err(Refusal::NotFound);
        };
        vec![account_section(visit, own).await?, environment_section(visit).await?]
    };
    let frame = visit.frame("API Keys", Section::Keys);
    Ok(render(StatusCode::OK, &KeysPage { frame, sections }))
}

async fn account_section(visit: &Visit<'_>, id: AccountId) -> Result<KeySection, Refusal> {
    let account = visit.operations().account(&visit.caller, id).await?.object;
    let is_own = visit.caller.account().is_some_and(|own| own.id == id);
    let owner = KeyOwner::Account(id);
    let intro = if is_own {
        format!(
            "You have signed in as {}. Keys of your account reach all that your account may.",
            account.name
        )
    } else {
        format!("Keys of the account {} ({id}). They reach all that the account may.", account.name)
    };
    let usual = Usual {
        prefix: "account-",
        anchor: "account-keys",
        fields: KEY_FIELDS,
        sort: "name",
        descending: false,
    };
    Ok(KeySection {
        id: "account-keys",
        heading: if is_own { "Account API Keys".to_owned() } else { format!("API Keys of {}", account.name) },
        intro,
        chooser: None,
        endpoints: endpoints(visit, &owner),
        add: add_link(visit, &owner, "Add Account API Key"),
        table: Some(table(visit, &owner, usual, "This account has no API keys yet.").await?),
    })
}

async fn environment_section(visit: &Visit<'_>) -> Result<KeySection, Refusal> {
    let chooser = Chooser::read(visit).await?;
    let mut section = KeySection {
        id: "environment-keys",
        heading: "Environment API Keys".to_owned(),
        intro: "You are not a member of any environment. Its owners, or an admin, can add you.".to_owned(),
        chooser: None,
        endpoints: Vec::new(),
        add: None,
        table: None,
    };
    if let Some(chosen) = chooser.chosen() {
        let owner = KeyOwner::Environment(chosen.id.clone());
        let name = present(chosen);
        if visit.caller.may(&ManagementAction::SeeKeys(owner.clone())) {
            section.intro = format!(
                "Keys of the environment {name} reach nothing outside it. Other people with access to it can see \
                 these keys too, and its owners can manage them."
            );
            section.endpoints = endpoints(visit, &owner);
            section.add = add_link(visit, &owner, "Add Environment API Key");
            let usual = Usual {
                prefix: "environment-",
                anchor: "environment-keys",
                fields: KEY_FIELDS,
                sort: "name",
                descending: false,
            };
            let empty = "This environment has no API keys yet.";
            section.table = Some(table(visit, &owner, usual, empty).await?);
        } else {
            section.intro =
                format!("Your role in the environment {name} is readonly: its keys are not for you to see.");
        }
    } else if chooser.is_filtered() {
        "No environment that you may see has that in its id or name.".clone_into(&mut section.intro);
    } else if visit.caller.is_admin() {
        "There are no environments yet.".clone_into(&mut section.intro);
    }
    section.chooser = Some(chooser).filter(Chooser::has_choice);
    Ok(section)
}

fn endpoints(visit: &Visit<'_>, owner: &KeyOwner) -> Vec<String> {
    visit.management.settings().endpoints(owner, &visit.request.host)
}

fn add_link(visit: &Visit<'_>, owner: &KeyOwner, label: &'static str) -> Option<(&'static str, String)> {
    if !visit.caller.may(&ManagementAction::ChangeKeys(owner.clone())) {
        return None;
    }
    let here = visit.here();
    let href = match owner {
        KeyOwner::Account(id) => with("/keys/new", &[("account", &id.to_string()), ("to", &here)]),
        KeyOwner::Environment(id) => with("/keys/new", &[("environment", id.as_str()), ("to", &here)]),
    };
    Some((label, href))
}

async fn table(
    visit: &Visit<'_>,
    owner: &KeyOwner,
    usual: Usual,
    empty: &'static str,
) -> Result<Table, Refusal> {
    let (id, now) = (usual.anchor, Timestamp::now());
    let view = View::read(visit.request, usual);
    let page = visit.operations().keys(&visit.caller, Some(owner.clone()), view.query()?).await?;
    let confirmed_up_to = visit.operations().confirmed_up_to().await;
    let may_change = visit.caller.may(&ManagementAction::ChangeKeys(owner.clone()));
    let columns = vec![
        sorted("State", "state"),
        sorted("Name", "name"),
        sorted("Description", "description"),
        sorted("Access key", "publicValue"),
        sorted("Created", "created"),
        sorted("Last used", "lastUsed"),
        sorted("Requests", "useCount"),
    ];
    let here = format!("{}#{id}", visit.here());
    let row = |entry: &KeyEntry| {
        let key = &entry.key;
        Row {
            id: key.id.to_string(),
            cells: vec![
                Cell::state(key.state, entry.revision, confirmed_up_to),
                match &key.name {
                    Some(name) => Cell::link(name, format!("/keys/{}", key.id)),
                    None => Cell::Text(None),
                },
                Cell::text(key.description.as_ref()),
                Cell::Code(key.access_key.to_string()),
                Cell::time(key.created, now),
                used(entry, now),
                Cell::number(entry.usage.uses),
            ],
            label: shown(key).to_owned(),
            menu: std::iter::once(Item::Go {
                label: "Details",
                hook: "details",
                href: format!("/keys/{}", key.id),
            })
            .chain(menu(key, &here, may_change))
            .collect(),
        }
    };
    let caption = match owner {
        KeyOwner::Account(_) => "Account API keys",
        KeyOwner::Environment(_) => "Environment API keys",
    };
    let table = Table::new(id, caption.to_owned(), columns, &page, row, empty, view);
    Ok(table.searched("Name, description or access key"))
}

/// When and from where a key was used.
pub(super) fn used(entry: &KeyEntry, now: Timestamp) -> Cell {
    Cell::Used {
        last: entry.usage.at.map(|at| Moment { at, now }),
        address: entry.usage.address.map(|address| address.to_string()),
    }
}

/// What a key is called: its name, else its access key.
pub(super) fn shown(key: &ApiKey) -> &str {
    key.name.as_ref().map_or(key.access_key.as_str(), |name| name.as_str())
}

fn menu(key: &ApiKey, here: &str, may_change: bool) -> Vec<Item> {
    let asked = |verb: &str| with(&format!("/keys/{}/{verb}", key.id), &[("to", here)]);
    let mut items = Vec::new();
    if may_change {
        match key.state {
            State::Active => {
                let href = asked("deactivate");
                items.push(Item::Ask { label: "Deactivate", hook: "deactivate", href, is_grave: true });
            }
            State::Inactive => {
                let href = asked("activate");
                items.push(Item::Ask { label: "Activate", hook: "activate", href, is_grave: false });
                let href = asked("delete");
                items.push(Item::Ask { label: "Delete", hook: "delete", href, is_grave: true });
            }
            State::Removed => {}
        }
        if key.state != State::Removed {
            items.push(Item::Ask { label: "Edit", hook: "edit", href: asked("edit"), is_grave: false });
        }
    }
    let href = format!("/v2-beta/apikeys/{}", key.id);
    items.push(Item::Open { label: "View in API", hook: "api", href });
    items
}

/// `/keys/{id}`
pub(super) async fn show(visit: &Visit<'_>, id: &str) -> Result<Answer, Refusal> {
    let entry = find(visit, id).await?;
    let confirmed_up_to = visit.operations().confirmed_up_to().await;
    let now = Timestamp::now();
    let used = used(&entry, now);
    let state = Cell::state(entry.key.state, entry.revision, confirmed_up_to);
    let key = entry.key;
    let may_change = visit.caller.may(&ManagementAction::ChangeKeys(key.owner.clone()));
    let owner = match &key.owner {
        KeyOwner::Account(id) => Cell::link(&format!("Account {id}"), format!("/accounts/{id}")),
        KeyOwner::Environment(id) => Cell::link(&format!("Environment {id}"), format!("/environments/{id}")),
    };
    let mut page = Details::new(visit, Section::Keys, format!("API key {}", shown(&key)));
    page.up = (list_of(visit, &key.owner), "API Keys");
    page.menu = menu(&key, &page.here, may_change);
    page.facts = vec![
        ("State", state),
        ("Belongs to", owner),
        ("Access key (user name)", Cell::Code(key.access_key.to_string())),
        ("Name", Cell::text(key.name)),
        ("Description", Cell::text(key.description)),
        ("Created", Cell::time(key.created, now)),
        ("Last used", used),
        ("Requests", Cell::number(entry.usage.uses)),
        ("Id", Cell::text(Some(key.id))),
        ("UUID", Cell::text(Some(key.uuid))),
    ];
    Ok(page.show())
}

async fn find(visit: &Visit<'_>, id: &str) -> Result<KeyEntry, Refusal> {
    let id: KeyId = id.parse().map_err(|_| Refusal::NotFound)?;
    visit.operations().key(&visit.caller, id).await
}

/// The page on which a key stands.
pub(super) fn list_of(visit: &Visit<'_>, owner: &KeyOwner) -> String {
    match owner {
        KeyOwner::Account(id) if visit.caller.account().is_some_and(|own| own.id == *id) => {
            "/keys".to_owned()
        }
        KeyOwner::Account(id) => with("/keys", &[("account", &id.to_string())]),
        KeyOwner::Environment(id) => {
            format!("{}#environment-keys", with("/keys", &[("environment", id.as_str())]))
        }
    }
}

/// Whose key is to be made, as the query string says.
fn wanted_owner(visit: &Visit<'_>) -> Result<KeyOwner, Refusal> {
    match (visit.parameter("account"), visit.parameter("environment")) {
        (None, None) => Ok(visit.caller.owner().clone()),
        (Some(id), None) => id.parse::<AccountId>().map(KeyOwner::Account).map_err(|_| Refusal::NotFound),
        (None, Some(id)) => {
            id.parse::<EnvironmentId>().map(KeyOwner::Environment).map_err(|_| Refusal::NotFound)
        }
        (Some(_), Some(_)) => Err(Refusal::NotFound),
    }
}

async fn new_form(visit: &Visit<'_>, owner: &KeyOwner, to: String) -> Result<FormPage, Refusal> {
    let whose = match owner {
        KeyOwner::Account(id) => {
            format!("for the account {}", visit.operations().account(&visit.caller, *id).await?.object.name)
        }
        KeyOwner::Environment(id) => {
            let entry = visit.operations().existing_environment(&visit.caller, id).await?;
            format!("for the environment {}", present(&entry.object))
        }
    };
    let mut page = FormPage::new(visit, Section::Keys, "new-key", "New API Key", "Create", to);
    page.intro =
        vec![format!("A key {whose}. Name and description are both optional, and can be changed later.")];
    // the owner stands in the query string, as it did when the form was asked for
    page.action = match owner {
        KeyOwner::Account(id) => with("/keys/new", &[("account", &id.to_string())]),
        KeyOwner::Environment(id) => with("/keys/new", &[("environment", id.as_str())]),
    };
    Ok(page)
}

const NAME_HINT: &str = "Who or what uses it, such as ci-server";
const DESCRIPTION_HINT: &str = "What it is for";

/// `/keys/new`, asked
pub(super) async fn ask_new(visit: &Visit<'_>) -> Result<Answer, Refusal> {
    let owner = wanted_owner(visit)?;
    visit.caller.require(&ManagementAction::ChangeKeys(owner.clone()))?;
    let to = visit.origin(&list_of(visit, &owner));
    let mut page = new_form(visit, &owner, to).await?;
    page.fields = vec![Field::name("", NAME_HINT), Field::description("", DESCRIPTION_HINT)];
    Ok(page.show())
}

/// `/keys/new`, sent
pub(super) async fn create(visit: &Visit<'_>, form: &Form) -> Result<Answer, Refusal> {
    let owner = wanted_owner(visit)?;
    let to = origin_of(form, &list_of(visit, &owner));
    let made = async {
        let (name, description) = texts(form)?;
        visit.operations().create_key(&visit.caller, owner.clone(), name, description, NewPair::Minted).await
    };
    match made.await {
        Ok(issued) => {
            let id = issued.changed.value.key.id;
            if let Some(secret) = issued.secret {
                visit.session.flash.put_secret(id, secret, Instant::now());
                forget_later(Arc::clone(&visit.session.flash));
            }
            visit.session.flash.set_notice(notice_of_new(&issued.changed));
            Ok(see_other(&with(&format!("/keys/{id}/created"), &[("to", &to)])))
        }
        Err(refusal) => {
            let mut page = new_form(visit, &owner, to).await?;
            page.fields = vec![
                Field::name(form.value("name"), NAME_HINT),
                Field::description(form.lines("description"), DESCRIPTION_HINT),
            ];
            page.show_refused(refusal)
        }
    }
}

/// What is said of a new key. The page that says it shows the secret once, so nobody is asked to reload it.
fn notice_of_new(done: &Changed<KeyEntry>) -> Notice {
    let name = shown(&done.value.key);
    if done.is_confirmed() {
        return notice_of(done, &format!("Key “{name}” is active."));
    }
    let text = format!(
        "Key “{name}” is recorded as change {}, but not yet confirmed by {}, where it may be refused until then. \
         Save the pair now all the same.",
        done.receipt.number,
        waiting(&done.receipt)
    );
    Notice { kind: NoticeKind::Pending, text }
}

/// Wipes the secret when nobody has come for it.
fn forget_later(flash: Arc<Flash>) {
    tokio::spawn(async move {
        tokio::time::sleep(SECRET_LIFETIME).await;
        flash.drop_expired(Instant::now());
    });
}

fn edit_form(visit: &Visit<'_>, entry: &KeyEntry, to: String) -> FormPage {
    let mut page = FormPage::new(visit, Section::Keys, "edit-key", "Edit API Key", "Save", to);
    page.facts = vec![("Access key (user name)", entry.key.access_key.to_string())];
    page.hidden = vec![("revision", entry.revision.to_string())];
    page
}

/// `/keys/{id}/edit`, asked
pub(super) async fn ask_edit(visit: &Visit<'_>, id: &str) -> Result<Answer, Refusal> {
    let entry = find(visit, id).await?;
    visit.caller.require(&ManagementAction::ChangeKeys(entry.key.owner.clone()))?;
    let to = visit.origin(&list_of(visit, &entry.key.owner));
    let mut page = edit_form(visit, &entry, to);
    page.fields = vec![
        Field::name(entry.key.name.map(|name| name.to_string()).unwrap_or_default(), NAME_HINT),
        Field::description(
            entry.key.description.map(|text| text.to_string()).unwrap_or_default(),
            DESCRIPTION_HINT,
        ),
    ];
    Ok(page.show())
}

/// `/keys/{id}/edit`, sent
pub(super) async fn edit(visit: &Visit<'_>, id: &str, form: &Form) -> Result<Answer, Refusal> {
    let entry = find(visit, id).await?;
    let usual = list_of(visit, &entry.key.owner);
    let edited = async {
        let (name, description) = texts(form)?;
        let edit = Edit { name: Some(name), description: Some(description), expected: expected(form)? };
        visit.operations().edit_key(&visit.caller, entry.key.id, edit).await
    };
    match edited.await {
        Ok(done) => {
            let text = format!("Key “{}” is saved.", shown(&done.value.key));
            Ok(visit.back(form, &usual, notice_of(&done, &text)))
        }
        Err(refusal) => {
            // as it is now: it may have changed since it was looked at above
            let entry = find(visit, id).await?;
            let mut page = edit_form(visit, &entry, origin_of(form, &usual));
            if let Refusal::PreconditionFailed { .. } = refusal {
                page.current = current(entry.key.name.as_ref(), entry.key.description.as_ref());
            }
            page.fields = vec![
                Field::name(form.value("name"), NAME_HINT),
                Field::description(form.lines("description"), DESCRIPTION_HINT),
            ];
            page.show_refused(refusal)
        }
    }
}

fn state_form(visit: &Visit<'_>, entry: &KeyEntry, state: State, to: String) -> FormPage {
    let name = shown(&entry.key);
    let is_own = visit.caller.principal().key.id == entry.key.id;
    let (id, heading, submit, intro) = match state {
        State::Active => (
            "activate-key",
            "Activate API Key",
            "Activate",
            format!("Activate the key “{name}”? It works again at once."),
        ),
        State::Inactive => (
            "deactivate-key",
            "Deactivate API Key",
            "Deactivate",
            format!("Deactivate the key “{name}”? It stops working at once, and can be activated again."),
        ),
        State::Removed => (
            "delete-key",
            "Delete API Key",
            "Delete",
            format!("Are you sure you want to delete the key “{name}”? Nothing brings it back."),
        ),
    };
    let mut page = FormPage::new(visit, Section::Keys, id, heading, submit, to);
    page.intro = vec![intro];
    page.is_grave = state != State::Active;
    page.facts = vec![("Access key", entry.key.access_key.to_string())];
    if is_own && state != State::Active {
        page.intro
            .push("It is the key that you have signed in with: this ends your session at once.".to_owned());
        page.fields = vec![Field::tick("confirm", "Yes, stop the key that I am using")];
    }
    page
}

/// `/keys/{id}/activate`, `deactivate`, `delete`: the question
pub(super) async fn ask_state(visit: &Visit<'_>, id: &str, state: State) -> Result<Answer, Refusal> {
    let entry = find(visit, id).await?;
    visit.caller.require(&ManagementAction::ChangeKeys(entry.key.owner.clone()))?;
    let to = visit.origin(&list_of(visit, &entry.key.owner));
    Ok(state_form(visit, &entry, state, to).show())
}

/// `/keys/{id}/activate`, `deactivate`, `delete`
pub(super) async fn set_state(
    visit: &Visit<'_>,
    id: &str,
    state: State,
    form: &Form,
) -> Result<Answer, Refusal> {
    let entry = find(visit, id).await?;
    let usual = list_of(visit, &entry.key.owner);
    match visit.operations().set_key_state(&visit.caller, entry.key.id, state, confirmed(form)).await {
        Ok(done) if visit.caller.principal().key.id == entry.key.id => {
            Ok(sign_in::end(visit, Why::own(&done)))
        }
        Ok(done) => {
            let name = shown(&entry.key);
            let text = match state {
                State::Removed => format!("Key “{name}” is deleted."),
                state => format!("Key “{name}” is {state}."),
            };
            // a deleted key has no page to go back to
            let own_page = format!("/keys/{}", entry.key.id);
            let to = origin_of(form, &usual);
            if state == State::Removed && to.starts_with(&own_page) {
                visit.session.flash.set_notice(notice_of(&done, &text));
                return Ok(see_other(&usual));
            }
            Ok(visit.back(form, &usual, notice_of(&done, &text)))
        }
        Err(refusal) if refusal.field() == Some("confirm") => {
            state_form(visit, &entry, state, origin_of(form, &usual)).show_refused(refusal)
        }
        Err(refusal) => Ok(visit.back(form, &usual, problem_of(refusal)?)),
    }
}
