//! `portcullis key`.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use zeroize::Zeroizing;

use super::document;
use super::import;
use super::issue::{self, IssuedKey};
use super::output::{
    Format, fields_text, json_text, print, print_fields, print_json, print_once, print_table, tell, text,
    time,
};
use super::site::{self, EditArguments, Site};
use crate::auth::{ChosenPair, Peppers, Secret};
use crate::model::{AccessKey, AccountKind, ApiKey, KeyOwner, State};
use crate::store::{ChangeNumber, KeyEntry};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a key; its secret is printed this once
    #[command(after_help = "Examples:\n  \
        portcullis key create --account alice --name laptop\n  \
        portcullis key create --environment production --name ci --output json\n  \
        portcullis key create --environment 1a5 --access-key 0123456789ABCDEF0123 --secret-file old-secret")]
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
        after_help = "Examples:\n  portcullis key list\n  portcullis key list --environment production"
    )]
    List {
        #[command(flatten)]
        owner: OptionalOwner,
    },
    /// Show one key, when it was last used, and how often
    #[command(after_help = "Example:\n  portcullis key show 1c42")]
    Show {
        /// Its id or access key
        key: String,
    },
    /// Change the name or the description
    #[command(after_help = "Example:\n  portcullis key edit 1c42 --name 'build server'")]
    Edit {
        /// Its id or access key
        key: String,
        #[command(flatten)]
        edit: EditArguments,
    },
    /// Let it work again
    #[command(after_help = "Example:\n  portcullis key activate 1c42")]
    Activate {
        /// Its id or access key
        key: String,
    },
    /// Stop it at once
    #[command(after_help = "Example:\n  portcullis key deactivate 1c42")]
    Deactivate {
        /// Its id or access key
        key: String,
    },
    /// Remove an inactive key for good
    #[command(after_help = "Example:\n  portcullis key deactivate 1c42\n  portcullis key delete 1c42")]
    Delete {
        /// Its id or access key
        key: String,
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
    pub(super) fn run(&self, config: &Path, output: Format) -> anyhow::Result<()> {
        let mut site = Site::open(config)?;
        match self {
            Self::Create { owner, name, description, access_key, secret_file } => {
                let owner = wanted_owner(&site, owner.account.as_deref(), owner.environment.as_deref())?
                    .ok_or_else(|| anyhow::anyhow!("say whose key it is: --account or --environment"))?;
                let name = site::name(name.as_deref())?;
                let description = site::description(description.as_deref())?;
                match access_key.as_ref().zip(secret_file.as_deref()) {
                    None => {
                        let peppers = Peppers::load(&site.config.pepper_files)?;
                        let Site { config, store } = &mut site;
                        let IssuedKey { key, secret, .. } =
                            issue::issue_key(store, config, &peppers, owner, name, description)?;
                        print_new(&key, &secret, output)
                    }
                    Some((access_key, file)) => {
                        let secret = import::read_secret(file)?;
                        let pair = ChosenPair::new(access_key.clone(), secret, &site.config.key_prefix)?;
                        let (key, _) = import::import_key(&mut site, owner, &pair, name, description)?;
                        show(&site.store.key_entry(key.id)?, output)
                    }
                }
            }
            Self::List { owner } => {
                let owner = wanted_owner(&site, owner.account.as_deref(), owner.environment.as_deref())?;
                list(&site.store.keys(owner.as_ref())?, output)
            }
            Self::Show { key } => {
                let id = site.store.find_key(key)?.id;
                show(&site.store.key_entry(id)?, output)
            }
            Self::Edit { key, edit } => {
                let id = site.store.find_key(key)?.id;
                site.store.edit_key(id, &edit.edit()?)?;
                show(&site.store.key_entry(id)?, output)
            }
            Self::Activate { key } => set_state(&mut site, key, State::Active, output),
            Self::Deactivate { key } => set_state(&mut site, key, State::Inactive, output),
            Self::Delete { key } => set_state(&mut site, key, State::Removed, output),
        }
    }
}

fn wanted_owner(
    site: &Site,
    account: Option<&str>,
    environment: Option<&str>,
) -> anyhow::Result<Option<KeyOwner>> {
    Ok(match (account, environment) {
        (Some(account), _) => Some(KeyOwner::Account(site.store.find_account(account)?.id)),
        (None, Some(environment)) => {
            Some(KeyOwner::Environment(site.store.find_environment(environment)?.id))
        }
        (None, None) => None,
    })
}

fn set_state(site: &mut Site, key: &str, state: State, output: Format) -> anyhow::Result<()> {
    let id = site.store.find_key(key)?.id;
    let (key, number) = site.store.set_key_state(id, state)?;
    print_change(&key, number, output)?;
    let of_admin = match &key.owner {
        KeyOwner::Account(account) => {
            site.store.find_account(&account.to_string())?.kind == AccountKind::Admin
        }
        KeyOwner::Environment(_) => false,
    };
    if of_admin && state != State::Active { site.warn_without_admin_key() } else { Ok(()) }
}

fn print_change(key: &ApiKey, number: ChangeNumber, output: Format) -> anyhow::Result<()> {
    match output {
        Format::Json => print_json(&document::key(key, None)),
        Format::Table => {
            print(&site::state_line("key", &format!("{} ({})", key.access_key, key.id), key.state, number))
        }
    }
}

/// Prints a new key with its secret. Where that fails, the key is of no use to anyone.
pub(super) fn print_new(key: &ApiKey, secret: &Secret, output: Format) -> anyhow::Result<()> {
    let shown = Zeroizing::new(match output {
        Format::Json => json_text(&document::key(key, Some(secret.as_str()))),
        Format::Table => fields_text(&[
            ("access key", key.access_key.to_string()),
            ("secret key", secret.as_str().to_owned()),
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

fn show(entry: &KeyEntry, output: Format) -> anyhow::Result<()> {
    let KeyEntry { key, usage, .. } = entry;
    match output {
        Format::Json => print_json(&document::key(key, None)),
        Format::Table => {
            let count = match usage.uses {
                1 => "1 request".to_owned(),
                many => format!("{many} requests"),
            };
            let used = match (usage.at, usage.address) {
                (Some(at), Some(address)) => format!("{} from {address}, {count}", time(Some(at))),
                (at, _) => time(at),
            };
            print_fields(&[
                ("id", key.id.to_string()),
                ("access key", key.access_key.to_string()),
                ("owner", owner(key)),
                ("name", text(key.name.as_ref())),
                ("state", key.state.to_string()),
                ("description", text(key.description.as_ref())),
                ("created", time(Some(key.created))),
                ("last used", used),
                ("removed", time(key.removed)),
                ("uuid", key.uuid.clone()),
            ])
        }
    }
}

fn list(keys: &[ApiKey], output: Format) -> anyhow::Result<()> {
    match output {
        Format::Json => {
            let data = keys.iter().map(|key| document::key(key, None));
            print_json(&document::collection("apiKey", data))
        }
        Format::Table => print_table(
            ["ID", "ACCESS KEY", "OWNER", "NAME", "STATE", "CREATED", "DESCRIPTION"],
            keys.iter().map(|key| {
                [
                    key.id.to_string(),
                    key.access_key.to_string(),
                    owner(key),
                    text(key.name.as_ref()),
                    key.state.to_string(),
                    time(Some(key.created)),
                    text(key.description.as_ref()),
                ]
            }),
        ),
    }
}

fn owner(key: &ApiKey) -> String {
    match &key.owner {
        KeyOwner::Account(id) => format!("account {id}"),
        KeyOwner::Environment(id) => format!("environment {id}"),
    }
}
