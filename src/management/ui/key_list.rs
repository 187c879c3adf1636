//! The lists of keys: those of an account, and those of an environment.

use askama::Template;
use askama::filters::HtmlSafe;
use http::StatusCode;

use super::super::answer::Answer;
use super::super::refusal::Refusal;
use super::endpoints::Endpoints;
use super::environment_picker::{EnvironmentPicker, environment_label};
use super::key_display::{expires, key_label, key_menu, last_use};
use super::list_view::{ListDefaults, ListView};
use super::page::{Layout, Section, render};
use super::relative_time::ago;
use super::signed_in_request::{SignedInRequest, with_query};
use super::table::{Cell, MenuItem, Row, Table, sortable_column};
use crate::config::lifetime_text;
use crate::model::{AccountId, KeyOwner, State};
use crate::policy::ManagementAction;
use crate::store::{KEY_FIELDS, KeyEntry, PageQuery, Total};

#[derive(Template)]
#[template(path = "keys.html")]
struct KeysPage {
    layout: Layout,
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
    picker: Option<EnvironmentPicker>,
    endpoints: Endpoints,
    /// Where a key is added; `None`: not for the caller.
    add: Option<(&'static str, String)>,
    /// That keys end soon.
    warning: Option<String>,
    /// `None`: nothing to list, as the text says.
    table: Option<Table>,
}

impl HtmlSafe for KeySection {}

/// `/keys`: the keys of the caller's account and of an environment, or, with `account`, those of another account.
pub(super) async fn list(request: &SignedInRequest<'_>) -> Result<Answer, Refusal> {
    let sections = if let Some(id) = request.parameter("account") {
        let id: AccountId = id.parse().map_err(|_| Refusal::NotFound)?;
        vec![account_section(request, id).await?]
    } else {
        let Some(own) = request.caller.account().map(|account| account.id) else {
            return Err(Refusal::NotFound);
        };
        vec![account_section(request, own).await?, environment_section(request).await?]
    };
    let layout = request.layout("API keys", Section::Keys);
    Ok(render(StatusCode::OK, &KeysPage { layout, sections }))
}

async fn account_section(request: &SignedInRequest<'_>, id: AccountId) -> Result<KeySection, Refusal> {
    let account = request.operations().account(&request.caller, id).await?.object;
    let is_own = request.caller.account().is_some_and(|own| own.id == id);
    let owner = KeyOwner::Account(id);
    let intro = if is_own {
        format!(
            "You are signed in as {}. Keys of your account reach everything that your account may reach.",
            account.name
        )
    } else {
        format!(
            "Keys of the account {} ({id}). They reach everything that the account may reach.",
            account.name
        )
    };
    let defaults = ListDefaults {
        prefix: "account-",
        anchor: "account-keys",
        fields: KEY_FIELDS,
        sort: "name",
        descending: false,
    };
    Ok(KeySection {
        id: "account-keys",
        heading: if is_own { "Account API keys".to_owned() } else { format!("API keys of {}", account.name) },
        intro,
        picker: None,
        endpoints: Endpoints::of(request, &owner).await?,
        add: add_link(request, &owner, "Add account API key"),
        warning: expiry_warning(request, &owner).await?,
        table: Some(table(request, &owner, defaults, "This account has no API keys yet.").await?),
    })
}

async fn environment_section(request: &SignedInRequest<'_>) -> Result<KeySection, Refusal> {
    let picker = EnvironmentPicker::read(request).await?;
    let mut section = KeySection {
        id: "environment-keys",
        heading: "Environment API keys".to_owned(),
        intro:
            "You are not a member of any environment. An owner of an environment, or an admin, can add you."
                .to_owned(),
        picker: None,
        endpoints: Endpoints::default(),
        add: None,
        warning: None,
        table: None,
    };
    if let Some(chosen) = picker.chosen() {
        let owner = KeyOwner::Environment(chosen.id.clone());
        let name = environment_label(chosen);
        if request.caller.may(&ManagementAction::SeeKeys(owner.clone())) {
            section.intro = format!(
                "Keys of the environment {name} reach nothing outside it. Its members can see these keys, and its \
                 owners can manage them."
            );
            section.endpoints = Endpoints::of(request, &owner).await?;
            section.add = add_link(request, &owner, "Add environment API key");
            section.warning = expiry_warning(request, &owner).await?;
            let defaults = ListDefaults {
                prefix: "environment-",
                anchor: "environment-keys",
                fields: KEY_FIELDS,
                sort: "name",
                descending: false,
            };
            let empty = "This environment has no API keys yet.";
            section.table = Some(table(request, &owner, defaults, empty).await?);
        } else {
            section.intro =
                format!("Your role in the environment {name} is readonly, so you cannot see its keys.");
        }
    } else if picker.is_filtered() {
        "No environment matches this search.".clone_into(&mut section.intro);
    } else if request.caller.is_admin() {
        "There are no environments yet.".clone_into(&mut section.intro);
    }
    section.picker = Some(picker).filter(EnvironmentPicker::has_choice);
    Ok(section)
}

/// That keys of an owner end within the time of the longest notice: which first, and when.
async fn expiry_warning(request: &SignedInRequest<'_>, owner: &KeyOwner) -> Result<Option<String>, Refusal> {
    let Some(notice) = request.operations().lifetimes().longest_notice() else { return Ok(None) };
    let now = request.operations().now();
    let query = PageQuery { limit: 1, is_counted: true, ..PageQuery::keys_that_end_within(now, notice) };
    let page = request.operations().keys(&request.caller, Some(owner.clone()), query).await?;
    let Some((first, expires)) = page.items.first().and_then(|first| first.key.expires.map(|at| (first, at)))
    else {
        return Ok(None);
    };
    let when = ago(expires, now);
    let name = key_label(&first.key);
    let (notice, others) =
        (lifetime_text(notice), page.total.map_or(page.next.is_some(), |total| total != Total::Exactly(1)));
    Ok(Some(if others {
        format!(
            "Several keys end within {notice}, the first, “{name}”, {when}. Edit them to let them live longer."
        )
    } else {
        format!("The key “{name}” ends {when}. Edit it to let it live longer.")
    }))
}

fn add_link(
    request: &SignedInRequest<'_>,
    owner: &KeyOwner,
    label: &'static str,
) -> Option<(&'static str, String)> {
    if !request.caller.may(&ManagementAction::ChangeKeys(owner.clone())) {
        return None;
    }
    let here = request.url();
    let href = match owner {
        KeyOwner::Account(id) => with_query("/keys/new", &[("account", &id.to_string()), ("to", &here)]),
        KeyOwner::Environment(id) => with_query("/keys/new", &[("environment", id.as_str()), ("to", &here)]),
    };
    Some((label, href))
}

async fn table(
    request: &SignedInRequest<'_>,
    owner: &KeyOwner,
    defaults: ListDefaults,
    empty: &'static str,
) -> Result<Table, Refusal> {
    let (id, now) = (defaults.anchor, request.operations().now());
    let notice = request.operations().lifetimes().longest_notice();
    let view = ListView::read(request.http, defaults);
    let page = request.operations().keys(&request.caller, Some(owner.clone()), view.query()?).await?;
    let confirmed_up_to = request.operations().confirmed_up_to().await;
    let may_change = request.caller.may(&ManagementAction::ChangeKeys(owner.clone()));
    let columns = vec![
        sortable_column("State", "state"),
        sortable_column("Name", "name"),
        sortable_column("Description", "description"),
        sortable_column("Access key", "publicValue"),
        sortable_column("Expires", "expires"),
        sortable_column("Created", "created"),
        sortable_column("Last used", "lastUsed"),
        sortable_column("Requests", "useCount"),
    ];
    let here = format!("{}#{id}", request.url());
    let row = |entry: &KeyEntry| {
        let key = &entry.key;
        Row {
            id: key.id.to_string(),
            cells: vec![
                Cell::key_state(entry, now, confirmed_up_to),
                match &key.name {
                    Some(name) => Cell::link(name, format!("/keys/{}", key.id)),
                    None => Cell::Text(None),
                },
                Cell::text(key.description.as_ref()),
                Cell::Code(key.access_key.to_string()),
                expires(key, now, notice),
                Cell::time(key.created, now),
                last_use(entry, now),
                Cell::number(entry.usage.uses),
            ],
            label: key_label(key).to_owned(),
            menu: std::iter::once(MenuItem::Page {
                label: "Details",
                hook: "details",
                href: format!("/keys/{}", key.id),
            })
            .chain(key_menu(key, &here, may_change, now))
            .collect(),
            below: None,
            choice: (may_change && key.state == State::Active).then(|| key.id.to_string()),
        }
    };
    let caption = match owner {
        KeyOwner::Account(_) => "Account API keys",
        KeyOwner::Environment(_) => "Environment API keys",
    };
    let table = Table::new(id, caption.to_owned(), columns, &page, row, empty, view);
    Ok(table
        .counting("key", "keys")
        .with_bulk_action("Deactivate selected", "/keys/deactivate", here)
        .searched("Name, description or access key"))
}
