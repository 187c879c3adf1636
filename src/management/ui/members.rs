//! Who belongs to an environment.

use super::super::answer::Answer;
use super::super::refusal::Refusal;
use super::chooser::present;
use super::environments::find;
use super::form::Form;
use super::form_page::{Field, FormPage, Input};
use super::page::Section;
use super::table::{Cell, Item, Row, Table, plain};
use super::view::{Usual, View};
use super::visit::{Visit, notice_of, origin_of, problem_of, see_other, with};
use crate::management::operations::MemberEntry;
use crate::model::{AccountId, Environment, EnvironmentId, Membership, Name, Role, State};
use crate::policy::ManagementAction;
use crate::store::{ACCOUNT_FIELDS, Filter, MEMBER_FIELDS, Modifier, PageQuery};

type Listed = (&'static str, Option<(&'static str, String)>, Table);

/// The members on an environment's page; `None` where they are not for the caller to see.
pub(super) async fn section(visit: &Visit<'_>, environment: &Environment) -> Result<Option<Listed>, Refusal> {
    let id = &environment.id;
    if !visit.caller.may(&ManagementAction::SeeMembers(id.clone())) || environment.state == State::Removed {
        return Ok(None);
    }
    let usual =
        Usual { prefix: "", anchor: "members", fields: MEMBER_FIELDS, sort: "projectId", descending: false };
    let view = View::read(visit.request, usual);
    let page = visit.operations().members(&visit.caller, Some(id), view.query()?).await?;
    let may_change = visit.caller.may(&ManagementAction::ChangeMembers(id.clone()));
    let here = format!("{}#members", visit.here());
    let row = |entry: &MemberEntry| {
        let account = entry.membership.account;
        let asked = |verb: &str| with(&format!("{}/members/{account}/{verb}", path(id)), &[("to", &here)]);
        let menu = if may_change {
            vec![
                Item::Ask { label: "Change role", hook: "role", href: asked("role"), is_grave: false },
                Item::Ask { label: "Remove", hook: "remove", href: asked("remove"), is_grave: true },
            ]
        } else {
            Vec::new()
        };
        Row {
            id: account.to_string(),
            cells: vec![
                if visit.caller.may(&ManagementAction::SeeAccount(account)) {
                    Cell::link(&entry.name, format!("/accounts/{account}"))
                } else {
                    Cell::text(Some(&entry.name))
                },
                Cell::text(Some(account)),
                Cell::tag(entry.membership.role.as_str()),
            ],
            label: entry.name.clone(),
            menu,
        }
    };
    let columns = vec![plain("Account"), plain("Account id"), plain("Role")];
    let empty = "Nobody is a member yet: only admins reach this environment, and its own keys.";
    let table = Table::new("members", "Members".to_owned(), columns, &page, row, empty, view);
    let add =
        may_change.then(|| ("Add Member", with(&format!("{}/members/add", path(id)), &[("to", &here)])));
    Ok(Some(("Members", add, table.searched("Account name"))))
}

fn path(id: &EnvironmentId) -> String {
    format!("/environments/{id}")
}

fn roles() -> Vec<(&'static str, &'static str)> {
    let label = |role: Role| match role {
        Role::Owner => "owner: everything, keys and members too",
        Role::Member => "member: everything but what only owners may",
        Role::Restricted => "restricted: as a member, as far as the API behind the gateway lets it",
        Role::Readonly => "readonly: reading only",
    };
    Role::ALL.into_iter().map(|role| (role.as_str(), label(role))).collect()
}

fn role_field(value: &str) -> Field {
    Field::choice("role", "Role", roles(), value)
}

fn read_role(form: &Form) -> Result<Role, Refusal> {
    form.value("role").parse().map_err(|error: crate::model::UnknownRole| {
        Refusal::invalid("InvalidOption", "role", error.to_string())
    })
}

/// An environment whose members the caller may change.
async fn changeable(visit: &Visit<'_>, id: &str) -> Result<Environment, Refusal> {
    let environment = find(visit, id).await?.object;
    visit.caller.require(&ManagementAction::ChangeMembers(environment.id.clone()))?;
    Ok(environment)
}

fn add_form(visit: &Visit<'_>, environment: &Environment, to: String, account: &str, role: &str) -> FormPage {
    let mut page = FormPage::new(visit, Section::Environments, "add-member", "Add Member", "Add", to);
    page.intro =
        vec![format!("An account that reaches the environment {} with its own keys.", present(environment))];
    let hint = if visit.caller.is_admin() {
        "Its id, such as 1a5, or its name"
    } else {
        "Its id, such as 1a5: its holder finds it at the top of this page"
    };
    page.fields = vec![
        Field {
            name: "externalId",
            label: "Account",
            input: Input::Line { longest: Name::MAX_CHARACTERS },
            ..Field::name(account, hint).required()
        },
        role_field(role),
    ];
    page
}

/// `/environments/{id}/members/add`, asked
pub(super) async fn ask_add(visit: &Visit<'_>, id: &str) -> Result<Answer, Refusal> {
    let environment = changeable(visit, id).await?;
    let to = visit.origin(&path(&environment.id));
    Ok(add_form(visit, &environment, to, "", Role::Member.as_str()).show())
}

