//! The page of one key.

use percent_encoding::percent_decode_str;

use super::super::answer::Answer;
use super::super::refusal::Refusal;
use super::audit::{history_link, of_key};
use super::detail_page::DetailPage;
use super::key_display::{
    expires, find_key, key_label, key_list_path, key_menu, last_use, owner_cell, owner_names, used,
};
use super::page::Section;
use super::relative_time::full;
use super::scope_fields;
use super::signed_in_request::{SignedInRequest, redirect};
use super::table::Cell;
use crate::config::lifetime_text;
use crate::model::KeyOwner;
use crate::policy::ManagementAction;

/// `/keys/{id}`; an access key in place of the id leads there
pub(super) async fn show(request: &SignedInRequest<'_>, id: &str) -> Result<Answer, Refusal> {
    let entry = match find_key(request, id).await {
        Err(Refusal::NotFound) => {
            let access_key = percent_decode_str(id).decode_utf8().map_err(|_| Refusal::NotFound)?;
            let access_key = access_key.parse().map_err(|_| Refusal::NotFound)?;
            let entry = request.operations().key_with_access_key(&request.caller, access_key).await?;
            return Ok(redirect(&format!("/keys/{}", entry.key.id)));
        }
        found => found?,
    };
    let confirmed_up_to = request.operations().confirmed_up_to().await;
    let now = request.operations().now();
    let last_use = last_use(&entry, now);
    let state = Cell::key_state(&entry, now, confirmed_up_to);
    let notice = request.operations().lifetimes().longest_notice();
    let names = owner_names(request, std::slice::from_ref(&entry)).await?;
    let (secret_usage, former_usage) = (entry.secret_usage, entry.former_usage);
    let (key_former, secret_since) = (entry.key.former_at(now), entry.key.secret_since);
    let key = entry.key;
    let expires = expires(&key, now, notice);
    let may_do = scope_fields::in_words(&key);
    let may_change = request.caller.may(&ManagementAction::ChangeKeys(key.owner.clone()));
    let owner = owner_cell(&key.owner, &names);
    let (id, access_key) = (key.id.to_string(), key.access_key.to_string());
    let is_account_key = matches!(key.owner, KeyOwner::Account(_));
    let mut page = DetailPage::new(request, Section::Keys, format!("API key {}", key_label(&key)));
    page.up = (key_list_path(request, &key.owner), "API keys");
    page.menu = key_menu(&key, &page.here, may_change, now);
    page.facts = vec![
        ("State", state),
        ("Belongs to", owner),
        ("Access key (user name)", Cell::Code(key.access_key.to_string())),
        ("Name", Cell::text(key.name)),
        ("Description", Cell::text(key.description)),
        ("Expires", expires),
        ("May do", Cell::text(Some(may_do))),
        ("Created", Cell::time_in_full(key.created, now)),
        ("Last used", last_use),
        ("Requests", Cell::number(entry.usage.uses)),
        ("Id", Cell::text(Some(key.id))),
        ("UUID", Cell::text(Some(key.uuid))),
    ];
    if let Some(former) = key_former {
        let works = match former.until_unused {
            None => format!("Until {}", full(former.ends)),
            Some(idle) => {
                format!(
                    "Until it is unused for {}, at the latest until {}",
                    lifetime_text(idle),
                    full(former.ends)
                )
            }
        };
        page.facts.extend([
            ("New secret since", Cell::time_in_full(secret_since, now)),
            ("New secret last used", used(&secret_usage, now)),
            ("New secret: requests", Cell::number(secret_usage.uses)),
            ("Former secret works", Cell::text(Some(works))),
            ("Former secret last used", used(&former_usage, now)),
            ("Former secret: requests", Cell::number(former_usage.uses)),
        ]);
    }
    if let Some(history) = history_link(request, "key", &id) {
        page.links.push(("History of this key", history));
        if is_account_key {
            page.links.push(("Changes made with this key", of_key(&access_key)));
        }
    }
    Ok(page.show())
}
