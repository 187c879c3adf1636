//! Accounts, for admins: the list, one of them, and the forms that make and change them.

use http::StatusCode;
use jiff::Timestamp;

use super::super::answer::Answer;
use super::super::refusal::Refusal;
use super::audit::history_link;
use super::detail_page::DetailPage;
use super::form::Form;
use super::form_page::{
    Field, FormPage, current_values, read_confirmation, read_name_and_description, read_revision,
};
use super::list_page::ListPage;
use super::list_view::{ListDefaults, ListView};
use super::namesakes::namesakes_sentence;
use super::page::{Section, render};
use super::sign_in::{self, SignInReason};
use super::signed_in_request::{
    SignedInRequest, change_notice, error_notice, form_return_path, redirect, with_query,
};
use super::table::{Cell, MenuItem, Row, Table, column, sortable_column};
use crate::model::{Account, AccountId, AccountKind, State};
use crate::policy::ManagementAction;
use crate::store::{ACCOUNT_FIELDS, Edit, NewAccount, ObjectId, WithRevision};

const LIST: &str = "/accounts";

/// `/accounts`
pub(super) async fn list(request: &SignedInRequest<'_>) -> Result<Answer, Refusal> {
    request.caller.require(&ManagementAction::ManageAccounts)?;
    let now = Timestamp::now();
    let defaults = ListDefaults {
        prefix: "",
        anchor: "accounts",
        fields: ACCOUNT_FIELDS,
        sort: "name",
        descending: false,
    };
    let view = ListView::read(request.http, defaults);
    let page = request.operations().accounts(&request.caller, view.query()?).await?;
    let confirmed_up_to = request.operations().confirmed_up_to().await;
    let columns = vec![
        sortable_column("State", "state"),
        sortable_column("Name", "name"),
        sortable_column("Id", "id"),
        sortable_column("Kind", "kind"),
        column("Description"),
        sortable_column("Created", "created"),
    ];
    let here = format!("{}#accounts", request.url());
    let row = |entry: &WithRevision<Account>| {
        let account = &entry.object;
        Row {
            id: account.id.to_string(),
            cells: vec![
                Cell::state(account.state, entry.revision, confirmed_up_to),
                Cell::link(&account.name, path(account.id)),
                Cell::text(Some(account.id)),
                Cell::tag(account.kind.as_str()),
                Cell::text(account.description.as_ref()),
                Cell::time(account.created, now),
            ],
            label: account.name.to_string(),
            menu: menu(request, account, &here),
            below: None,
            choice: None,
        }
    };
    let empty = "There are no accounts.";
    let table = Table::new("accounts", "Accounts".to_owned(), columns, &page, row, empty, view);
    let page = ListPage {
        up: None,
        layout: request.layout("Accounts", Section::Accounts),
        heading: "Accounts",
        intro: "An account is a person or a service that owns keys. Admins reach and manage everything. Users reach \
                the environments that they are members of, and what a route opens to every account.",
        add: Some(("Add account", with_query("/accounts/new", &[("to", &request.url())]))),
        table: table.counting("account", "accounts").searched("Name or description"),
    };
    Ok(render(StatusCode::OK, &page))
}

fn path(id: AccountId) -> String {
    format!("{LIST}/{id}")
}

fn keys_of(id: AccountId) -> String {
    with_query("/keys", &[("account", &id.to_string())])
}

fn menu(request: &SignedInRequest<'_>, account: &Account, here: &str) -> Vec<MenuItem> {
    let id = account.id;
    let asked = |verb: &str| with_query(&format!("{LIST}/{id}/{verb}"), &[("to", here)]);
    let mut items = Vec::new();
    if request.caller.may(&ManagementAction::ManageAccounts) && account.state != State::Removed {
        if account.state == State::Active {
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
            items.push(MenuItem::Form {
                label: "Delete",
                hook: "delete",
                href: asked("delete"),
                is_destructive: true,
            });
        }
        items.push(MenuItem::Form {
            label: "Edit",
            hook: "edit",
            href: asked("edit"),
            is_destructive: false,
        });
        items.push(MenuItem::Page { label: "API keys", hook: "keys", href: keys_of(id) });
    }
    let href = format!("/v2-beta/accounts/{id}");
    items.push(MenuItem::NewTab { label: "View in API", hook: "api", href });
    items
}

