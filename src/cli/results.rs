//! What a backend gives a command to print: an object, a change that was made, a part of a list.

use std::borrow::Cow;
use std::fmt::Display;
use std::process::ExitCode;

use serde_json::Value;

use super::output::{Format, eprint_line, print, print_json};
use crate::management::resource_json::{self, RenderOptions};
use crate::model::State;
use crate::store::{ChangeNumber, ConfirmedUpTo};

/// The exit status of a change that is made in the record, and that not every gateway has confirmed.
const UNCONFIRMED: u8 = 3;

/// An object as a backend gave it.
#[derive(Debug)]
pub(super) struct Fetched<T> {
    pub(super) object: T,
    /// The document that the API sent.
    pub(super) sent: Option<Value>,
    /// A gateway may not have confirmed this state.
    pub(super) is_pending: bool,
    /// What the owner of a key is called; `None`: it has no name, or nobody has asked.
    pub(super) owner_name: Option<String>,
}

/// A change that was made.
#[derive(Debug)]
pub(super) struct Changed<T> {
    /// The object as it is now.
    pub(super) fetched: Fetched<T>,
    /// The change that made it so; `None` where nobody knows.
    pub(super) number: Option<ChangeNumber>,
    /// Where it is in force: the document of the API; `None` where nobody was asked.
    pub(super) receipt: Option<Value>,
    /// Without a receipt, because there was nothing to change: the state is not confirmed yet.
    pub(super) is_pending: bool,
}

/// A part of a list.
#[derive(Debug)]
pub(super) struct ListPart<T> {
    pub(super) items: Vec<Fetched<T>>,
    /// The collection that the API sent, without its items.
    pub(super) collection: Option<Value>,
}

/// Whether a document of the API's says that a gateway has not confirmed what is so.
pub(super) fn is_in_transition(document: &Value) -> bool {
    document.get("transitioning").and_then(Value::as_str) == Some("yes")
}

impl<T> Fetched<T> {
    /// What the store has.
    pub(super) fn from_store(object: T) -> Self {
        Self { object, sent: None, is_pending: false, owner_name: None }
    }

    /// What the store has, where change `revision` was the last of this object.
    pub(super) fn from_store_at_revision(
        object: T,
        revision: ChangeNumber,
        state: State,
        confirmed_up_to: ConfirmedUpTo,
    ) -> Self {
        Self { is_pending: confirmed_up_to.is_pending(revision, state), ..Self::from_store(object) }
    }

    /// What the API has sent.
    pub(super) fn from_api(object: T, document: Value) -> Self {
        Self { is_pending: is_in_transition(&document), sent: Some(document), ..Self::from_store(object) }
    }

    /// The document: the one that the API sent, or what `to_document` makes of the object.
    pub(super) fn document(&self, to_document: impl Fn(&T, &RenderOptions) -> Value) -> Cow<'_, Value> {
        match &self.sent {
            Some(document) => Cow::Borrowed(document),
            None => Cow::Owned(to_document(&self.object, &RenderOptions::without_links(self.is_pending))),
        }
    }

    /// The word for the object's state.
    pub(super) fn state(&self, state: State) -> String {
        resource_json::state_word(state, self.is_pending).to_owned()
    }
}

impl<T> Changed<T> {
    /// What was done in the store; whether it is in force, [`Backend::await_receipt`] asks.
    pub(super) fn in_store(object: T, number: ChangeNumber) -> Self {
        // 0 where an old store has kept no number
        let number = (number != ChangeNumber(0)).then_some(number);
        Self { fetched: Fetched::from_store(object), number, receipt: None, is_pending: true }
    }

    /// The document with the receipt in it.
    pub(super) fn document(&self, to_document: impl Fn(&T, &RenderOptions) -> Value) -> Value {
        let mut document = self.fetched.document(to_document).into_owned();
        if let (Value::Object(fields), Some(receipt)) = (&mut document, &self.receipt) {
            fields.insert("receipt".to_owned(), receipt.clone());
        }
        document
    }

    /// Prints the change: its document, or for people `fields` and the lines of [`Self::summary`].
    pub(super) fn print(
        &self,
        output: Format,
        fields: &str,
        what_is_so: impl Display,
        to_document: impl Fn(&T, &RenderOptions) -> Value,
    ) -> anyhow::Result<()> {
        match output {
            Format::Json => print_json(&self.document(to_document)),
            Format::Table => print(&format!("{fields}{}", self.summary(what_is_so))),
        }
    }

    /// The lines for people about a change: what is so now, the number of the change that made it so, and where it is
    /// in force.
    pub(super) fn summary(&self, what_is_so: impl Display) -> String {
        let number = self.number.map(|number| format!(" (change {number})")).unwrap_or_default();
        let applied = self.gateways("applied");
        let place = match &self.receipt {
            _ if !applied.is_empty() => format!("in force on {applied}\n"),
            Some(receipt) if resource_json::is_complete(receipt) => {
                "no gateway runs on this store now\n".to_owned()
            }
            _ => String::new(),
        };
        format!("{what_is_so}{number}\n{place}")
    }

    /// How the command ends, by the receipt alone; says so where not every gateway has confirmed.
    pub(super) fn exit(&self) -> ExitCode {
        let is_confirmed = self.receipt.as_ref().map_or(!self.is_pending, resource_json::is_complete);
        if is_confirmed {
            return ExitCode::SUCCESS;
        }
        let waiting = self.gateways("waiting");
        let not_after = self.receipt.as_ref().and_then(|receipt| receipt.get("notAfter")?.as_str());
        if let (true, Some(time)) = (waiting.is_empty(), not_after) {
            eprint_line(format_args!(
                "portcullis: this is done in the record, but the record was failed over or put back: gateways that it \
                 does not know of may act on what was before until {time}"
            ));
        } else if waiting.is_empty() {
            eprint_line(
                "portcullis: this is done in the record, but it is not confirmed yet that it is in force: look again \
                 in a moment",
            );
        } else {
            let not_after = not_after
                .map(|time| format!("; after {time} none can act on what was before"))
                .unwrap_or_default();
            eprint_line(format_args!(
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

impl<T> ListPart<T> {
    /// A list that is short enough to be one part.
    pub(super) fn whole(objects: Vec<T>) -> Self {
        Self { items: objects.into_iter().map(Fetched::from_store).collect(), collection: None }
    }

    /// The collection without its items: the one that the API sent, or what `to_document` makes.
    pub(super) fn collection(&self, to_document: impl Fn() -> Value) -> Cow<'_, Value> {
        match &self.collection {
            Some(collection) => Cow::Borrowed(collection),
            None => Cow::Owned(to_document()),
        }
    }
}
