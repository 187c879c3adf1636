//! Who belongs to an environment.

use super::super::answer::Answer;
use super::super::refusal::Refusal;
use super::environment_picker::environment_label;
use super::environments::find;
use super::form::Form;
use super::form_page::{Field, FormPage, Input};
use super::list_view::{ListDefaults, ListView};
use super::page::Section;
use super::signed_in_request::{
    SignedInRequest, change_notice, error_notice, form_return_path, redirect, with_query,
};
use super::table::{Cell, MenuItem, Row, Table, column};
use crate::management::operations::MemberEntry;
use crate::model::{AccountId, Environment, EnvironmentId, Membership, Name, Role, State};
use crate::policy::ManagementAction;
use crate::store::{ACCOUNT_FIELDS, Filter, MEMBER_FIELDS, Modifier, PageQuery};

type RelatedList = (&'static str, Option<(&'static str, String)>, Table);

/// The members on an environment's page; `None` where they are not for the caller to see.
pub(super) async fn section(
    request: &SignedInRequest<'_>,
    environment: &Environment,
) -> Result<Option<RelatedList>, Refusal> {
    let id = &environment.id;
    if !request.caller.may(&ManagementAction::SeeMembers(id.clone())) || environment.state == State::Removed {
        return Ok(None);
    }
    let defaults = ListDefaults {
        prefix: "",
        anchor: "members",
        fields: MEMBER_FIELDS,
        sort: "projectId",
        descending: false,
    };
    let view = ListView::read(request.http, defaults);
    let page = request.operations().members(&request.caller, Some(id), view.query()?).await?;
    let may_change = request.caller.may(&ManagementAction::ChangeMembers(id.clone()));
    let here = format!("{}#members", request.url());
    let row = |entry: &MemberEntry| {
        let account = entry.membership.account;
        let asked =
            |verb: &str| with_query(&format!("{}/members/{account}/{verb}", path(id)), &[("to", &here)]);
        let menu = if may_change {
            vec![
                MenuItem::Form {
                    label: "Change role",
                    hook: "role",
                    href: asked("role"),
                    is_destructive: false,
                },
                MenuItem::Form {
                    label: "Remove",
                    hook: "remove",
                    href: asked("remove"),
                    is_destructive: true,
                },
            ]
        } else {
            Vec::new()
        };
        Row {
            id: account.to_string(),
            cells: vec![
                if request.caller.may(&ManagementAction::SeeAccount(account)) {
                    Cell::link(&entry.name, format!("/accounts/{account}"))
                } else {
                    Cell::text(Some(&entry.name))
                },
                Cell::text(Some(account)),
                Cell::tag(entry.membership.role.as_str()),
            ],
            label: entry.name.clone(),
            menu,
            below: None,
            choice: None,
        }
    };
    let columns = vec![column("Account"), column("Account id"), column("Role")];
    let empty = "Nobody is a member yet: only admins reach this environment, and its own keys.";
    let table = Table::new("members", "Members".to_owned(), columns, &page, row, empty, view);
    let add = may_change
        .then(|| ("Add member", with_query(&format!("{}/members/add", path(id)), &[("to", &here)])));
    Ok(Some(("Members", add, table.counting("member", "members").searched("Account name"))))
}

fn path(id: &EnvironmentId) -> String {
    format!("/environments/{id}")
}

