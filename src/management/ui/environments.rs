//! Environments: the list, one of them with its members, and the forms that make and change them.

use http::StatusCode;
use jiff::Timestamp;

use super::super::answer::Answer;
use super::super::refusal::Refusal;
use super::audit::history_link;
use super::detail_page::DetailPage;
use super::environment_picker::environment_label;
use super::form::Form;
use super::form_page::{Field, FormPage, Input, current_values, read_name_and_description, read_revision};
use super::list_page::ListPage;
use super::list_view::{ListDefaults, ListView};
use super::members;
use super::namesakes::namesakes_sentence;
use super::page::Section;
use super::page::render;
use super::signed_in_request::{
    SignedInRequest, change_notice, error_notice, form_return_path, redirect, with_query,
};
use super::table::{Cell, MenuItem, Row, Table, column, sortable_column};
use crate::model::{Environment, EnvironmentId, KeyOwner, State};
use crate::policy::ManagementAction;
use crate::store::{ENVIRONMENT_FIELDS, Edit, ExpectedRevision, ObjectId, WithRevision};

const LIST: &str = "/environments";

/// `/environments`
pub(super) async fn list(request: &SignedInRequest<'_>) -> Result<Answer, Refusal> {
    let now = Timestamp::now();
    let defaults = ListDefaults {
        prefix: "",
        anchor: "environments",
        fields: ENVIRONMENT_FIELDS,
        sort: "name",
        descending: false,
    };
    let view = ListView::read(request.http, defaults);
    let page = request.operations().environments(&request.caller, view.query()?).await?;
    let confirmed_up_to = request.operations().confirmed_up_to().await;
    let columns = vec![
        sortable_column("State", "state"),
        sortable_column("Id", "id"),
        sortable_column("Name", "name"),
        column("Description"),
        column("Your role"),
        sortable_column("Created", "created"),
    ];
    let here = format!("{}#environments", request.url());
    let row = |entry: &WithRevision<Environment>| {
        let environment = &entry.object;
        Row {
            id: environment.id.to_string(),
            cells: vec![
                Cell::state(environment.state, entry.revision, confirmed_up_to),
                Cell::link(&environment.id, path(&environment.id)),
                Cell::text(environment.name.as_ref()),
                Cell::text(environment.description.as_ref()),
                request
                    .caller
                    .role_in(&environment.id)
                    .map_or(Cell::Text(None), |role| Cell::tag(role.as_str())),
                Cell::time(environment.created, now),
            ],
            label: environment_label(environment),
            menu: menu(request, environment, &here),
            below: None,
            choice: None,
        }
    };
    let empty = "There are no environments that you can see.";
    let table = Table::new("environments", "Environments".to_owned(), columns, &page, row, empty, view);
    let page = ListPage {
        up: None,
        layout: request.layout("Environments", Section::Environments),
        heading: "Environments",
        intro: "An environment is a part of your API. Its keys reach nothing outside it.",
        add: request
            .operations()
            .may_create_environments(&request.caller)
            .then(|| ("Add environment", with_query("/environments/new", &[("to", &request.url())]))),
        table: table.counting("environment", "environments").searched("Id, name or description"),
    };
    Ok(render(StatusCode::OK, &page))
}

fn path(id: &EnvironmentId) -> String {
    format!("{LIST}/{id}")
}

fn menu(request: &SignedInRequest<'_>, environment: &Environment, here: &str) -> Vec<MenuItem> {
    let id = &environment.id;
    let asked = |verb: &str| with_query(&format!("{LIST}/{id}/{verb}"), &[("to", here)]);
    let mut items = Vec::new();
    if request.caller.may(&ManagementAction::ChangeEnvironment(id.clone()))
        && environment.state != State::Removed
    {
        if environment.state == State::Active {
            let href = asked("deactivate");
            items.push(MenuItem::Form {
                label: "Deactivate",
                hook: "deactivate",
                href,
                is_destructive: true,
            });
        } else {
            let href = asked("activate");
            items.push(MenuItem::Form { label: "Activate", hook: "activate", href, is_destructive: false });
        }
        items.push(MenuItem::Form {
            label: "Delete",
            hook: "delete",
            href: asked("delete"),
            is_destructive: true,
        });
        items.push(MenuItem::Form {
            label: "Edit",
            hook: "edit",
            href: asked("edit"),
            is_destructive: false,
        });
    }
    let href = format!("/v2-beta/projects/{id}");
    items.push(MenuItem::NewTab { label: "View in API", hook: "api", href });
    items
}

