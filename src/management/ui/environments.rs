//! Environments: the list, one of them with its members, and the forms that make and change them.

use http::StatusCode;
use jiff::Timestamp;

use super::super::answer::Answer;
use super::super::refusal::Refusal;
use super::chooser::present;
use super::details::Details;
use super::form::Form;
use super::form_page::{Field, FormPage, Input, current, expected, texts};
use super::list_page::ListPage;
use super::members;
use super::page::Section;
use super::page::render;
use super::table::{Cell, Item, Row, Table, plain, sorted};
use super::view::{Usual, View};
use super::visit::{Visit, notice_of, origin_of, problem_of, see_other, with};
use crate::model::{Environment, EnvironmentId, KeyOwner, State};
use crate::policy::ManagementAction;
use crate::store::{ENVIRONMENT_FIELDS, Edit, ExpectedRevision, WithRevision};

const LIST: &str = "/environments";

/// `/environments`
pub(super) async fn list(visit: &Visit<'_>) -> Result<Answer, Refusal> {
    let now = Timestamp::now();
    let usual = Usual {
        prefix: "",
        anchor: "environments",
        fields: ENVIRONMENT_FIELDS,
        sort: "name",
        descending: false,
    };
    let view = View::read(visit.request, usual);
    let page = visit.operations().environments(&visit.caller, view.query()?).await?;
    let confirmed_up_to = visit.operations().confirmed_up_to().await;
    let columns = vec![
        sorted("State", "state"),
        sorted("Id", "id"),
        sorted("Name", "name"),
        plain("Description"),
        plain("Your role"),
        sorted("Created", "created"),
    ];
    let here = format!("{}#environments", visit.here());
    let row = |entry: &WithRevision<Environment>| {
        let environment = &entry.object;
        Row {
            id: environment.id.to_string(),
            cells: vec![
                Cell::state(environment.state, entry.revision, confirmed_up_to),
                Cell::link(&environment.id, path(&environment.id)),
                Cell::text(environment.name.as_ref()),
                Cell::text(environment.description.as_ref()),
                visit
                    .caller
                    .role_in(&environment.id)
                    .map_or(Cell::Text(None), |role| Cell::tag(role.as_str())),
                Cell::time(environment.created, now),
            ],
            label: present(environment),
            menu: menu(visit, environment, &here),
        }
    };
    let empty = "There are no environments that you may see.";
    let table = Table::new("environments", "Environments".to_owned(), columns, &page, row, empty, view);
    let page = ListPage {
        frame: visit.frame("Environments", Section::Environments),
        heading: "Environments",
        intro: "An environment is a part of what stands behind the gateway. Its keys reach nothing outside it.",
        add: visit
            .operations()
            .may_create_environments(&visit.caller)
            .then(|| ("Add Environment", with("/environments/new", &[("to", &visit.here())]))),
        table: table.searched("Id, name or description"),
    };
    Ok(render(StatusCode::OK, &page))
}

fn path(id: &EnvironmentId) -> String {
    format!("{LIST}/{id}")
}

fn menu(visit: &Visit<'_>, environment: &Environment, here: &str) -> Vec<Item> {
    let id = &environment.id;
    let asked = |verb: &str| with(&format!("{LIST}/{id}/{verb}"), &[("to", here)]);
    let mut items = Vec::new();
    if visit.caller.may(&ManagementAction::ChangeEnvironment(id.clone()))
        && environment.state != State::Removed
    {
        if environment.state == State::Active {
            let href = asked("deactivate");
            items.push(Item::Ask { label: "Deactivate", hook: "deactivate", href, is_grave: true });
        } else {
            let href = asked("activate");
            items.push(Item::Ask { label: "Activate", hook: "activate", href, is_grave: false });
        }
        items.push(Item::Ask { label: "Delete", hook: "delete", href: asked("delete"), is_grave: true });
        items.push(Item::Ask { label: "Edit", hook: "edit", href: asked("edit"), is_grave: false });
    }
    let href = format!("/v2-beta/projects/{id}");
    items.push(Item::Open { label: "View in API", hook: "api", href });
    items
}

