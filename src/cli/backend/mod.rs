//! What the commands that manage keys work on: the store that the configuration names, or a running gateway's API.
//! Both give the same types, so that what is printed is the same.

mod accounts;
mod api;
mod environments;
mod keys;
mod namesakes;
mod owner_names;

pub(super) use keys::{ImportedPair, NewKey};

use std::ops::ControlFlow;
use std::path::Path;

use super::local_store::LocalStore;
use super::output::eprint_line;
use super::remote::{Client, Remote};
use super::results::{Changed, Fetched, ListPart};
use crate::management::resource_json;
use crate::store::{Marker, Page, PageQuery, Receipt, StoreError};

/// Rows on a page: what a list holds in memory at once.
const PAGE_ROWS: usize = 1_000;

/// The one or the other.
pub(super) enum Backend {
    Store(Box<LocalStore>),
    Api(Box<Client>),
}

impl Backend {
    /// The gateway that the options name, or else the store that the configuration names.
    pub(super) fn open(remote: &Remote, config: &Path) -> anyhow::Result<Self> {
        Ok(match remote.client()? {
            Some(client) => Self::Api(Box::new(client)),
            None => Self::Store(Box::new(LocalStore::open(config)?)),
        })
    }

    /// Waits until the gateways of the store have confirmed a change, or were given the time to. A gateway that was
    /// asked over its API has done so already.
    pub(super) fn await_receipt<T>(&mut self, changed: &mut Changed<T>) {
        let Self::Store(local_store) = self else { return };
        // an object of which an old store has kept no number is as the newest change has left it
        let number = changed.number.map_or_else(|| local_store.store.head(), Ok);
        let receipt = number.and_then(|number| local_store.store.receipt(number)).unwrap_or_else(|error| {
            // the change is made, whatever can be learnt of the gateways
            eprint_line(format_args!("portcullis: {error}"));
            Receipt::unknown(changed.number.unwrap_or_default())
        });
        changed.fetched.is_pending = !receipt.is_complete();
        changed.receipt = Some(resource_json::receipt(&receipt));
    }
}

/// Says what to do where nothing was found by an id or a name.
fn with_hint(error: anyhow::Error, hint: &str) -> anyhow::Error {
    match error.downcast_ref() {
        Some(StoreError::NotFound { .. }) => anyhow::anyhow!("{error}: {hint}"),
        _ => error,
    }
}

/// What a list is handed to, part by part, until it wants no more.
pub(super) type OnListPart<'a, T> = dyn FnMut(ListPart<T>) -> anyhow::Result<ControlFlow<()>> + 'a;

/// Hands over a list of the store's.
fn stored_parts<E, T>(
    query: PageQuery,
    mut page: impl FnMut(&PageQuery) -> Result<Page<E>, StoreError>,
    fetched: impl Fn(E) -> Fetched<T>,
    on_part: &mut OnListPart<'_, T>,
) -> anyhow::Result<()> {
    let mut query = PageQuery { limit: PAGE_ROWS, ..query };
    loop {
        let Page { items, next, .. } = page(&query)?;
        let items = items.into_iter().map(&fetched).collect();
        let is_enough = on_part(ListPart { items, collection: None })?.is_break();
        match next {
            Some(next) if !is_enough => query.after = Some::<Marker>(next),
            _ => return Ok(()),
        }
    }
}
