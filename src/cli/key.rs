//! `portcullis key`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::Value;
use zeroize::{Zeroize as _, Zeroizing};

use super::backend::{Backend, Brought, Confirmation, Done, Seen};
use super::import;
use super::output::{
    Format, List, fields_text, json_text, print, print_fields, print_json, print_once, tell, text, time,
};
use super::site::{self, EditArguments};
use crate::management::document::{self, View};
use crate::model::{AccessKey, ApiKey, KeyOwner, State};
use crate::store::{KeyEntry, KeyUsage};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a key; its secret is printed this once
    #[command(after_help = "Examples:\n  \
        portcullis key create --account alice --name laptop\n  \
        portcullis key create --environment production --name ci --output json\n  \
        portcullis key create --environment 1a5 --access-key 0123456789ABCDEF0123 --secret-file old-secret\n  \
        portcullis key create --environment production --url https://gateway.example:8081")]
    Create {
        #[command(flatten)]
        owner: OwnerArguments,
        /// What it is called
        #[arg(long)]
        name: Option<String>,
        /// Free text
        #[arg(long)]
        description: Option<String>,
        /// Bring a key from elsewhere: its access key, instead of a new one
        #[arg(long, requires = "secret_file")]
        access_key: Option<AccessKey>,
        /// The file that holds the secret of that key; - reads it from stdin
        #[arg(long, value_name = "FILE", requires = "access_key")]
        secret_file: Option<PathBuf>,
    },
    /// List all keys, or those of one owner
    #[command(
        after_help = "Examples:\n  portcullis key list\n  portcullis key list --environment production\n  \
            portcullis key list --url https://gateway.example:8081"
    )]
    List {
        #[command(flatten)]
        owner: OptionalOwner,
    },
    /// Show one key, when it was last used, and how often
    #[command(after_help = "Examples:\n  portcullis key show 1c42\n  \
        portcullis key show 1c42 --url https://gateway.example:8081")]
    Show {
        /// Its id or access key
        key: String,
    },
    /// Change the name or the description
    #[command(after_help = "Examples:\n  portcullis key edit 1c42 --name 'build server'\n  \
        portcullis key edit 1c42 --name 'build server' --url https://gateway.example:8081")]
    Edit {
        /// Its id or access key
        key: String,
        #[command(flatten)]
        edit: EditArguments,
    },
    /// Let it work again
    #[command(after_help = "Examples:\n  portcullis key activate 1c42\n  \
        portcullis key activate 1c42 --url https://gateway.example:8081")]
    Activate {
        /// Its id or access key
        key: String,
    },
    /// Stop it at once
    #[command(after_help = "Examples:\n  portcullis key deactivate 1c42\n  \
        portcullis key deactivate 1c42 --url https://gateway.example:8081")]
    Deactivate {
        /// Its id or access key
        key: String,
        #[command(flatten)]
        confirmation: Confirmation,
    },
    /// Remove an inactive key for good
    #[command(after_help = "Examples:\n  portcullis key deactivate 1c42\n  portcullis key delete 1c42\n  \
        portcullis key delete 1c42 --url https://gateway.example:8081")]
    Delete {
        /// Its id or access key
        key: String,
        #[command(flatten)]
        confirmation: Confirmation,
    },
}

/// Whose key it is.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct OwnerArguments {
    /// Acts for this account (id or name)
    #[arg(long)]
    account: Option<String>,
    /// Reaches only this environment (id or name)
    #[arg(long)]
    environment: Option<String>,
}

/// Whose keys are listed.
#[derive(Debug, Args)]
#[group(required = false, multiple = false)]
pub(super) struct OptionalOwner {
    /// Only this account's keys (id or name)
    #[arg(long)]
    account: Option<String>,
    /// Only this environment's own keys (id or name)
    #[arg(long)]
    environment: Option<String>,
}

