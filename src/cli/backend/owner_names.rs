//! What the owners of keys are called.

use std::collections::HashMap;
use std::ops::ControlFlow;

use super::{Backend, accounts, api, environments};
use crate::cli::remote::{Client, resources};
use crate::cli::results::ListPart;
use crate::model::{KeyOwner, Name};
use crate::store::{KeyEntry, ObjectId, Store, StoreError};

/// The names of those that have one.
pub(super) type OwnerNames = HashMap<ObjectId, String>;

impl Backend {
    /// What an owner of keys is called. Where that cannot be learnt, its id is enough.
    pub(in crate::cli) fn owner_name(&mut self, owner: &KeyOwner) -> Option<String> {
        match self {
            Self::Store(local_store) => in_store(&local_store.store, [owner]).ok()?.remove(&owner.into()),
            Self::Api(client) => ask_for_one(client, owner),
        }
    }
}

/// Fills in the names of a part of a list of the store's.
pub(super) fn fill_in_from_store(store: &Store, part: &mut ListPart<KeyEntry>) -> Result<(), StoreError> {
    let names = in_store(store, part.items.iter().map(|fetched| &fetched.object.key.owner))?;
    fill_in(&names, part);
    Ok(())
}

/// Fills in names.
pub(super) fn fill_in(names: &OwnerNames, part: &mut ListPart<KeyEntry>) {
    for key in &mut part.items {
        key.owner_name = names.get(&(&key.object.key.owner).into()).cloned();
    }
}

fn in_store<'a>(
    store: &Store,
    owners: impl IntoIterator<Item = &'a KeyOwner>,
) -> Result<OwnerNames, StoreError> {
    let owners: Vec<_> = owners.into_iter().map(ObjectId::from).collect();
    let names = store.names(&owners)?;
    Ok(names.into_iter().map(|(id, found)| (id, found.name)).collect())
}

/// Asks the API for the names of the owners in a list of keys: of its only owner, or of all owners, a thousand at a time,
/// so that a list of many keys does not send a request for each.
pub(super) fn ask(client: &mut Client, only: Option<&KeyOwner>) -> anyhow::Result<OwnerNames> {
    if let Some(owner) = only {
        return Ok(ask_for_one(client, owner).map(|name| (owner.into(), name)).into_iter().collect());
    }
    let mut names = OwnerNames::new();
    api::sent_parts(client, accounts::PATH, resources::account, &mut |part| {
        let accounts = part.items.into_iter().map(|fetched| fetched.object);
        names.extend(accounts.map(|account| (ObjectId::Account(account.id), account.name.to_string())));
        Ok(ControlFlow::Continue(()))
    })?;
    api::sent_parts(client, environments::PATH, resources::environment, &mut |part| {
        for environment in part.items.into_iter().map(|fetched| fetched.object) {
            names.extend(
                environment.name.map(|name| (ObjectId::Environment(environment.id), name.to_string())),
            );
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(names)
}

fn ask_for_one(client: &mut Client, owner: &KeyOwner) -> Option<String> {
    let path = match owner {
        KeyOwner::Account(id) => accounts::path(*id),
        KeyOwner::Environment(id) => environments::path(id),
    };
    let document = client.find(&path).ok()??.document;
    let name: Option<Name> = match owner {
        KeyOwner::Account(_) => Some(resources::account(&document).ok()?.name),
        KeyOwner::Environment(_) => resources::environment(&document).ok()?.name,
    };
    name.map(|name| name.to_string())
}