/// `/accounts/{id}`: for admins, and for its own holder
pub(super) async fn show(request: &SignedInRequest<'_>, id: &str) -> Result<Answer, Refusal> {
    let WithRevision { object: account, revision } = find(request, id).await?;
    let confirmed_up_to = request.operations().confirmed_up_to().await;
    let mut page = DetailPage::new(request, Section::Accounts, format!("Account {}", account.name));
    page.up = if request.caller.may(&ManagementAction::ManageAccounts) {
        (LIST.to_owned(), "Accounts")
    } else {
        ("/keys".to_owned(), "API keys")
    };
    page.menu = menu(request, &account, &page.here);
    if account.state != State::Removed {
        page.links = vec![("API keys of this account", keys_of(account.id))];
    }
    page.links.extend(
        history_link(request, "account", &account.id.to_string()).map(|to| ("History of this account", to)),
    );
    page.facts = vec![
        ("State", Cell::state(account.state, revision, confirmed_up_to)),
        ("Id", Cell::Code(account.id.to_string())),
        ("Kind", Cell::tag(account.kind.as_str())),
        ("Name", Cell::text(Some(account.name))),
        ("Description", Cell::text(account.description)),
        ("Created", Cell::time_in_full(account.created, Timestamp::now())),
        ("UUID", Cell::text(Some(account.uuid))),
    ];
    Ok(page.show())
}

async fn find(request: &SignedInRequest<'_>, id: &str) -> Result<WithRevision<Account>, Refusal> {
    let id: AccountId = id.parse().map_err(|_| Refusal::NotFound)?;
    request.operations().account(&request.caller, id).await
}

const NAME_HINT: &str = "The person or service, such as alice or billing";
const DESCRIPTION_HINT: &str = "Who it is, or what it is for";

fn new_form(request: &SignedInRequest<'_>, to: String, [name, kind, description]: [&str; 3]) -> FormPage {
    let mut page = FormPage::new(request, Section::Accounts, "new-account", "New account", "Create", to);
    let kinds = vec![
        ("user", "user: reaches its environments, and what is open to every account"),
        ("admin", "admin: reaches and manages everything"),
    ];
    page.fields = vec![
        Field::name(name, NAME_HINT).required(),
        Field::choice("kind", "Kind", kinds, kind),
        Field::description(description, DESCRIPTION_HINT),
    ];
    page
}

/// `/accounts/new`, asked
pub(super) fn show_new(request: &SignedInRequest<'_>) -> Result<Answer, Refusal> {
    request.caller.require(&ManagementAction::ManageAccounts)?;
    Ok(new_form(request, request.return_path(LIST), ["", AccountKind::User.as_str(), ""]).show())
}

/// `/accounts/new`, sent
pub(super) async fn create(request: &SignedInRequest<'_>, form: &Form) -> Result<Answer, Refusal> {
    let made = async {
        let (name, description) = read_name_and_description(form)?;
        let name =
            name.ok_or_else(|| Refusal::invalid("MissingRequired", "name", "an account needs a name"))?;
        let kind = form.value("kind").parse().map_err(|_| {
            Refusal::invalid("InvalidOption", "kind", "an account is of kind 'admin' or 'user'")
        })?;
        request.operations().create_account(&request.caller, NewAccount { name, kind, description }).await
    };
    match made.await {
        Ok(done) => {
            let account = &done.value.object;
            let namesakes = namesakes_of(request, account).await;
            let text = format!(
                "Account {} ({}) is active. It has no keys yet.{namesakes}",
                account.name, account.id
            );
            request.session.flash.set_notice(change_notice(&done, &text));
            Ok(redirect(&path(account.id)))
        }
        Err(refusal) => {
            let description = form.lines("description");
            let values = [form.value("name"), form.value("kind"), &description];
            new_form(request, form_return_path(form, LIST), values).show_refused(refusal)
        }
    }
}

fn edit_form(
    request: &SignedInRequest<'_>,
    entry: &WithRevision<Account>,
    to: String,
    [name, description]: [&str; 2],
) -> FormPage {
    let mut page = FormPage::new(request, Section::Accounts, "edit-account", "Edit account", "Save", to);
    page.facts = vec![("Id", entry.object.id.to_string()), ("Kind", entry.object.kind.as_str().to_owned())];
    page.hidden = vec![("revision", entry.revision.to_string())];
    page.fields =
        vec![Field::name(name, NAME_HINT).required(), Field::description(description, DESCRIPTION_HINT)];
    page
}

/// `/accounts/{id}/edit`, asked
pub(super) async fn show_edit(request: &SignedInRequest<'_>, id: &str) -> Result<Answer, Refusal> {
    let entry = find(request, id).await?;
    request.caller.require(&ManagementAction::ManageAccounts)?;
    let description = entry.object.description.as_ref().map(ToString::to_string).unwrap_or_default();
    let values = [entry.object.name.as_str(), &description];
    Ok(edit_form(request, &entry, request.return_path(LIST), values).show())
}