fn roles() -> Vec<(&'static str, &'static str)> {
    let label = |role: Role| match role {
        Role::Owner => "owner: everything, keys and members too",
        Role::Member => "member: everything that is not for owners only",
        Role::Restricted => "restricted: as a member; your API can restrict it further",
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
async fn changeable(request: &SignedInRequest<'_>, id: &str) -> Result<Environment, Refusal> {
    let environment = find(request, id).await?.object;
    request.caller.require(&ManagementAction::ChangeMembers(environment.id.clone()))?;
    Ok(environment)
}

fn add_form(
    request: &SignedInRequest<'_>,
    environment: &Environment,
    to: String,
    account: &str,
    role: &str,
) -> FormPage {
    let mut page = FormPage::new(request, Section::Environments, "add-member", "Add member", "Add", to);
    page.intro = vec![format!(
        "A member reaches the environment {} with the keys of its own account.",
        environment_label(environment)
    )];
    let hint = if request.caller.is_admin() {
        "The id, such as 1a5, or the name"
    } else {
        "The id, such as 1a5. Account holders see their id at the top of this page"
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
pub(super) async fn show_add(request: &SignedInRequest<'_>, id: &str) -> Result<Answer, Refusal> {
    let environment = changeable(request, id).await?;
    let to = request.return_path(&path(&environment.id));
    Ok(add_form(request, &environment, to, "", Role::Member.as_str()).show())
}

/// `/environments/{id}/members/add`, sent
pub(super) async fn add(request: &SignedInRequest<'_>, id: &str, form: &Form) -> Result<Answer, Refusal> {
    let environment = changeable(request, id).await?;
    let usual = path(&environment.id);
    let added = async {
        let account = account(request, form.value("externalId").trim()).await?;
        let membership = Membership { account, environment: environment.id.clone(), role: read_role(form)? };
        request.operations().add_member(&request.caller, membership).await
    };
    match added.await {
        Ok(done) => {
            let text = format!("{} is now {}.", done.value.name, done.value.membership.role);
            Ok(request.redirect_back(form, &usual, change_notice(&done, &text)))
        }
        Err(refusal) => {
            let (account, role) = (form.value("externalId"), form.value("role"));
            add_form(request, &environment, form_return_path(form, &usual), account, role)
                .show_refused(refusal)
        }
    }
}

/// The account with this id or, for those who may see accounts, this name.
async fn account(request: &SignedInRequest<'_>, wanted: &str) -> Result<AccountId, Refusal> {
    let invalid = |detail: &str| Refusal::invalid("InvalidReference", "externalId", detail);
    if let Ok(id) = wanted.parse() {
        return Ok(id);
    }
    if !request.caller.is_admin() {
        return Err(invalid("an account id is '1a' and a number, such as 1a5"));
    }
    let field = ACCOUNT_FIELDS.iter().find(|field| field.name == "name");
    let comparison =
        field.and_then(|field| Some((field, field.parse_comparison(Modifier::Eq, wanted).ok()?)));
    let filters = comparison.map(|(field, comparison)| Filter { field, comparison }).into_iter().collect();
    let query = PageQuery { filters, limit: 2, ..PageQuery::default() };
    match request.operations().accounts(&request.caller, query).await?.items.as_slice() {
        [only] => Ok(only.object.id),
        [] => Err(invalid("there is no account with this id or name")),
        _ => Err(invalid("several accounts have this name: use the id")),
    }
}

/// A member of an environment whose members the caller may change.
async fn find_member(
    request: &SignedInRequest<'_>,
    id: &str,
    account: &str,
) -> Result<(Environment, MemberEntry), Refusal> {
    let environment = changeable(request, id).await?;
    let account: AccountId = account.parse().map_err(|_| Refusal::NotFound)?;
    let member = request.operations().member(&request.caller, &environment.id, account).await?;
    Ok((environment, member))
}

fn role_form(
    request: &SignedInRequest<'_>,
    environment: &Environment,
    member: &MemberEntry,
    to: String,
    role: &str,
) -> FormPage {
    let mut page = FormPage::new(request, Section::Environments, "change-role", "Change role", "Save", to);
    page.intro = vec![format!("{} in the environment {}.", member.name, environment_label(environment))];
    page.fields = vec![Field { is_first: true, ..role_field(role) }];
    page
}

/// `/environments/{id}/members/{account}/role`, asked
pub(super) async fn show_role(
    request: &SignedInRequest<'_>,
    id: &str,
    account: &str,
) -> Result<Answer, Refusal> {
    let (environment, member) = find_member(request, id, account).await?;
    let to = request.return_path(&path(&environment.id));
    Ok(role_form(request, &environment, &member, to, member.membership.role.as_str()).show())
}

/// `/environments/{id}/members/{account}/role`, sent
pub(super) async fn set_role(
    request: &SignedInRequest<'_>,
    id: &str,
    account: &str,
    form: &Form,
) -> Result<Answer, Refusal> {
    let (environment, member) = find_member(request, id, account).await?;
    let usual = path(&environment.id);
    let changed = async {
        let membership = Membership { role: read_role(form)?, ..member.membership.clone() };
        request.operations().set_role(&request.caller, membership).await
    };
    match changed.await {
        Ok(done) => {
            let text = format!("{} is now {}.", done.value.name, done.value.membership.role);
            Ok(request.redirect_back(form, &usual, change_notice(&done, &text)))
        }
        Err(refusal) => {
            let to = form_return_path(form, &usual);
            role_form(request, &environment, &member, to, form.value("role")).show_refused(refusal)
        }
    }
}

/// `/environments/{id}/members/{account}/remove`: the question
pub(super) async fn confirm_remove(
    request: &SignedInRequest<'_>,
    id: &str,
    account: &str,
) -> Result<Answer, Refusal> {
    let (environment, member) = find_member(request, id, account).await?;
    let to = request.return_path(&path(&environment.id));
    let mut page =
        FormPage::new(request, Section::Environments, "remove-member", "Remove member", "Remove", to);
    page.intro = vec![format!(
        "Remove {} from the environment {}? The keys of that account no longer reach it.",
        member.name,
        environment_label(&environment)
    )];
    page.is_destructive = true;
    Ok(page.show())
}

/// `/environments/{id}/members/{account}/remove`
pub(super) async fn remove(
    request: &SignedInRequest<'_>,
    id: &str,
    account: &str,
    form: &Form,
) -> Result<Answer, Refusal> {
    let (environment, member) = find_member(request, id, account).await?;
    let usual = path(&environment.id);
    let account = member.membership.account;
    match request.operations().remove_member(&request.caller, &environment.id, account).await {
        Ok(done) => {
            let notice = change_notice(&done, &format!("{} is no longer a member.", member.name));
            let is_own = request.caller.account().is_some_and(|own| own.id == account);
            if is_own && !request.caller.is_admin() {
                // the environment is not to be seen any more
                request.session.flash.set_notice(notice);
                return Ok(redirect("/environments"));
            }
            Ok(request.redirect_back(form, &usual, notice))
        }
        Err(refusal) => Ok(request.redirect_back(form, &usual, error_notice(refusal)?)),
    }
}
