//! `portcullis account`.

use std::path::Path;

use clap::Subcommand;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};

use super::document;
use super::output::{Format, print, print_fields, print_json, print_table, text, time};
use super::site::{self, EditArguments, Site};
use crate::model::{Account, AccountKind, State};
use crate::store::{ChangeNumber, NewAccount};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make an account
    #[command(after_help = "Examples:\n  portcullis account create --name alice\n  \
        portcullis account create --name ops --kind admin --description 'on-call team'")]
    Create {
        /// What it is called
        #[arg(long)]
        name: String,
        /// An admin reaches and manages everything, a user the environments it is a member of
        #[arg(long, default_value = "user", value_parser = PossibleValuesParser::new(["admin", "user"])
            .try_map(|text| text.parse::<AccountKind>()))]
        kind: AccountKind,
        /// Free text
        #[arg(long)]
        description: Option<String>,
    },
    /// List all accounts
    #[command(after_help = "Examples:\n  portcullis account list\n  portcullis account list --output json")]
    List,
    /// Show one account
    #[command(
        after_help = "Examples:\n  portcullis account show alice\n  portcullis account show 1a2 --output json"
    )]
    Show {
        /// Its id or name
        account: String,
    },
    /// Change the name or the description
    #[command(after_help = "Example:\n  portcullis account edit alice --description 'left the team in May'")]
    Edit {
        /// Its id or name
        account: String,
        #[command(flatten)]
        edit: EditArguments,
    },
    /// Let its keys work again
    #[command(after_help = "Example:\n  portcullis account activate alice")]
    Activate {
        /// Its id or name
        account: String,
    },
    /// Stop all of its keys at once
    #[command(after_help = "Example:\n  portcullis account deactivate alice")]
    Deactivate {
        /// Its id or name
        account: String,
    },
    /// Remove an inactive account for good, with its keys and memberships
    #[command(
        after_help = "Example:\n  portcullis account deactivate alice\n  portcullis account delete alice"
    )]
    Delete {
        /// Its id or name
        account: String,
    },
}

impl Command {
    pub(super) fn run(&self, config: &Path, output: Format) -> anyhow::Result<()> {
        let mut site = Site::open(config)?;
        match self {
            Self::Create { name, kind, description } => {
                let name =
                    site::name(Some(name))?.ok_or_else(|| anyhow::anyhow!("an account needs a name"))?;
                let description = site::description(description.as_deref())?;
                let (account, _) =
                    site.store.create_account(&NewAccount { name, kind: *kind, description })?;
                show(&account, output)
            }
            Self::List => list(&site.store.accounts()?, output),
            Self::Show { account } => show(&site.store.find_account(account)?, output),
            Self::Edit { account, edit } => {
                let id = site.store.find_account(account)?.id;
                show(&site.store.edit_account(id, &edit.edit()?)?.0, output)
            }
            Self::Activate { account } => set_state(&mut site, account, State::Active, output),
            Self::Deactivate { account } => set_state(&mut site, account, State::Inactive, output),
            Self::Delete { account } => set_state(&mut site, account, State::Removed, output),
        }
    }
}

fn set_state(site: &mut Site, account: &str, state: State, output: Format) -> anyhow::Result<()> {
    let id = site.store.find_account(account)?.id;
    let (account, number) = site.store.set_account_state(id, state)?;
    print_change(&account, number, output)?;
    if account.kind == AccountKind::Admin && state != State::Active {
        site.warn_without_admin_key()
    } else {
        Ok(())
    }
}

fn print_change(account: &Account, number: ChangeNumber, output: Format) -> anyhow::Result<()> {
    match output {
        Format::Json => print_json(&document::account(account)),
        Format::Table => {
            let called = format!("{} ({})", account.name, account.id);
            print(&site::state_line("account", &called, account.state, number))
        }
    }
}

fn show(account: &Account, output: Format) -> anyhow::Result<()> {
    match output {
        Format::Json => print_json(&document::account(account)),
        Format::Table => print_fields(&[
            ("id", account.id.to_string()),
            ("name", account.name.to_string()),
            ("kind", account.kind.as_str().to_owned()),
            ("state", account.state.to_string()),
            ("description", text(account.description.as_ref())),
            ("created", time(Some(account.created))),
            ("removed", time(account.removed)),
            ("uuid", account.uuid.clone()),
        ]),
    }
}

fn list(accounts: &[Account], output: Format) -> anyhow::Result<()> {
    match output {
        Format::Json => print_json(&document::collection("account", accounts.iter().map(document::account))),
        Format::Table => print_table(
            ["ID", "NAME", "KIND", "STATE", "CREATED", "DESCRIPTION"],
            accounts.iter().map(|account| {
                [
                    account.id.to_string(),
                    account.name.to_string(),
                    account.kind.as_str().to_owned(),
                    account.state.to_string(),
                    time(Some(account.created)),
                    text(account.description.as_ref()),
                ]
            }),
        ),
    }
}
