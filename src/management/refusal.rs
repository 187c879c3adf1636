//! Everything that the management plane refuses, and the one place where a refusal becomes a status and an error
//! document.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};

use crate::auth::{AuthRefusal, ChosenPairError};
use crate::config::LifetimeError;
use crate::model::InvalidOverlap;
use crate::store::StoreError;

/// Why a request fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// No credential, or one that is not valid.
    Unauthorized,
    /// Too many failed credentials from the client's address.
    Throttled {
        /// How long to wait.
        retry_after: Duration,
    },
    /// The record cannot be reached now, or too many requests are waiting.
    Unavailable {
        /// How long to wait.
        retry_after: Duration,
    },
    /// Too many lists of the caller are being read or waiting.
    TooManyLists {
        /// What to do.
        detail: String,
    },
    /// Too many lists of all callers are being read or waiting.
    ListsBusy {
        /// What to do.
        detail: String,
    },
    /// The connection to the record broke during a change, which may or may not be made. Repeating it could make it twice.
    OutcomeUnknown,
    /// The caller may see the object, but not do this with it.
    Forbidden {
        /// Why, if the caller may know.
        detail: Option<String>,
    },
    /// The caller chose an environment's id, which only admins may.
    IdIsForAdmins,
    /// The caller's key has a scope, and so changes nothing.
    NarrowedKey,
    /// There is no such object, or the caller may not know that there is.
    NotFound,
    /// The object does not have this method, or not for the caller's role.
    MethodNotAllowed {
        /// The methods that it has, as in `Allow`.
        allow: String,
        /// Why, if there is more to say.
        detail: Option<String>,
    },
    /// The request cannot be read.
    BadRequest {
        /// The error document's code.
        code: &'static str,
        /// The field of the request that is wrong.
        field: Option<&'static str>,
        /// What is wrong, and what to do.
        detail: String,
    },
    /// The request can be read, but asks for something impossible.
    Invalid {
        /// The error document's code.
        code: &'static str,
        /// The field of the request that is wrong.
        field: Option<String>,
        /// What is wrong, and what to do.
        detail: String,
    },
    /// Somebody else has changed the object since the caller read it.
    PreconditionFailed {
        /// What to do.
        detail: String,
    },
    /// The body is too large.
    TooLarge,
    /// The `Host` is not a name of this listener.
    Misdirected {
        /// What to do.
        detail: String,
    },
}

impl Refusal {
    /// A field that is too long.
    pub(super) fn too_long(field: &str, detail: String) -> Self {
        Self::Invalid { code: "MaxLengthExceeded", field: Some(field.to_owned()), detail }
    }

    /// A field with a value that it cannot have.
    pub(super) fn invalid(code: &'static str, field: &str, detail: impl Into<String>) -> Self {
        Self::Invalid { code, field: Some(field.to_owned()), detail: detail.into() }
    }

    /// The answer's status.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Throttled { .. } | Self::TooManyLists { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable { .. } | Self::ListsBusy { .. } | Self::OutcomeUnknown => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Forbidden { .. } | Self::IdIsForAdmins | Self::NarrowedKey => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::BadRequest { .. } => StatusCode::BAD_REQUEST,
            Self::Invalid { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            Self::PreconditionFailed { .. } => StatusCode::PRECONDITION_FAILED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Misdirected { .. } => StatusCode::MISDIRECTED_REQUEST,
        }
    }

    /// The error document's code: Rancher's, where it has one.
    fn code(&self) -> &'static str {
        match self {
            Self::BadRequest { code, .. } | Self::Invalid { code, .. } => code,
            Self::MethodNotAllowed { .. } => "Method not allowed",
            _ => self.status().canonical_reason().unwrap_or("Error"),
        }
    }

    /// What is wrong and what to do, for people.
    pub fn detail(&self) -> Option<&str> {
        match self {
            Self::BadRequest { detail, .. }
            | Self::Invalid { detail, .. }
            | Self::PreconditionFailed { detail }
            | Self::TooManyLists { detail }
            | Self::ListsBusy { detail }
            | Self::Misdirected { detail } => Some(detail),
            Self::Forbidden { detail } | Self::MethodNotAllowed { detail, .. } => detail.as_deref(),
            Self::IdIsForAdmins => {
                Some("only admins choose an environment's id: leave it out, and the gateway makes one")
            }
            Self::NarrowedKey => {
                Some("this key is narrowed by its scope, and changes nothing here: use a key without a scope")
            }
            Self::TooLarge => Some("a request's body has 64 KiB at most"),
            Self::Unavailable { .. } => Some("the record cannot be reached now: try again"),
            Self::OutcomeUnknown => Some(
                "the record was lost while it was being changed: the change may have been made, so look first",
            ),
            Self::Throttled { .. } => Some("too many failures from this address: wait, then try again"),
            Self::Unauthorized | Self::NotFound => None,
        }
    }

    /// The field of the request that is wrong.
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::BadRequest { field, .. } => *field,
            Self::Invalid { field, .. } => field.as_deref(),
            _ => None,
        }
    }

    /// How long to wait before trying again.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Throttled { retry_after } | Self::Unavailable { retry_after } => Some(*retry_after),
            Self::TooManyLists { .. } | Self::ListsBusy { .. } => Some(Duration::from_secs(1)),
            _ => None,
        }
    }

    /// The audit log's reason, if the caller's role does not permit the change. What the record refuses has its row in the
    /// audit log already.
    pub(super) fn not_permitted(&self) -> Option<&'static str> {
        match self {
            Self::Forbidden { detail: None } => Some("the key that asked may not do this"),
            Self::IdIsForAdmins => Some("the key that asked may not choose an id"),
            Self::NarrowedKey => Some("the key that asked is narrowed by its scope"),
            Self::NotFound => Some("not there, or not for the key that asked to see"),
            Self::MethodNotAllowed { detail: None, .. } => {
                Some("the role of the key that asked never does this")
            }
            _ => None,
        }
    }

    /// The error document; `id` is the request's.
    pub(super) fn document(&self, id: &str) -> Value {
        let code = self.code();
        let message = if matches!(self, Self::Invalid { .. }) { None } else { Some(code) };
        let mut document = json!({
            "id": id,
            "type": "error",
            "links": {},
            "actions": {},
            "status": self.status().as_u16(),
            "code": code,
            "message": message,
            "detail": self.detail(),
            "baseType": "error",
        });
        if let (Some(field), Some(document)) = (self.field(), document.as_object_mut()) {
            document.insert("fieldName".to_owned(), field.into());
        }
        document
    }
}

