//! How a key is shown: its label, its menu, its last use, and where it is listed.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;

use super::super::refusal::Refusal;
use super::relative_time::RelativeTime;
use super::signed_in_request::{SignedInRequest, with_query};
use super::table::{Cell, MenuItem};
use crate::model::{ApiKey, KeyId, KeyOwner, State};
use crate::store::{KeyEntry, KeyUsage, ObjectId};

/// What a key is called: its name, else its access key.
pub(super) fn key_label(key: &ApiKey) -> &str {
    key.name.as_ref().map_or(key.access_key.as_str(), |name| name.as_str())
}

/// What the owners of these keys are called, as far as the caller may see it.
pub(super) async fn owner_names(
    request: &SignedInRequest<'_>,
    entries: &[KeyEntry],
) -> Result<HashMap<ObjectId, String>, Refusal> {
    let owners = entries.iter().map(|entry| ObjectId::from(&entry.key.owner)).collect();
    request.operations().names(&request.caller, owners).await
}

/// Whose key it is, by name and id.
pub(super) fn owner_cell(owner: &KeyOwner, names: &HashMap<ObjectId, String>) -> Cell {
    let (kind, href) = match owner {
        KeyOwner::Account(id) => ("Account", format!("/accounts/{id}")),
        KeyOwner::Environment(id) => ("Environment", format!("/environments/{id}")),
    };
    let id = owner.to_string();
    let text = match names.get(&owner.into()) {
        Some(name) if *name != id => format!("{kind} {name} ({id})"),
        _ => format!("{kind} {id}"),
    };
    Cell::Link { text, href }
}

/// When a key ends by itself. `notice` is how long before that this is soon.
pub(super) fn expires(key: &ApiKey, now: Timestamp, notice: Option<Duration>) -> Cell {
    let soon = notice.and_then(|notice| now.checked_add(notice).ok());
    Cell::Expires {
        at: key.expires.map(|at| RelativeTime { at, now }),
        is_soon: key.expires.zip(soon).is_some_and(|(expires, soon)| expires <= soon),
    }
}

/// When and from where a key was used.
pub(super) fn last_use(entry: &KeyEntry, now: Timestamp) -> Cell {
    used(&entry.usage, now)
}

/// When and from where a key or one of its secrets was used.
pub(super) fn used(usage: &KeyUsage, now: Timestamp) -> Cell {
    Cell::LastUse {
        last: usage.at.map(|at| RelativeTime { at, now }),
        address: usage.address.map(|address| address.to_string()),
    }
}

/// What can be done with a key; `here` is the page to come back to.
pub(super) fn key_menu(key: &ApiKey, here: &str, may_change: bool, now: Timestamp) -> Vec<MenuItem> {
    let asked = |verb: &str| with_query(&format!("/keys/{}/{verb}", key.id), &[("to", here)]);
    let mut items = Vec::new();
    if may_change {
        match key.state {
            State::Active => {
                let href = asked("deactivate");
                items.push(MenuItem::Form {
                    label: "Deactivate",
                    hook: "deactivate",
                    href,
                    is_destructive: true,
                });
            }
            State::Inactive => {
                let href = asked("activate");
                items.push(MenuItem::Form {
                    label: "Activate",
                    hook: "activate",
                    href,
                    is_destructive: false,
                });
                let href = asked("delete");
                items.push(MenuItem::Form { label: "Delete", hook: "delete", href, is_destructive: true });
            }
            State::Removed => {}
        }
        if key.state != State::Removed {
            items.push(MenuItem::Form {
                label: "Rotate secret",
                hook: "rotate",
                href: asked("rotate"),
                is_destructive: false,
            });
            if key.former_at(now).is_some() {
                items.push(MenuItem::Form {
                    label: "End former secret",
                    hook: "end-rotation",
                    href: asked("end-rotation"),
                    is_destructive: true,
                });
            }
            items.push(MenuItem::Form {
                label: "Edit",
                hook: "edit",
                href: asked("edit"),
                is_destructive: false,
            });
        }
    }
    let href = format!("/v2-beta/apikeys/{}", key.id);
    items.push(MenuItem::NewTab { label: "View in API", hook: "api", href });
    items
}

/// The key with this id, if the caller may see it; a removed one too.
pub(super) async fn find_key(request: &SignedInRequest<'_>, id: &str) -> Result<KeyEntry, Refusal> {
    let id: KeyId = id.parse().map_err(|_| Refusal::NotFound)?;
    request.operations().key(&request.caller, id).await
}

/// The page on which a key stands.
pub(super) fn key_list_path(request: &SignedInRequest<'_>, owner: &KeyOwner) -> String {
    match owner {
        KeyOwner::Account(id) if request.caller.account().is_some_and(|own| own.id == *id) => {
            "/keys".to_owned()
        }
        KeyOwner::Account(id) => with_query("/keys", &[("account", &id.to_string())]),
        KeyOwner::Environment(id) => {
            format!("{}#environment-keys", with_query("/keys", &[("environment", id.as_str())]))
        }
    }
}