/// `/accounts/{id}/edit`, sent
pub(super) async fn edit(request: &SignedInRequest<'_>, id: &str, form: &Form) -> Result<Answer, Refusal> {
    let account = find(request, id).await?.object.id;
    let edited = async {
        let (name, description) = read_name_and_description(form)?;
        if name.is_none() {
            return Err(Refusal::invalid("MissingRequired", "name", "an account needs a name"));
        }
        let edit = Edit { name: Some(name), description: Some(description), expected: read_revision(form)? };
        request.operations().edit_account(&request.caller, account, edit).await
    };
    match edited.await {
        Ok(done) => {
            let account = &done.value.object;
            let text = format!("Account {} is saved.{}", account.name, namesakes_of(request, account).await);
            Ok(request.redirect_back(form, LIST, change_notice(&done, &text)))
        }
        Err(refusal) => {
            let entry = find(request, id).await?;
            let description = form.lines("description");
            let values = [form.value("name"), &description];
            let mut page = edit_form(request, &entry, form_return_path(form, LIST), values);
            if let Refusal::PreconditionFailed { .. } = refusal {
                page.current = current_values(Some(&entry.object.name), entry.object.description.as_ref());
            }
            page.show_refused(refusal)
        }
    }
}

async fn namesakes_of(request: &SignedInRequest<'_>, account: &Account) -> String {
    namesakes_sentence(request, ObjectId::Account(account.id), Some(&account.name)).await
}

fn is_own(request: &SignedInRequest<'_>, account: &Account) -> bool {
    request.caller.account().is_some_and(|own| own.id == account.id)
}

fn state_form(request: &SignedInRequest<'_>, account: &Account, state: State, to: String) -> FormPage {
    let name = &account.name;
    let (id, heading, submit, intro) = match state {
        State::Active => {
            ("activate-account", "Activate account", "Activate", format!("Activate the account {name}?"))
        }
        State::Inactive => (
            "deactivate-account",
            "Deactivate account",
            "Deactivate",
            format!("Deactivate the account {name}? All of its keys stop working."),
        ),
        State::Removed => (
            "delete-account",
            "Delete account",
            "Delete",
            format!(
                "Delete the account {name}? Its keys and memberships are deleted too. This cannot be undone."
            ),
        ),
    };
    let mut page = FormPage::new(request, Section::Accounts, id, heading, submit, to);
    page.intro = vec![intro];
    page.is_destructive = state != State::Active;
    if is_own(request, account) && state != State::Active {
        page.intro.push("This is your own account. Your session ends at once.".to_owned());
        page.fields = vec![Field::tick("confirm", "Yes, stop the account that I am signed in with")];
    }
    page
}

/// `/accounts/{id}/activate`, `deactivate`, `delete`: the question
pub(super) async fn confirm_state_change(
    request: &SignedInRequest<'_>,
    id: &str,
    state: State,
) -> Result<Answer, Refusal> {
    let account = find(request, id).await?.object;
    request.caller.require(&ManagementAction::ManageAccounts)?;
    Ok(state_form(request, &account, state, request.return_path(LIST)).show())
}

/// `/accounts/{id}/activate`, `deactivate`, `delete`
pub(super) async fn change_state(
    request: &SignedInRequest<'_>,
    id: &str,
    state: State,
    form: &Form,
) -> Result<Answer, Refusal> {
    let account = find(request, id).await?.object;
    let name = &account.name;
    match request
        .operations()
        .set_account_state(&request.caller, account.id, state, read_confirmation(form))
        .await
    {
        Ok(done) if is_own(request, &account) => {
            Ok(sign_in::end_session(request, SignInReason::own_key_stopped(&done)))
        }
        Ok(done) if state == State::Removed => {
            request.session.flash.set_notice(change_notice(&done, &format!("Account {name} is deleted.")));
            Ok(redirect(LIST))
        }
        Ok(done) => Ok(request.redirect_back(
            form,
            LIST,
            change_notice(&done, &format!("Account {name} is {state}.")),
        )),
        Err(refusal) if refusal.field() == Some("confirm") => {
            state_form(request, &account, state, form_return_path(form, LIST)).show_refused(refusal)
        }
        Err(refusal) => Ok(request.redirect_back(form, LIST, error_notice(refusal)?)),
    }
}