/// `/environments/{id}`
pub(super) async fn show(visit: &Visit<'_>, id: &str) -> Result<Answer, Refusal> {
    let WithRevision { object: environment, revision } = find(visit, id).await?;
    let confirmed_up_to = visit.operations().confirmed_up_to().await;
    let id = &environment.id;
    let mut page =
        Details::new(visit, Section::Environments, format!("Environment {}", present(&environment)));
    page.up = (LIST.to_owned(), "Environments");
    page.menu = menu(visit, &environment, &page.here);
    if visit.caller.may(&ManagementAction::SeeKeys(KeyOwner::Environment(id.clone())))
        && environment.state != State::Removed
    {
        let keys = format!("{}#environment-keys", with("/keys", &[("environment", id.as_str())]));
        page.links = vec![("API keys of this environment", keys)];
    }
    page.list = members::section(visit, &environment).await?;
    page.facts = vec![
        ("State", Cell::state(environment.state, revision, confirmed_up_to)),
        ("Id", Cell::Code(environment.id.to_string())),
        ("Name", Cell::text(environment.name)),
        ("Description", Cell::text(environment.description)),
        ("Created", Cell::time(environment.created, Timestamp::now())),
        ("UUID", Cell::text(Some(environment.uuid))),
    ];
    Ok(page.show())
}

/// The environment with this id, if the caller may see it.
pub(super) async fn find(visit: &Visit<'_>, id: &str) -> Result<WithRevision<Environment>, Refusal> {
    let id: EnvironmentId = id.parse().map_err(|_| Refusal::NotFound)?;
    visit.operations().environment(&visit.caller, &id).await
}

const NAME_HINT: &str = "What people call it";
const DESCRIPTION_HINT: &str = "What it is for";
const ID_HINT: &str = "The path segment that stands for it, such as e1 or 1a5; left empty, it gets one that nobody can guess. It cannot be changed.";

fn new_form(visit: &Visit<'_>, to: String, values: [String; 3]) -> FormPage {
    let [id, name, description] = values;
    let mut page =
        FormPage::new(visit, Section::Environments, "new-environment", "New Environment", "Create", to);
    let chooses_id = visit.caller.may(&ManagementAction::CreateEnvironments);
    if chooses_id {
        page.fields.push(Field {
            name: "id",
            label: "Id",
            input: Input::Line { longest: EnvironmentId::MAX_BYTES },
            ..Field::name(id, ID_HINT)
        });
    }
    page.fields.extend([
        Field { is_first: !chooses_id, ..Field::name(name, NAME_HINT) },
        Field::description(description, DESCRIPTION_HINT),
    ]);
    page
}

/// `/environments/new`, asked
pub(super) fn ask_new(visit: &Visit<'_>) -> Result<Answer, Refusal> {
    if !visit.operations().may_create_environments(&visit.caller) {
        return Err(Refusal::Forbidden { detail: None });
    }
    Ok(new_form(visit, visit.origin(LIST), Default::default()).show())
}

/// `/environments/new`, sent
pub(super) async fn create(visit: &Visit<'_>, form: &Form) -> Result<Answer, Refusal> {
    let made = async {
        let id = match form.value("id").trim() {
            "" => None,
            id => Some(
                id.parse::<EnvironmentId>()
                    .map_err(|error| Refusal::invalid("InvalidCharacters", "id", error.to_string()))?,
            ),
        };
        let (name, description) = texts(form)?;
        visit.operations().create_environment(&visit.caller, id, name, description, Vec::new()).await
    };
    match made.await {
        Ok(done) => {
            let text = format!("Environment {} is active.", present(&done.value.object));
            visit.session.flash.set_notice(notice_of(&done, &text));
            Ok(see_other(&path(&done.value.object.id)))
        }
        Err(refusal) => {
            let values =
                [form.value("id").to_owned(), form.value("name").to_owned(), form.lines("description")];
            new_form(visit, origin_of(form, LIST), values).show_refused(refusal)
        }
    }
}

fn edit_form(
    visit: &Visit<'_>,
    entry: &WithRevision<Environment>,
    to: String,
    values: [String; 2],
) -> FormPage {
    let [name, description] = values;
    let mut page =
        FormPage::new(visit, Section::Environments, "edit-environment", "Edit Environment", "Save", to);
    page.facts = vec![("Id", entry.object.id.to_string())];
    page.hidden = vec![("revision", entry.revision.to_string())];
    page.fields = vec![Field::name(name, NAME_HINT), Field::description(description, DESCRIPTION_HINT)];
    page
}