/// `/environments/{id}`
pub(super) async fn show(request: &SignedInRequest<'_>, id: &str) -> Result<Answer, Refusal> {
    let WithRevision { object: environment, revision } = find(request, id).await?;
    let confirmed_up_to = request.operations().confirmed_up_to().await;
    let id = &environment.id;
    let mut page = DetailPage::new(
        request,
        Section::Environments,
        format!("Environment {}", environment_label(&environment)),
    );
    page.up = (LIST.to_owned(), "Environments");
    page.menu = menu(request, &environment, &page.here);
    if request.caller.may(&ManagementAction::SeeKeys(KeyOwner::Environment(id.clone())))
        && environment.state != State::Removed
    {
        let keys = format!("{}#environment-keys", with_query("/keys", &[("environment", id.as_str())]));
        page.links = vec![("API keys of this environment", keys)];
    }
    page.list = members::section(request, &environment).await?;
    page.links.extend(
        history_link(request, "environment", environment.id.as_str())
            .map(|to| ("History of this environment", to)),
    );
    page.facts = vec![
        ("State", Cell::state(environment.state, revision, confirmed_up_to)),
        ("Id", Cell::Code(environment.id.to_string())),
        ("Name", Cell::text(environment.name)),
        ("Description", Cell::text(environment.description)),
        ("Created", Cell::time_in_full(environment.created, Timestamp::now())),
        ("UUID", Cell::text(Some(environment.uuid))),
    ];
    Ok(page.show())
}

/// The environment with this id, if the caller may see it.
pub(super) async fn find(
    request: &SignedInRequest<'_>,
    id: &str,
) -> Result<WithRevision<Environment>, Refusal> {
    let id: EnvironmentId = id.parse().map_err(|_| Refusal::NotFound)?;
    request.operations().environment(&request.caller, &id).await
}

const NAME_HINT: &str = "A name for people to recognise it by";
const DESCRIPTION_HINT: &str = "What it is for";
const ID_HINT: &str = "The path segment that names it in your API, such as e1 or 1a5. It cannot be changed later. Leave it empty to get a random one.";

