//! Accounts, for admins: the list, one of them, and the forms that make and change them.

use http::StatusCode;
use jiff::Timestamp;

use super::super::answer::Answer;
use super::super::refusal::Refusal;
use super::details::Details;
use super::form::Form;
use super::form_page::{Field, FormPage, confirmed, current, expected, texts};
use super::list_page::ListPage;
use super::page::{Section, render};
use super::sign_in::{self, Why};
use super::table::{Cell, Item, Row, Table, plain, sorted};
use super::view::{Usual, View};
use super::visit::{Visit, notice_of, origin_of, problem_of, see_other, with};
use crate::model::{Account, AccountId, AccountKind, State};
use crate::policy::ManagementAction;
use crate::store::{ACCOUNT_FIELDS, Edit, NewAccount, WithRevision};

const LIST: &str = "/accounts";

/// `/accounts`
pub(super) async fn list(visit: &Visit<'_>) -> Result<Answer, Refusal> {
    visit.caller.require(&ManagementAction::ManageAccounts)?;
    let now = Timestamp::now();
    let usual =
        Usual { prefix: "", anchor: "accounts", fields: ACCOUNT_FIELDS, sort: "name", descending: false };
    let view = View::read(visit.request, usual);
    let page = visit.operations().accounts(&visit.caller, view.query()?).await?;
    let confirmed_up_to = visit.operations().confirmed_up_to().await;
    let columns = vec![
        sorted("State", "state"),
        sorted("Name", "name"),
        sorted("Id", "id"),
        sorted("Kind", "kind"),
        plain("Description"),
        sorted("Created", "created"),
    ];
    let here = format!("{}#accounts", visit.here());
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
            menu: menu(visit, account, &here),
        }
    };
    let empty = "There are no accounts.";
    let table = Table::new("accounts", "Accounts".to_owned(), columns, &page, row, empty, view);
    let page = ListPage {
        frame: visit.frame("Accounts", Section::Accounts),
        heading: "Accounts",
        intro: "An account is a person or a service that owns keys. Admins reach and manage everything; users reach \
                the environments that they are members of.",
        add: Some(("Add Account", with("/accounts/new", &[("to", &visit.here())]))),
        table: table.searched("Name or description"),
    };
    Ok(render(StatusCode::OK, &page))
}

fn path(id: AccountId) -> String {
    format!("{LIST}/{id}")
}

fn keys_of(id: AccountId) -> String {
    with("/keys", &[("account", &id.to_string())])
}

fn menu(visit: &Visit<'_>, account: &Account, here: &str) -> Vec<Item> {
    let id = account.id;
    let asked = |verb: &str| with(&format!("{LIST}/{id}/{verb}"), &[("to", here)]);
    let mut items = Vec::new();
    if visit.caller.may(&ManagementAction::ManageAccounts) && account.state != State::Removed {
        if account.state == State::Active {
            let href = asked("deactivate");
            items.push(Item::Ask { label: "Deactivate", hook: "deactivate", href, is_grave: true });
        } else {
            let href = asked("activate");
            items.push(Item::Ask { label: "Activate", hook: "activate", href, is_grave: false });
            items.push(Item::Ask { label: "Delete", hook: "delete", href: asked("delete"), is_grave: true });
        }
        items.push(Item::Ask { label: "Edit", hook: "edit", href: asked("edit"), is_grave: false });
        items.push(Item::Go { label: "API keys", hook: "keys", href: keys_of(id) });
    }
    let href = format!("/v2-beta/accounts/{id}");
    items.push(Item::Open { label: "View in API", hook: "api", href });
    items
}