/// `/environments/{id}/members/add`, sent
pub(super) async fn add(visit: &Visit<'_>, id: &str, form: &Form) -> Result<Answer, Refusal> {
    let environment = changeable(visit, id).await?;
    let usual = path(&environment.id);
    let added = async {
        let account = account(visit, form.value("externalId").trim()).await?;
        let membership = Membership { account, environment: environment.id.clone(), role: read_role(form)? };
        visit.operations().add_member(&visit.caller, membership).await
    };
    match added.await {
        Ok(done) => {
            let text = format!("{} is {} now.", done.value.name, done.value.membership.role);
            Ok(visit.back(form, &usual, notice_of(&done, &text)))
        }
        Err(refusal) => {
            let (account, role) = (form.value("externalId"), form.value("role"));
            add_form(visit, &environment, origin_of(form, &usual), account, role).show_refused(refusal)
        }
    }
}

/// The account with this id or, for those who may see accounts, this name.
async fn account(visit: &Visit<'_>, wanted: &str) -> Result<AccountId, Refusal> {
    let invalid = |detail: &str| Refusal::invalid("InvalidReference", "externalId", detail);
    if let Ok(id) = wanted.parse() {
        return Ok(id);
    }
    if !visit.caller.is_admin() {
        return Err(invalid("an account's id is 1a and a number"));
    }
    let field = ACCOUNT_FIELDS.iter().find(|field| field.name == "name");
    let test = field.and_then(|field| Some((field, field.test(Modifier::Eq, wanted).ok()?)));
    let filters = test.map(|(field, test)| Filter { field, test }).into_iter().collect();
    let query = PageQuery { filters, limit: 2, ..PageQuery::default() };
    match visit.operations().accounts(&visit.caller, query).await?.items.as_slice() {
        [only] => Ok(only.object.id),
        [] => Err(invalid("there is no account with this id or name")),
        _ => Err(invalid("several accounts have this name: use the id")),
    }
}

/// A member of an environment whose members the caller may change.
async fn find_member(
    visit: &Visit<'_>,
    id: &str,
    account: &str,
) -> Result<(Environment, MemberEntry), Refusal> {
    let environment = changeable(visit, id).await?;
    let account: AccountId = account.parse().map_err(|_| Refusal::NotFound)?;
    let member = visit.operations().member(&visit.caller, &environment.id, account).await?;
    Ok((environment, member))
}

fn role_form(
    visit: &Visit<'_>,
    environment: &Environment,
    member: &MemberEntry,
    to: String,
    role: &str,
) -> FormPage {
    let mut page = FormPage::new(visit, Section::Environments, "change-role", "Change Role", "Save", to);
    page.intro = vec![format!("{} in the environment {}.", member.name, present(environment))];
    page.fields = vec![Field { is_first: true, ..role_field(role) }];
    page
}

/// `/environments/{id}/members/{account}/role`, asked
pub(super) async fn ask_role(visit: &Visit<'_>, id: &str, account: &str) -> Result<Answer, Refusal> {
    let (environment, member) = find_member(visit, id, account).await?;
    let to = visit.origin(&path(&environment.id));
    Ok(role_form(visit, &environment, &member, to, member.membership.role.as_str()).show())
}

/// `/environments/{id}/members/{account}/role`, sent
pub(super) async fn set_role(
    visit: &Visit<'_>,
    id: &str,
    account: &str,
    form: &Form,
) -> Result<Answer, Refusal> {
    let (environment, member) = find_member(visit, id, account).await?;
    let usual = path(&environment.id);
    let changed = async {
        let membership = Membership { role: read_role(form)?, ..member.membership.clone() };
        visit.operations().set_role(&visit.caller, membership).await
    };
    match changed.await {
        Ok(done) => {
            let text = format!("{} is {} now.", done.value.name, done.value.membership.role);
            Ok(visit.back(form, &usual, notice_of(&done, &text)))
        }
        Err(refusal) => {
            let to = origin_of(form, &usual);
            role_form(visit, &environment, &member, to, form.value("role")).show_refused(refusal)
        }
    }
}

/// `/environments/{id}/members/{account}/remove`: the question
pub(super) async fn ask_remove(visit: &Visit<'_>, id: &str, account: &str) -> Result<Answer, Refusal> {
    let (environment, member) = find_member(visit, id, account).await?;
    let to = visit.origin(&path(&environment.id));
    let mut page =
        FormPage::new(visit, Section::Environments, "remove-member", "Remove Member", "Remove", to);
    page.intro = vec![format!(
        "Remove {} from the environment {}? Keys of that account do not reach it any more then.",
        member.name,
        present(&environment)
    )];
    page.is_grave = true;
    Ok(page.show())
}

/// `/environments/{id}/members/{account}/remove`
pub(super) async fn remove(
    visit: &Visit<'_>,
    id: &str,
    account: &str,
    form: &Form,
) -> Result<Answer, Refusal> {
    let (environment, member) = find_member(visit, id, account).await?;
    let usual = path(&environment.id);
    let account = member.membership.account;
    match visit.operations().remove_member(&visit.caller, &environment.id, account).await {
        Ok(done) => {
            let notice = notice_of(&done, &format!("{} is not a member any more.", member.name));
            let is_own = visit.caller.account().is_some_and(|own| own.id == account);
            if is_own && !visit.caller.is_admin() {
                // the environment is not to be seen any more
                visit.session.flash.set_notice(notice);
                return Ok(see_other("/environments"));
            }
            Ok(visit.back(form, &usual, notice))
        }
        Err(refusal) => Ok(visit.back(form, &usual, problem_of(refusal)?)),
    }
}