impl From<AuthRefusal> for Refusal {
    fn from(refusal: AuthRefusal) -> Self {
        match refusal {
            AuthRefusal::Unauthorized(_) => Self::Unauthorized,
            AuthRefusal::Throttled { retry_after } => Self::Throttled { retry_after },
            AuthRefusal::Busy { retry_after } | AuthRefusal::Unavailable { retry_after } => {
                Self::Unavailable { retry_after }
            }
        }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        let detail = error.to_string();
        match error {
            StoreError::NotFound { .. } => Self::NotFound,
            StoreError::StillActive { what, .. } => Self::MethodNotAllowed {
                allow: "GET, PUT".to_owned(),
                detail: Some(format!("the {what} is active: deactivate it first")),
            },
            StoreError::WrongState { .. } => Self::invalid("ActionNotAvailable", "action", detail),
            StoreError::RevisionConflict { .. } => Self::PreconditionFailed { detail },
            StoreError::KeyNoLongerWorks { .. } => Self::Unauthorized,
            StoreError::NotPermitted => Self::Forbidden { detail: Some(detail) },
            StoreError::AlreadyTaken { what, .. } => {
                let field = if what == "access key" { "publicValue" } else { what };
                Self::invalid("NotUnique", field, detail)
            }
            StoreError::LastOwner { .. } => {
                Self::BadRequest { code: "InvalidFormat", field: Some("role"), detail }
            }
            StoreError::TooCostly | StoreError::TooManyEnvironments { .. } => {
                Self::Invalid { code: "MaxLimitExceeded", field: None, detail }
            }
            StoreError::TooManyLists { .. } => Self::TooManyLists { detail },
            StoreError::ListsBusy => Self::ListsBusy { detail },
            StoreError::Marker(_) => Self::invalid("InvalidOption", "marker", detail),
            StoreError::Ambiguous { .. } | StoreError::Refused(_) => {
                Self::Invalid { code: "InvalidState", field: None, detail }
            }
            StoreError::CommitUnknown { .. } => {
                tracing::error!(%error, "a change may have been made, and may not");
                Self::OutcomeUnknown
            }
            _ => {
                tracing::error!(%error, "the record cannot be used");
                Self::Unavailable { retry_after: Duration::from_secs(1) }
            }
        }
    }
}

impl From<InvalidOverlap> for Refusal {
    fn from(error: InvalidOverlap) -> Self {
        let field = match error {
            InvalidOverlap::Duration { field } => field,
            InvalidOverlap::Both => "overlap",
            InvalidOverlap::AtMost => "atMost",
        };
        Self::invalid("InvalidFormat", field, error.to_string())
    }
}

impl From<LifetimeError> for Refusal {
    fn from(error: LifetimeError) -> Self {
        let code = match error {
            LifetimeError::Past(_) => "MinLimitExceeded",
            LifetimeError::TooLong { .. } => "MaxLimitExceeded",
        };
        Self::invalid(code, "expires", error.to_string())
    }
}

impl From<ChosenPairError> for Refusal {
    fn from(error: ChosenPairError) -> Self {
        let detail = error.to_string();
        match error {
            ChosenPairError::TooLong { .. } => Self::too_long("secretValue", detail),
            ChosenPairError::NotText | ChosenPairError::Control => {
                Self::invalid("InvalidCharacters", "secretValue", detail)
            }
            ChosenPairError::Empty => Self::invalid("MinLengthExceeded", "secretValue", detail),
            ChosenPairError::Minted { .. } => Self::invalid("InvalidCharacters", "publicValue", detail),
            ChosenPairError::Argon(error) => {
                tracing::error!(%error, "a new secret cannot be hashed");
                Self::Unavailable { retry_after: Duration::from_secs(1) }
            }
        }
    }
}
