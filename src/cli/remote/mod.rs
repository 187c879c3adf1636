//! Speaking to a running gateway's management API instead of opening its store.
//!
//! [`Remote`] are the options; [`Client`] sends requests to that one server and judges its answers; [`read`] makes the
//! model's types of its documents.

mod client;
mod connect;
mod credential;
mod error;
mod netrc;
mod origin;
pub(super) mod resources;

use std::path::PathBuf;

use clap::Args;
use clap::error::ErrorKind;

use client::Timeouts;
pub(super) use client::{Answer, Body, Client};
use credential::{Credential, KeyArgument};
pub(super) use error::RemoteError;
use origin::Origin;

const HEADING: &str = "From another machine";

const URL_HELP: &str = "Ask a running gateway, at the address of its management listener (http:// or https://), instead \
    of opening the store; --config is not read then";
const KEY_HELP: &str = "With --url: the key that asks. Other users of this machine can see it on a command line: better \
    set PORTCULLIS_KEY to it, or write it into ~/.netrc (or the file that NETRC names). The access key alone will do \
    where its secret is in .netrc or in PORTCULLIS_SECRET";
const CACERT_HELP: &str = "With --url https://…: trust what the certificates in this file (PEM) have signed, instead of \
    the system's authorities";

/// Where a running gateway is, and who asks.
#[derive(Debug, Args)]
pub(super) struct Remote {
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "PORTCULLIS_URL",
        hide_env_values = true,
        help = URL_HELP,
        help_heading = HEADING,
        display_order = 102
    )]
    url: Option<String>,

    #[arg(
        id = "asking_key",
        long = "key",
        global = true,
        value_name = "ACCESS_KEY:SECRET_KEY",
        help = KEY_HELP,
        help_heading = HEADING,
        display_order = 103
    )]
    key: Option<KeyArgument>,

    #[arg(
        long,
        global = true,
        value_name = "FILE",
        help = CACERT_HELP,
        help_heading = HEADING,
        display_order = 104
    )]
    cacert: Option<PathBuf>,
}

impl Remote {
    /// The client, where a gateway is named.
    pub(super) fn client(&self) -> anyhow::Result<Option<Client>> {
        // an empty one is none, so that a variable can be overruled
        let Some(url) = self.url.as_deref().filter(|url| !url.is_empty()) else {
            let lonely = [("--key", self.key.is_some()), ("--cacert", self.cacert.is_some())];
            return match lonely.iter().find(|(_, is_given)| *is_given) {
                Some((option, _)) => {
                    Err(usage(&format!("{option} is for a gateway that --url (or PORTCULLIS_URL) names"))
                        .into())
                }
                None => Ok(None),
            };
        };
        let origin: Origin =
            url.parse().map_err(|error| usage(&format!("the URL cannot be used: {error}")))?;
        let credential = Credential::find(self.key.as_ref(), &origin)?;
        Client::new(origin, credential, self.cacert.as_deref(), Timeouts::DEFAULT).map(Some)
    }
}

/// Wrong usage, which is an exit status of its own.
fn usage(message: &str) -> clap::Error {
    clap::Error::raw(ErrorKind::ArgumentConflict, format!("{message}\n"))
}
