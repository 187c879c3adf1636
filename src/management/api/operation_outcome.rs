//! What an operation replies, before it is rendered.

use http::StatusCode;
use serde_json::Value;

use super::query::ListQuery;
use crate::management::resource_json;
use crate::store::{ChangeNumber, Field, Marker, Receipt};

/// The outcome of a request that was not refused.
pub(super) enum OperationOutcome {
    /// One resource.
    Resource {
        document: Value,
        /// Its `ETag`, if the type has revisions.
        revision: Option<ChangeNumber>,
    },
    /// A page of a collection.
    Collection {
        /// The type's name.
        resource_type: &'static str,
        /// The fields that the collection says it can be sorted and filtered by.
        fields: &'static [Field],
        query: Box<ListQuery>,
        data: Vec<Value>,
        next: Option<Marker>,
    },
    /// A resource that was created or changed.
    Change {
        status: StatusCode,
        document: Value,
        /// Its `ETag`, if the type has revisions.
        revision: Option<ChangeNumber>,
        /// The change's number.
        number: ChangeNumber,
    },
}

impl OperationOutcome {
    /// One resource of a type without revisions.
    pub(super) fn resource(document: Value) -> Self {
        Self::Resource { document, revision: None }
    }

    /// One resource.
    pub(super) fn resource_at(document: Value, revision: ChangeNumber) -> Self {
        Self::Resource { document, revision: Some(revision) }
    }

    /// A change that may take rights away: `confirmed` if every gateway has confirmed it, else 202.
    pub(super) fn change(
        confirmed: StatusCode,
        document: Value,
        revision: Option<ChangeNumber>,
        receipt: &Receipt,
    ) -> Self {
        let status = if receipt.is_complete() { confirmed } else { StatusCode::ACCEPTED };
        Self::with_receipt(status, document, revision, receipt)
    }

    /// A creation that takes no rights away: 201, though not every gateway has confirmed it.
    pub(super) fn created(document: Value, revision: ChangeNumber, receipt: &Receipt) -> Self {
        Self::with_receipt(StatusCode::CREATED, document, Some(revision), receipt)
    }

    fn with_receipt(
        status: StatusCode,
        mut document: Value,
        revision: Option<ChangeNumber>,
        receipt: &Receipt,
    ) -> Self {
        document["receipt"] = resource_json::receipt(receipt);
        Self::Change { status, document, revision, number: receipt.number }
    }
}