/// `/accounts/{id}`: for admins, and for its own holder
pub(super) async fn show(visit: &Visit<'_>, id: &str) -> Result<Answer, Refusal> {
    let WithRevision { object: account, revision } = find(visit, id).await?;
    let confirmed_up_to = visit.operations().confirmed_up_to().await;
    let mut page = Details::new(visit, Section::Accounts, format!("Account {}", account.name));
    page.up = if visit.caller.may(&ManagementAction::ManageAccounts) {
        (LIST.to_owned(), "Accounts")
    } else {
        ("/keys".to_owned(), "API Keys")
    };
    page.menu = menu(visit, &account, &page.here);
    if account.state != State::Removed {
        page.links = vec![("API keys of this account", keys_of(account.id))];
    }
    page.facts = vec![
        ("State", Cell::state(account.state, revision, confirmed_up_to)),
        ("Id", Cell::Code(account.id.to_string())),
        ("Kind", Cell::tag(account.kind.as_str())),
        ("Name", Cell::text(Some(account.name))),
        ("Description", Cell::text(account.description)),
        ("Created", Cell::time(account.created, Timestamp::now())),
        ("UUID", Cell::text(Some(account.uuid))),
    ];
    Ok(page.show())
}

async fn find(visit: &Visit<'_>, id: &str) -> Result<WithRevision<Account>, Refusal> {
    let id: AccountId = id.parse().map_err(|_| Refusal::NotFound)?;
    visit.operations().account(&visit.caller, id).await
}

const NAME_HINT: &str = "The person or service, such as alice or billing";
const DESCRIPTION_HINT: &str = "Who it is, or what it is for";

