//! What the commands that manage keys work on: the store that the configuration names, or a running gateway's API.
//! Both give the same types, so that what is printed is the same.

mod accounts;
mod environments;
mod keys;

pub(super) use keys::Brought;

use std::borrow::Cow;
use std::fmt::Display;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::ExitCode;

use form_urlencoded::Serializer;
use http::Method;
use serde_json::{Value, json};

use super::output::tell;
use super::remote::read::Unexpected;
use super::remote::{Answer, Body, Client, Remote, RemoteError};
use super::site::Site;
use crate::management::document::{self, View};
use crate::model::{Description, Name, State};
use crate::store::{ChangeNumber, Edit, Marker, Page, Query, Receipt, Settled, StoreError};

/// Rows on a page: what a list holds in memory at once.
const PAGE_ROWS: usize = 1_000;
/// [`super::EXIT_STATUS`]: done in the record, but not yet confirmed.
const UNCONFIRMED: u8 = 3;

/// The one or the other.
pub(super) enum Backend {
    Store(Box<Site>),
    Api(Box<Client>),
}

/// An object as a backend gave it.
#[derive(Debug)]
pub(super) struct Seen<T> {
    pub(super) object: T,
    /// The document that the API sent.
    sent: Option<Value>,
    /// A gateway may not have confirmed what is so.
    is_pending: bool,
}

/// A change that was made.
#[derive(Debug)]
pub(super) struct Done<T> {
    /// The object as it is now.
    pub(super) seen: Seen<T>,
    /// The change that made it so; `None` where nobody knows.
    number: Option<ChangeNumber>,
    /// Where it is in force: the document of the API; `None` where nobody was asked.
    receipt: Option<Value>,
    /// Where there is no receipt, because nothing was to be changed: what is so is not confirmed yet.
    is_pending: bool,
}

/// A part of a list.
#[derive(Debug)]
pub(super) struct Part<T> {
    pub(super) items: Vec<Seen<T>>,
    /// The collection that the API sent, without its items.
    collection: Option<Value>,
}

impl Backend {
    /// The gateway that the options name, or else the store that the configuration names.
    pub(super) fn open(remote: &Remote, config: &Path) -> anyhow::Result<Self> {
        Ok(match remote.client()? {
            Some(client) => Self::Api(Box::new(client)),
            None => Self::Store(Box::new(Site::open(config)?)),
        })
    }

    /// Waits until the gateways of the store have confirmed a change, or were given the time to. A gateway that was
    /// asked over its API has done so already.
    pub(super) fn confirm<T>(&mut self, done: &mut Done<T>) {
        let Self::Store(site) = self else { return };
        // an object of which an old store has kept no number is as the newest change has left it
        let number = done.number.map_or_else(|| site.store.head(), Ok);
        let receipt = number.and_then(|number| site.store.receipt(number)).unwrap_or_else(|error| {
            // the change is made, whatever can be learnt of the gateways
            tell(format_args!("portcullis: {error}"));
            Receipt::unknown(done.number.unwrap_or_default())
        });
        done.seen.is_pending = !receipt.is_complete();
        done.receipt = Some(document::receipt(&receipt));
    }
}

/// Whether a document of the API's says that a gateway has not confirmed what is so.
pub(super) fn is_in_transition(document: &Value) -> bool {
    document.get("transitioning").and_then(Value::as_str) == Some("yes")
}

impl<T> Seen<T> {
    /// What the store has.
    pub(super) fn ours(object: T) -> Self {
        Self { object, sent: None, is_pending: false }
    }

    /// What the store has of an object that change `revision` has brought into its state.
    fn stored(object: T, revision: ChangeNumber, state: State, settled: Settled) -> Self {
        Self { is_pending: settled.is_pending(revision, state), ..Self::ours(object) }
    }

    /// What the API has sent.
    fn sent(object: T, document: Value) -> Self {
        Self { object, is_pending: is_in_transition(&document), sent: Some(document) }
    }

    /// The document: the one that the API sent, or what `ours` makes of the object.
    pub(super) fn document(&self, ours: impl Fn(&T, &View) -> Value) -> Cow<'_, Value> {
        match &self.sent {
            Some(document) => Cow::Borrowed(document),
            None => Cow::Owned(ours(&self.object, &View::without_links(self.is_pending))),
        }
    }

    /// The word for the object's state.
    pub(super) fn state(&self, state: State) -> String {
        document::state_word(state, self.is_pending).to_owned()
    }
}

impl<T> Done<T> {
    /// What was done in the store; whether it is in force, [`Backend::confirm`] asks.
    fn ours(object: T, number: ChangeNumber) -> Self {
        // 0 where an old store has kept no number
        let number = (number != ChangeNumber(0)).then_some(number);
        Self { seen: Seen::ours(object), number, receipt: None, is_pending: true }
    }