/// `/environments/{id}/edit`, asked
pub(super) async fn ask_edit(visit: &Visit<'_>, id: &str) -> Result<Answer, Refusal> {
    let entry = find(visit, id).await?;
    visit.caller.require(&ManagementAction::ChangeEnvironment(entry.object.id.clone()))?;
    let values = [
        entry.object.name.as_ref().map(ToString::to_string).unwrap_or_default(),
        entry.object.description.as_ref().map(ToString::to_string).unwrap_or_default(),
    ];
    Ok(edit_form(visit, &entry, visit.origin(LIST), values).show())
}

/// `/environments/{id}/edit`, sent
pub(super) async fn edit(visit: &Visit<'_>, id: &str, form: &Form) -> Result<Answer, Refusal> {
    let id = find(visit, id).await?.object.id;
    let edited = async {
        let (name, description) = texts(form)?;
        let edit = Edit { name: Some(name), description: Some(description), expected: expected(form)? };
        visit.operations().edit_environment(&visit.caller, id.clone(), edit).await
    };
    match edited.await {
        Ok(done) => {
            let text = format!("Environment {} is saved.", present(&done.value.object));
            Ok(visit.back(form, LIST, notice_of(&done, &text)))
        }
        Err(refusal) => {
            let entry = find(visit, id.as_str()).await?;
            let values = [form.value("name").to_owned(), form.lines("description")];
            let mut page = edit_form(visit, &entry, origin_of(form, LIST), values);
            if let Refusal::PreconditionFailed { .. } = refusal {
                page.current = current(entry.object.name.as_ref(), entry.object.description.as_ref());
            }
            page.show_refused(refusal)
        }
    }
}

/// `/environments/{id}/activate`, `deactivate`, `delete`: the question
pub(super) async fn ask_state(visit: &Visit<'_>, id: &str, state: State) -> Result<Answer, Refusal> {
    let environment = find(visit, id).await?.object;
    visit.caller.require(&ManagementAction::ChangeEnvironment(environment.id.clone()))?;
    let name = present(&environment);
    let (form, heading, submit, intro) = match state {
        State::Active => (
            "activate-environment",
            "Activate Environment",
            "Activate",
            format!("Activate the environment {name}?"),
        ),
        State::Inactive => (
            "deactivate-environment",
            "Deactivate Environment",
            "Deactivate",
            format!(
                "Deactivate the environment {name}? It is closed to every key then, and its own keys do not work."
            ),
        ),
        State::Removed => (
            "delete-environment",
            "Delete Environment",
            "Delete",
            format!(
                "Are you sure you want to delete the environment {name}? It is closed to every key then, its keys \
                 and memberships go with it, and nothing brings them back."
            ),
        ),
    };
    let mut page = FormPage::new(visit, Section::Environments, form, heading, submit, visit.origin(LIST));
    page.intro = vec![intro];
    page.is_grave = state != State::Active;
    Ok(page.show())
}

/// `/environments/{id}/activate`, `deactivate`, `delete`
pub(super) async fn set_state(
    visit: &Visit<'_>,
    id: &str,
    state: State,
    form: &Form,
) -> Result<Answer, Refusal> {
    let environment = find(visit, id).await?.object;
    let name = present(&environment);
    let done = match state {
        State::Removed => {
            visit.operations().remove_environment(&visit.caller, environment.id, ExpectedRevision::Any).await
        }
        _ => visit.operations().set_environment_state(&visit.caller, environment.id, state).await,
    };
    match done {
        Ok(done) if state == State::Removed => {
            visit.session.flash.set_notice(notice_of(&done, &format!("Environment {name} is deleted.")));
            Ok(see_other(LIST))
        }
        Ok(done) => Ok(visit.back(form, LIST, notice_of(&done, &format!("Environment {name} is {state}.")))),
        Err(refusal) => Ok(visit.back(form, LIST, problem_of(refusal)?)),
    }
}
