//! Who makes a change: checked inside the transaction, and written into the audit log with it.

use std::net::IpAddr;
use std::ops::Deref;

use rusqlite::Connection;

use super::error::Fault;
use super::{StoreError, lookup};
use crate::model::{AccessKey, KeyOwner};
use crate::policy::{Act, Verdict, judge};

/// Who makes the changes of a [`Store`](super::Store).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Author {
    /// Who may open the store's file: nothing is forbidden, and what is so already is no error.
    CommandLine {
        /// The operating system's name of the user.
        user: String,
    },
    /// A gateway that makes again what the record has forgotten.
    Gateway,
    /// The holder of a key. Each change asks the record again whether the key still works and may do it.
    Key(ActingKey),
}

/// A verified key that acts through the management plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActingKey {
    /// Its public half.
    pub access_key: AccessKey,
    /// Whose key it is.
    pub owner: KeyOwner,
    /// By which door it came.
    pub via: Via,
    /// The client's address.
    pub address: IpAddr,
    /// The request's id.
    pub request: String,
}

/// The doors to the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// The command line, on the store itself.
    CommandLine,
    /// The REST API.
    Api,
    /// The web page.
    Page,
    /// A gateway of its own accord.
    Gateway,
}

impl Via {
    /// The word in the audit log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CommandLine => "command",
            Self::Api => "api",
            Self::Page => "page",
            Self::Gateway => "gateway",
        }
    }
}

impl Author {
    /// Whoever runs this process.
    pub fn command_line() -> Self {
        let user = std::env::var("SUDO_USER")
            .or_else(|_| std::env::var("USER"))
            .unwrap_or_else(|_| format!("uid {}", rustix::process::getuid().as_raw()));
        Self::CommandLine { user }
    }

    pub(super) fn via(&self) -> Via {
        match self {
            Self::CommandLine { .. } => Via::CommandLine,
            Self::Gateway => Via::Gateway,
            Self::Key(acting) => acting.via,
        }
    }

    /// The word that the audit log finds it by: a user's name, an account's id or an environment's.
    pub(super) fn name(&self) -> String {
        match self {
            Self::CommandLine { user } => user.clone(),
            Self::Gateway => "gateway".to_owned(),
            Self::Key(acting) => acting.owner.to_string(),
        }
    }
}

/// A transaction that makes changes, and who makes them.
pub(super) struct Writing<'a> {
    pub(super) connection: &'a Connection,
    pub(super) author: &'a Author,
}

impl Deref for Writing<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection
    }
}

impl Writing<'_> {
    /// Whether the author may do it, by what the record says now.
    pub(super) fn permit(&self, act: &Act) -> Result<(), Fault> {
        let Author::Key(acting) = self.author else { return Ok(()) };
        let record = lookup::key(self.connection, acting.access_key.as_str())?.record;
        let Some(record) = record.filter(|record| record.principal.is_active()) else {
            return Err(StoreError::AuthorGone { access_key: acting.access_key.clone() }.into());
        };
        match judge(&record.principal, act) {
            Verdict::Allowed => Ok(()),
            Verdict::Refused | Verdict::Hidden => Err(StoreError::NotPermitted.into()),
        }
    }

    /// Whether an object that is already in the wanted state is an error: a key's holder is told that somebody else
    /// was faster, a command is simply done.
    pub(super) fn is_strict(&self) -> bool {
        matches!(self.author, Author::Key(_))
    }
}