    /// The document with the receipt in it.
    pub(super) fn document(&self, ours: impl Fn(&T, &View) -> Value) -> Value {
        let mut document = self.seen.document(ours).into_owned();
        if let (Value::Object(fields), Some(receipt)) = (&mut document, &self.receipt) {
            fields.insert("receipt".to_owned(), receipt.clone());
        }
        document
    }

    /// The lines for people about a change: what is so now, the number of the change that made it so, and where it is
    /// in force.
    pub(super) fn lines(&self, what_is_so: impl Display) -> String {
        let number = self.number.map(|number| format!(" (change {number})")).unwrap_or_default();
        let applied = self.gateways("applied");
        let applied = if applied.is_empty() { applied } else { format!("in force on {applied}\n") };
        format!("{what_is_so}{number}\n{applied}")
    }

    /// How the command ends, by the receipt alone; says so where not every gateway has confirmed.
    pub(super) fn exit(&self) -> ExitCode {
        let is_confirmed = self.receipt.as_ref().map_or(!self.is_pending, document::is_complete);
        if is_confirmed {
            return ExitCode::SUCCESS;
        }
        let waiting = self.gateways("waiting");
        let not_after = self.receipt.as_ref().and_then(|receipt| receipt.get("notAfter")?.as_str());
        if let (true, Some(time)) = (waiting.is_empty(), not_after) {
            tell(format_args!(
                "portcullis: this is done in the record, but the record was failed over or put back: gateways that it \
                 does not know of may act on what was before until {time}"
            ));
        } else if waiting.is_empty() {
            tell(
                "portcullis: this is done in the record, but it is not confirmed yet that it is in force: look again \
                 in a moment",
            );
        } else {
            let not_after = not_after
                .map(|time| format!("; after {time} none can act on what was before"))
                .unwrap_or_default();
            tell(format_args!(
                "portcullis: this is done in the record, but not yet confirmed by {waiting}{not_after}"
            ));
        }
        ExitCode::from(UNCONFIRMED)
    }

    /// The names in one of the receipt's lists.
    fn gateways(&self, list: &str) -> String {
        let listed = self.receipt.as_ref().and_then(|receipt| receipt.get(list)?.as_array());
        let name = |gateway: &Value| gateway.get("name").and_then(Value::as_str).map(str::to_owned);
        let names: Vec<_> = listed.into_iter().flatten().filter_map(name).collect();
        names.join(", ")
    }
}

impl<T> Part<T> {
    /// A list that is short enough to be one part.
    pub(super) fn whole(objects: Vec<T>) -> Self {
        Self { items: objects.into_iter().map(Seen::ours).collect(), collection: None }
    }

    /// The collection without its items: the one that the API sent, or what `ours` makes.
    pub(super) fn collection(&self, ours: impl Fn() -> Value) -> Cow<'_, Value> {
        match &self.collection {
            Some(collection) => Cow::Borrowed(collection),
            None => Cow::Owned(ours()),
        }
    }
}

/// What a list is handed to, part by part, until it has seen enough.
pub(super) type OnPart<'a, T> = dyn FnMut(Part<T>) -> anyhow::Result<ControlFlow<()>> + 'a;

/// Hands over a list of the store's.
fn stored_parts<E, T>(
    mut page: impl FnMut(&Query) -> Result<Page<E>, StoreError>,
    seen: impl Fn(E) -> Seen<T>,
    on_part: &mut OnPart<'_, T>,
) -> anyhow::Result<()> {
    let mut query = Query { limit: PAGE_ROWS, ..Query::default() };
    loop {
        let Page { items, next } = page(&query)?;
        let items = items.into_iter().map(&seen).collect();
        let is_enough = on_part(Part { items, collection: None })?.is_break();
        match next {
            Some(next) if !is_enough => query.after = Some::<Marker>(next),
            _ => return Ok(()),
        }
    }
}

/// Hands over a list of the API's.
fn sent_parts<T>(
    client: &mut Client,
    path: &str,
    read: fn(&Value) -> Result<T, Unexpected>,
    on_part: &mut OnPart<'_, T>,
) -> anyhow::Result<()> {
    let mut failed = None;
    client.pages(with_query(path, &[("limit", &PAGE_ROWS.to_string())]), |items, mut collection| {
        let seen = |document: Value| read(&document).map(|object| Seen::sent(object, document));
        match items.into_iter().map(seen).collect() {
            Ok(items) => {
                // all pages are printed as one
                if let Some(pagination) = collection.get_mut("pagination").and_then(Value::as_object_mut) {
                    pagination.insert("next".to_owned(), Value::Null);
                    pagination.insert("partial".to_owned(), false.into());
                }
                on_part(Part { items, collection: Some(collection) })
            }
            Err(error) => {
                failed = Some(error);
                Ok(ControlFlow::Break(()))
            }
        }
    })?;
    match failed {
        Some(error) => Err(client.unexpected(error.to_string()).into()),
        None => Ok(()),
    }
}

