//! Who makes a change. It is authorized inside the transaction, and written into the audit log with the change.

use std::net::IpAddr;

use crate::model::{AccessKey, KeyOwner};

/// Who makes the changes of a [`Store`](super::Store).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Author {
    /// The command line: it may do everything, and a change that changes nothing is no error.
    CommandLine {
        /// The operating system's name of the user.
        user: String,
    },
    /// A gateway that reapplies revocations which a restored record has lost.
    Gateway,
    /// The holder of a key. Each change checks in the record that the key still works and may do it.
    Key(ActingKey),
}

/// A verified key that acts through the management plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActingKey {
    /// Its public half.
    pub access_key: AccessKey,
    /// Whose key it is.
    pub owner: KeyOwner,
    /// The API or the page.
    pub via: Via,
    /// The client's address.
    pub address: IpAddr,
    /// The request's id.
    pub request: String,
}

/// How a change reached the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// The command line, on the store itself.
    CommandLine,
    /// The REST API.
    Api,
    /// The web page.
    Page,
    /// A gateway, by itself.
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

    /// The actor's name in the audit log: a user's name, or the id of an account or an environment.
    pub(super) fn name(&self) -> String {
        match self {
            Self::CommandLine { user } => user.clone(),
            Self::Gateway => "gateway".to_owned(),
            Self::Key(acting) => acting.owner.to_string(),
        }
    }
}