fn new_form(request: &SignedInRequest<'_>, to: String, values: [String; 3]) -> FormPage {
    let [id, name, description] = values;
    let mut page =
        FormPage::new(request, Section::Environments, "new-environment", "New environment", "Create", to);
    let chooses_id = request.caller.may(&ManagementAction::CreateEnvironments);
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
pub(super) fn show_new(request: &SignedInRequest<'_>) -> Result<Answer, Refusal> {
    if !request.operations().may_create_environments(&request.caller) {
        return Err(Refusal::Forbidden { detail: None });
    }
    Ok(new_form(request, request.return_path(LIST), Default::default()).show())
}

/// `/environments/new`, sent
pub(super) async fn create(request: &SignedInRequest<'_>, form: &Form) -> Result<Answer, Refusal> {
    let made = async {
        let id = match form.value("id").trim() {
            "" => None,
            id => Some(
                id.parse::<EnvironmentId>()
                    .map_err(|error| Refusal::invalid("InvalidCharacters", "id", error.to_string()))?,
            ),
        };
        let (name, description) = read_name_and_description(form)?;
        request.operations().create_environment(&request.caller, id, name, description, Vec::new()).await
    };
    match made.await {
        Ok(done) => {
            let environment = &done.value.object;
            let namesakes = namesakes_of(request, environment).await;
            let text = format!("Environment {} is active.{namesakes}", environment_label(environment));
            request.session.flash.set_notice(change_notice(&done, &text));
            Ok(redirect(&path(&done.value.object.id)))
        }
        Err(refusal) => {
            let values =
                [form.value("id").to_owned(), form.value("name").to_owned(), form.lines("description")];
            new_form(request, form_return_path(form, LIST), values).show_refused(refusal)
        }
    }
}

fn edit_form(
    request: &SignedInRequest<'_>,
    entry: &WithRevision<Environment>,
    to: String,
    values: [String; 2],
) -> FormPage {
    let [name, description] = values;
    let mut page =
        FormPage::new(request, Section::Environments, "edit-environment", "Edit environment", "Save", to);
    page.facts = vec![("Id", entry.object.id.to_string())];
    page.hidden = vec![("revision", entry.revision.to_string())];
    page.fields = vec![Field::name(name, NAME_HINT), Field::description(description, DESCRIPTION_HINT)];
    page
}

/// `/environments/{id}/edit`, asked
pub(super) async fn show_edit(request: &SignedInRequest<'_>, id: &str) -> Result<Answer, Refusal> {
    let entry = find(request, id).await?;
    request.caller.require(&ManagementAction::ChangeEnvironment(entry.object.id.clone()))?;
    let values = [
        entry.object.name.as_ref().map(ToString::to_string).unwrap_or_default(),
        entry.object.description.as_ref().map(ToString::to_string).unwrap_or_default(),
    ];
    Ok(edit_form(request, &entry, request.return_path(LIST), values).show())
}

/// `/environments/{id}/edit`, sent
pub(super) async fn edit(request: &SignedInRequest<'_>, id: &str, form: &Form) -> Result<Answer, Refusal> {
    let id = find(request, id).await?.object.id;
    let edited = async {
        let (name, description) = read_name_and_description(form)?;
        let edit = Edit { name: Some(name), description: Some(description), expected: read_revision(form)? };
        request.operations().edit_environment(&request.caller, id.clone(), edit).await
    };
    match edited.await {
        Ok(done) => {
            let environment = &done.value.object;
            let namesakes = namesakes_of(request, environment).await;
            let text = format!("Environment {} is saved.{namesakes}", environment_label(environment));
            Ok(request.redirect_back(form, LIST, change_notice(&done, &text)))
        }
        Err(refusal) => {
            let entry = find(request, id.as_str()).await?;
            let values = [form.value("name").to_owned(), form.lines("description")];
            let mut page = edit_form(request, &entry, form_return_path(form, LIST), values);
            if let Refusal::PreconditionFailed { .. } = refusal {
                page.current = current_values(entry.object.name.as_ref(), entry.object.description.as_ref());
            }
            page.show_refused(refusal)
        }
    }
}

async fn namesakes_of(request: &SignedInRequest<'_>, environment: &Environment) -> String {
    let id = ObjectId::Environment(environment.id.clone());
    namesakes_sentence(request, id, environment.name.as_ref()).await
}

/// `/environments/{id}/activate`, `deactivate`, `delete`: the question
pub(super) async fn confirm_state_change(
    request: &SignedInRequest<'_>,
    id: &str,
    state: State,
) -> Result<Answer, Refusal> {
    let environment = find(request, id).await?.object;
    request.caller.require(&ManagementAction::ChangeEnvironment(environment.id.clone()))?;
    let name = environment_label(&environment);
    let (form, heading, submit, intro) = match state {
        State::Active => (
            "activate-environment",
            "Activate environment",
            "Activate",
            format!("Activate the environment {name}?"),
        ),
        State::Inactive => (
            "deactivate-environment",
            "Deactivate environment",
            "Deactivate",
            format!(
                "Deactivate the environment {name}? It is closed to every key, and its own keys stop working."
            ),
        ),
        State::Removed => (
            "delete-environment",
            "Delete environment",
            "Delete",
            format!(
                "Delete the environment {name}? It is closed to every key. Its keys and memberships are deleted \
                 too. This cannot be undone, and its id {} can never be used again.",
                environment.id
            ),
        ),
    };
    let mut page =
        FormPage::new(request, Section::Environments, form, heading, submit, request.return_path(LIST));
    page.intro = vec![intro];
    page.is_destructive = state != State::Active;
    Ok(page.show())
}

/// `/environments/{id}/activate`, `deactivate`, `delete`
pub(super) async fn change_state(
    request: &SignedInRequest<'_>,
    id: &str,
    state: State,
    form: &Form,
) -> Result<Answer, Refusal> {
    let environment = find(request, id).await?.object;
    let name = environment_label(&environment);
    let done = match state {
        State::Removed => {
            request
                .operations()
                .remove_environment(&request.caller, environment.id, ExpectedRevision::Any)
                .await
        }
        _ => request.operations().set_environment_state(&request.caller, environment.id, state).await,
    };
    match done {
        Ok(done) if state == State::Removed => {
            request
                .session
                .flash
                .set_notice(change_notice(&done, &format!("Environment {name} is deleted.")));
            Ok(redirect(LIST))
        }
        Ok(done) => Ok(request.redirect_back(
            form,
            LIST,
            change_notice(&done, &format!("Environment {name} is {state}.")),
        )),
        Err(refusal) => Ok(request.redirect_back(form, LIST, error_notice(refusal)?)),
    }
}