/// What the first page of a list of the API's holds that `is_meant`: filters of the API are not exact.
fn matching<T>(
    client: &mut Client,
    target: &str,
    read: fn(&Value) -> Result<T, Unexpected>,
    is_meant: impl Fn(&T) -> bool,
) -> Result<Vec<Seen<T>>, RemoteError> {
    let mut collection = client.get(target)?.document;
    let Some(Value::Array(items)) = collection.get_mut("data").map(Value::take) else {
        return Err(client.unexpected("it is no list"));
    };
    let mut found = Vec::new();
    for document in items {
        let object = client.read(&document, read)?;
        if is_meant(&object) {
            found.push(Seen::sent(object, document));
        }
    }
    Ok(found)
}

/// The one object that was found by a name, as the store says it.
fn only_one<T>(
    what: &'static str,
    wanted: &str,
    mut found: Vec<Seen<T>>,
    id: impl Fn(&T) -> String,
) -> Result<Seen<T>, StoreError> {
    let wanted = wanted.to_owned();
    match (found.pop(), found.is_empty()) {
        (None, _) => Err(StoreError::NotFound { what, wanted }),
        (Some(only), true) => Ok(only),
        (Some(last), false) => {
            found.push(last);
            let ids = found.iter().take(5).map(|seen| id(&seen.object)).collect::<Vec<_>>().join(", ");
            Err(StoreError::Ambiguous { what, wanted, count: found.len(), ids })
        }
    }
}

/// An answer of the API's about one object, which must be the one that was asked for.
fn seen<T>(
    client: &Client,
    answer: Answer,
    read: fn(&Value) -> Result<T, Unexpected>,
    is_meant: impl Fn(&T) -> bool,
) -> Result<Seen<T>, RemoteError> {
    let object = client.read(&answer.document, read)?;
    if !is_meant(&object) {
        return Err(client.unexpected("it is another object than the one that was asked for"));
    }
    Ok(Seen::sent(object, answer.document))
}

/// The same, for an answer to a change.
fn done<T>(
    client: &Client,
    mut answer: Answer,
    read: fn(&Value) -> Result<T, Unexpected>,
    is_meant: impl Fn(&T) -> bool,
) -> Result<Done<T>, RemoteError> {
    let (number, is_pending) = (answer.number, answer.is_pending);
    // apart: what a command prints of an object has it only where a change is what it tells of
    let receipt = answer.document.as_object_mut().and_then(|document| document.remove("receipt"));
    Ok(Done { seen: seen(client, answer, read, is_meant)?, number, receipt, is_pending })
}

/// Whether a key may stop itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::Args)]
pub(super) struct Confirmation {
    /// With --url: stop the very key that asks, too
    #[arg(long)]
    confirm_self: bool,
}

impl Confirmation {
    /// Where a key cannot stop itself there is nothing to confirm.
    pub(super) const NONE: Self = Self { confirm_self: false };
}

/// Has the API take the object at `path` to a state. Where it is there already, that is no failure, as it is none in
/// the store.
fn change_state(
    client: &mut Client,
    path: &str,
    state: State,
    confirmation: Confirmation,
) -> Result<Answer, RemoteError> {
    let (method, action) = match state {
        State::Active => (Method::POST, Some("activate")),
        State::Inactive => (Method::POST, Some("deactivate")),
        State::Removed => (Method::DELETE, None),
    };
    let confirmed = confirmation.confirm_self.then_some(("confirm", "self"));
    let query: Vec<_> = action.map(|action| ("action", action)).into_iter().chain(confirmed).collect();
    match client.send(&method, &with_query(path, &query), None) {
        Err(refused @ RemoteError::WrongState { .. }) => {
            let now = client.get(path)?;
            // "deactivating" is inactive in the record, and not yet confirmed
            let there = [false, true].map(|is_pending| document::state_word(state, is_pending));
            let is_there =
                now.document.get("state").and_then(Value::as_str).is_some_and(|state| there.contains(&state));
            if is_there { Ok(now) } else { Err(refused) }
        }
        answer => answer,
    }
}

/// The body of an edit: what is absent stays, what is null is taken away.
fn edit_body(edit: &Edit) -> Body {
    let mut fields = serde_json::Map::new();
    if let Some(name) = &edit.name {
        fields.insert("name".to_owned(), json!(name.as_ref().map(Name::as_str)));
    }
    if let Some(description) = &edit.description {
        fields.insert("description".to_owned(), json!(description.as_ref().map(Description::as_str)));
    }
    Body::json(&fields.into())
}

/// A path of the API with a query.
fn with_query(path: &str, pairs: &[(&str, &str)]) -> String {
    if pairs.is_empty() {
        return path.to_owned();
    }
    format!("{path}?{}", Serializer::new(String::new()).extend_pairs(pairs).finish())
}