impl Command {
    pub(super) fn run(&self, backend: &mut Backend, output: Format) -> anyhow::Result<ExitCode> {
        match self {
            Self::Create { owner, name, description, access_key, secret_file } => {
                let name = site::name(name.as_deref())?;
                let description = site::description(description.as_deref())?;
                let owner = backend
                    .owner(owner.account.as_deref(), owner.environment.as_deref())?
                    .ok_or_else(|| anyhow::anyhow!("say whose key it is: --account or --environment"))?;
                match access_key.as_ref().zip(secret_file.as_deref()) {
                    None => {
                        let mut new = backend.create_key(owner, name, description)?;
                        // first of all: what is not printed now is lost
                        print_new(&new.done.seen, &new.secret, output)?;
                        backend.confirm(&mut new.done);
                        Ok(new.done.exit())
                    }
                    Some((access_key, file)) => {
                        let secret = import::read_secret(file)?;
                        let brought = Brought { access_key: access_key.clone(), secret };
                        let mut made = backend.import_key(owner, name, description, brought)?;
                        backend.confirm(&mut made);
                        show(&made.seen, output)?;
                        Ok(made.exit())
                    }
                }
            }
            Self::List { owner } => {
                let owner = backend.owner(owner.account.as_deref(), owner.environment.as_deref())?;
                let headings =
                    ["ID", "ACCESS KEY", "OWNER", "NAME", "STATE", "CREATED", "LAST USED", "DESCRIPTION"];
                let mut list = List::new(output, headings);
                backend.keys(owner.as_ref(), &mut |part| list.part(&part, "apiKey", row, ours))?;
                list.end()?;
                Ok(ExitCode::SUCCESS)
            }
            Self::Show { key } => {
                show(&backend.key(key)?, output)?;
                Ok(ExitCode::SUCCESS)
            }
            Self::Edit { key, edit } => {
                let mut edited = backend.edit_key(key, &edit.edit()?)?;
                backend.confirm(&mut edited);
                show(&edited.seen, output)?;
                Ok(edited.exit())
            }
            Self::Activate { key } => set_state(backend, key, State::Active, Confirmation::NONE, output),
            Self::Deactivate { key, confirmation } => {
                set_state(backend, key, State::Inactive, *confirmation, output)
            }
            Self::Delete { key, confirmation } => {
                set_state(backend, key, State::Removed, *confirmation, output)
            }
        }
    }
}

fn set_state(
    backend: &mut Backend,
    key: &str,
    state: State,
    confirmation: Confirmation,
    output: Format,
) -> anyhow::Result<ExitCode> {
    let mut changed = backend.set_key_state(key, state, confirmation)?;
    backend.confirm(&mut changed);
    print_change(&changed, output)?;
    if state != State::Active {
        backend.warn_where_no_admin_is_left(&changed.seen.object.key.owner)?;
    }
    Ok(changed.exit())
}

/// The document where the API has sent none.
fn ours(entry: &KeyEntry, view: &View) -> Value {
    document::key(entry, None, view)
}

fn print_change(changed: &Done<KeyEntry>, output: Format) -> anyhow::Result<()> {
    let key = &changed.seen.object.key;
    match output {
        Format::Json => print_json(&changed.document(ours)),
        Format::Table => {
            let what = format!("key {} ({}) is {}", key.access_key, key.id, key.state);
            print(&changed.lines(what))
        }
    }
}

/// Prints a new key with its secret. Where that fails, the key is of no use to anyone.
pub(super) fn print_new(new: &Seen<KeyEntry>, secret: &str, output: Format) -> anyhow::Result<()> {
    let key = &new.object.key;
    let shown = Zeroizing::new(match output {
        Format::Json => {
            let mut document = new.document(ours).into_owned();
            document["secretValue"] = secret.into();
            let text = json_text(&document);
            if let Some(Value::String(secret)) = document.get_mut("secretValue") {
                secret.zeroize();
            }
            text
        }
        Format::Table => fields_text(&[
            ("access key", key.access_key.to_string()),
            ("secret key", secret.to_owned()),
            ("id", key.id.to_string()),
            ("owner", owner(key)),
            ("name", text(key.name.as_ref())),
        ]),
    });
    print_once(&shown).map_err(|error| {
        error.context(format!(
            "key {} was made, but its secret was not shown: make another (`portcullis key create`), and deactivate \
             and delete this one",
            key.access_key
        ))
    })?;
    tell("The secret key is shown this once and cannot be read again: keep it now.");
    Ok(())
}

fn show(seen: &Seen<KeyEntry>, output: Format) -> anyhow::Result<()> {
    let KeyEntry { key, usage, .. } = &seen.object;
    match output {
        Format::Json => print_json(&seen.document(ours)),
        Format::Table => print_fields(&[
            ("id", key.id.to_string()),
            ("access key", key.access_key.to_string()),
            ("owner", owner(key)),
            ("name", text(key.name.as_ref())),
            ("state", seen.state(key.state)),
            ("description", text(key.description.as_ref())),
            ("created", time(Some(key.created))),
            ("last used", last_used(usage)),
            ("removed", time(key.removed)),
            ("uuid", key.uuid.clone()),
        ]),
    }
}

/// When, from where, how often.
fn last_used(usage: &KeyUsage) -> String {
    let mut text = time(usage.at);
    if let Some(address) = usage.address {
        text = format!("{text} from {address}");
    }
    match usage.uses {
        0 => text,
        1 => format!("{text}, 1 request"),
        uses => format!("{text}, {uses} requests"),
    }
}

fn row(seen: &Seen<KeyEntry>) -> [String; 8] {
    let KeyEntry { key, usage, .. } = &seen.object;
    [
        key.id.to_string(),
        key.access_key.to_string(),
        owner(key),
        text(key.name.as_ref()),
        seen.state(key.state),
        time(Some(key.created)),
        time(usage.at),
        text(key.description.as_ref()),
    ]
}

fn owner(key: &ApiKey) -> String {
    match &key.owner {
        KeyOwner::Account(id) => format!("account {id}"),
        KeyOwner::Environment(id) => format!("environment {id}"),
    }
}