fn new_form(visit: &Visit<'_>, to: String, [name, kind, description]: [&str; 3]) -> FormPage {
    let mut page = FormPage::new(visit, Section::Accounts, "new-account", "New Account", "Create", to);
    let kinds = vec![
        ("user", "user: reaches the environments it is a member of"),
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
pub(super) fn ask_new(visit: &Visit<'_>) -> Result<Answer, Refusal> {
    visit.caller.require(&ManagementAction::ManageAccounts)?;
    Ok(new_form(visit, visit.origin(LIST), ["", AccountKind::User.as_str(), ""]).show())
}

/// `/accounts/new`, sent
pub(super) async fn create(visit: &Visit<'_>, form: &Form) -> Result<Answer, Refusal> {
    let made = async {
        let (name, description) = texts(form)?;
        let name =
            name.ok_or_else(|| Refusal::invalid("MissingRequired", "name", "an account needs a name"))?;
        let kind = form.value("kind").parse().map_err(|_| {
            Refusal::invalid("InvalidOption", "kind", "an account is of kind 'admin' or 'user'")
        })?;
        visit.operations().create_account(&visit.caller, NewAccount { name, kind, description }).await
    };
    match made.await {
        Ok(done) => {
            let account = &done.value.object;
            let text = format!("Account {} ({}) is active; it has no keys yet.", account.name, account.id);
            visit.session.flash.set_notice(notice_of(&done, &text));
            Ok(see_other(&path(account.id)))
        }
        Err(refusal) => {
            let description = form.lines("description");
            let values = [form.value("name"), form.value("kind"), &description];
            new_form(visit, origin_of(form, LIST), values).show_refused(refusal)
        }
    }
}

fn edit_form(
    visit: &Visit<'_>,
    entry: &WithRevision<Account>,
    to: String,
    [name, description]: [&str; 2],
) -> FormPage {
    let mut page = FormPage::new(visit, Section::Accounts, "edit-account", "Edit Account", "Save", to);
    page.facts = vec![("Id", entry.object.id.to_string()), ("Kind", entry.object.kind.as_str().to_owned())];
    page.hidden = vec![("revision", entry.revision.to_string())];
    page.fields =
        vec![Field::name(name, NAME_HINT).required(), Field::description(description, DESCRIPTION_HINT)];
    page
}

/// `/accounts/{id}/edit`, asked
pub(super) async fn ask_edit(visit: &Visit<'_>, id: &str) -> Result<Answer, Refusal> {
    let entry = find(visit, id).await?;
    visit.caller.require(&ManagementAction::ManageAccounts)?;
    let description = entry.object.description.as_ref().map(ToString::to_string).unwrap_or_default();
    let values = [entry.object.name.as_str(), &description];
    Ok(edit_form(visit, &entry, visit.origin(LIST), values).show())
}

/// `/accounts/{id}/edit`, sent
pub(super) async fn edit(visit: &Visit<'_>, id: &str, form: &Form) -> Result<Answer, Refusal> {
    let account = find(visit, id).await?.object.id;
    let edited = async {
        let (name, description) = texts(form)?;
        if name.is_none() {
            return Err(Refusal::invalid("MissingRequired", "name", "an account needs a name"));
        }
        let edit = Edit { name: Some(name), description: Some(description), expected: expected(form)? };
        visit.operations().edit_account(&visit.caller, account, edit).await
    };
    match edited.await {
        Ok(done) => {
            let text = format!("Account {} is saved.", done.value.object.name);
            Ok(visit.back(form, LIST, notice_of(&done, &text)))
        }
        Err(refusal) => {
            let entry = find(visit, id).await?;
            let description = form.lines("description");
            let values = [form.value("name"), &description];
            let mut page = edit_form(visit, &entry, origin_of(form, LIST), values);
            if let Refusal::PreconditionFailed { .. } = refusal {
                page.current = current(Some(&entry.object.name), entry.object.description.as_ref());
            }
            page.show_refused(refusal)
        }
    }
}

fn is_own(visit: &Visit<'_>, account: &Account) -> bool {
    visit.caller.account().is_some_and(|own| own.id == account.id)
}

fn state_form(visit: &Visit<'_>, account: &Account, state: State, to: String) -> FormPage {
    let name = &account.name;
    let (id, heading, submit, intro) = match state {
        State::Active => {
            ("activate-account", "Activate Account", "Activate", format!("Activate the account {name}?"))
        }
        State::Inactive => (
            "deactivate-account",
            "Deactivate Account",
            "Deactivate",
            format!("Deactivate the account {name}? None of its keys works then."),
        ),
        State::Removed => (
            "delete-account",
            "Delete Account",
            "Delete",
            format!(
                "Are you sure you want to delete the account {name}? Its keys and memberships go with it, and nothing \
                 brings them back."
            ),
        ),
    };
    let mut page = FormPage::new(visit, Section::Accounts, id, heading, submit, to);
    page.intro = vec![intro];
    page.is_grave = state != State::Active;
    if is_own(visit, account) && state != State::Active {
        page.intro.push("It is your own account: this ends your session at once.".to_owned());
        page.fields = vec![Field::tick("confirm", "Yes, stop the account that I am using")];
    }
    page
}

/// `/accounts/{id}/activate`, `deactivate`, `delete`: the question
pub(super) async fn ask_state(visit: &Visit<'_>, id: &str, state: State) -> Result<Answer, Refusal> {
    let account = find(visit, id).await?.object;
    visit.caller.require(&ManagementAction::ManageAccounts)?;
    Ok(state_form(visit, &account, state, visit.origin(LIST)).show())
}

/// `/accounts/{id}/activate`, `deactivate`, `delete`
pub(super) async fn set_state(
    visit: &Visit<'_>,
    id: &str,
    state: State,
    form: &Form,
) -> Result<Answer, Refusal> {
    let account = find(visit, id).await?.object;
    let name = &account.name;
    match visit.operations().set_account_state(&visit.caller, account.id, state, confirmed(form)).await {
        Ok(done) if is_own(visit, &account) => Ok(sign_in::end(visit, Why::own(&done))),
        Ok(done) if state == State::Removed => {
            visit.session.flash.set_notice(notice_of(&done, &format!("Account {name} is deleted.")));
            Ok(see_other(LIST))
        }
        Ok(done) => Ok(visit.back(form, LIST, notice_of(&done, &format!("Account {name} is {state}.")))),
        Err(refusal) if refusal.field() == Some("confirm") => {
            state_form(visit, &account, state, origin_of(form, LIST)).show_refused(refusal)
        }
        Err(refusal) => Ok(visit.back(form, LIST, problem_of(refusal)?)),
    }
}
