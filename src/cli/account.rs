//! `portcullis account`.

use std::process::ExitCode;

use clap::Subcommand;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use serde_json::Value;

use super::arguments::{self, ConfirmSelf, EditArguments};
use super::backend::Backend;
use super::list::List;
use super::output::{Format, fields_text, print_fields, print_json, text, time};
use super::results::{Changed, Fetched};
use crate::management::resource_json::{self, RenderOptions};
use crate::model::{Account, AccountKind, KeyOwner, State};
use crate::store::{NewAccount, ObjectId};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make an account
    #[command(after_help = "Examples:\n  portcullis account create --name alice\n  \
        portcullis account create --name ops --kind admin --description 'on-call team'\n  \
        portcullis account create --name alice --url https://gateway.example:8081")]
    Create {
        /// What it is called. Names are not unique: if another account has this one, use ids to tell them apart
        #[arg(long)]
        name: String,
        /// An admin reaches and manages everything; a user reaches the environments it is a member of, and what routes with
        /// 'account: allow' open to every account
        #[arg(long, default_value = "user", value_parser = PossibleValuesParser::new(["admin", "user"])
            .try_map(|text| text.parse::<AccountKind>()))]
        kind: AccountKind,
        /// Free text
        #[arg(long)]
        description: Option<String>,
    },
    /// List all accounts
    #[command(
        after_help = "Examples:\n  portcullis account list\n  portcullis account list --output json\n  \
        portcullis account list --url https://gateway.example:8081"
    )]
    List,
    /// Show one account
    #[command(
        after_help = "Examples:\n  portcullis account show alice\n  portcullis account show 1a2 --output json\n  \
            portcullis account show alice --url https://gateway.example:8081"
    )]
    Show {
        /// Its id or name
        account: String,
    },
    /// Change the name or the description
    #[command(
        after_help = "Examples:\n  portcullis account edit alice --description 'left the team in May'\n  \
        portcullis account edit alice --name alicia --url https://gateway.example:8081"
    )]
    Edit {
        /// Its id or name
        account: String,
        #[command(flatten)]
        edit: EditArguments,
    },
    /// Let its keys work again
    #[command(after_help = "Examples:\n  portcullis account activate alice\n  \
        portcullis account activate alice --url https://gateway.example:8081")]
    Activate {
        /// Its id or name
        account: String,
    },
    /// Stop all of its keys at once
    #[command(after_help = "Examples:\n  portcullis account deactivate alice\n  \
        portcullis account deactivate alice --url https://gateway.example:8081")]
    Deactivate {
        /// Its id or name
        account: String,
        #[command(flatten)]
        confirmation: ConfirmSelf,
    },
    /// Remove an inactive account for good, with its keys and memberships
    #[command(
        after_help = "Examples:\n  portcullis account deactivate alice\n  portcullis account delete alice\n  \
            portcullis account delete alice --url https://gateway.example:8081"
    )]
    Delete {
        /// Its id or name
        account: String,
        #[command(flatten)]
        confirmation: ConfirmSelf,
    },
}

impl Command {
    pub(super) fn run(&self, backend: &mut Backend, output: Format) -> anyhow::Result<ExitCode> {
        match self {
            Self::Create { name, kind, description } => {
                let name =
                    arguments::name(Some(name))?.ok_or_else(|| anyhow::anyhow!("an account needs a name"))?;
                let description = arguments::description(description.as_deref())?;
                let mut made = backend.create_account(&NewAccount { name, kind: *kind, description })?;
                backend.await_receipt(&mut made);
                print_whole(&made, output)?;
                warn_of_namesakes(backend, &made);
                Ok(made.exit())
            }
            Self::List => {
                let headings = ["ID", "NAME", "KIND", "STATE", "CREATED", "DESCRIPTION"];
                let mut list = List::new(output, headings);
                backend.accounts(&mut |part| list.part(&part, "account", row, to_document))?;
                list.end()?;
                Ok(ExitCode::SUCCESS)
            }
            Self::Show { account } => {
                show(&backend.account(account)?, output)?;
                Ok(ExitCode::SUCCESS)
            }
            Self::Edit { account, edit } => {
                let mut edited = backend.edit_account(account, &edit.edit()?)?;
                backend.await_receipt(&mut edited);
                print_whole(&edited, output)?;
                if edit.names() {
                    warn_of_namesakes(backend, &edited);
                }
                Ok(edited.exit())
            }
            Self::Activate { account } => {
                set_state(backend, account, State::Active, ConfirmSelf::NONE, output)
            }
            Self::Deactivate { account, confirmation } => {
                set_state(backend, account, State::Inactive, *confirmation, output)
            }
            Self::Delete { account, confirmation } => {
                set_state(backend, account, State::Removed, *confirmation, output)
            }
        }
    }
}

fn set_state(
    backend: &mut Backend,
    account: &str,
    state: State,
    confirmation: ConfirmSelf,
    output: Format,
) -> anyhow::Result<ExitCode> {
    let mut changed = backend.set_account_state(account, state, confirmation)?;
    backend.await_receipt(&mut changed);
    changed.print(output, "", what_is_so(&changed.fetched.object), to_document)?;
    if state != State::Active {
        backend.warn_where_no_admin_is_left(&KeyOwner::Account(changed.fetched.object.id))?;
    }
    Ok(changed.exit())
}

fn warn_of_namesakes(backend: &mut Backend, changed: &Changed<Account>) {
    let account = &changed.fetched.object;
    backend.warn_of_namesakes(&ObjectId::Account(account.id), &account.name);
}

/// The document where the API has sent none.
fn to_document(account: &Account, options: &RenderOptions) -> Value {
    resource_json::account(account, options)
}

/// Prints an account that was created or edited, whole.
fn print_whole(changed: &Changed<Account>, output: Format) -> anyhow::Result<()> {
    let fields = fields_text(&fields(&changed.fetched));
    changed.print(output, &fields, what_is_so(&changed.fetched.object), to_document)
}

fn what_is_so(account: &Account) -> String {
    format!("account {} ({}) is {}", account.name, account.id, account.state)
}

fn show(fetched: &Fetched<Account>, output: Format) -> anyhow::Result<()> {
    match output {
        Format::Json => print_json(&fetched.document(to_document)),
        Format::Table => print_fields(&fields(fetched)),
    }
}

fn fields(fetched: &Fetched<Account>) -> [(&'static str, String); 8] {
    let account = &fetched.object;
    [
        ("id", account.id.to_string()),
        ("name", account.name.to_string()),
        ("kind", account.kind.as_str().to_owned()),
        ("state", fetched.state(account.state)),
        ("description", text(account.description.as_ref())),
        ("created", time(Some(account.created))),
        ("removed", time(account.removed)),
        ("uuid", account.uuid.clone()),
    ]
}

fn row(fetched: &Fetched<Account>) -> [String; 6] {
    let account = &fetched.object;
    [
        account.id.to_string(),
        account.name.to_string(),
        account.kind.as_str().to_owned(),
        fetched.state(account.state),
        time(Some(account.created)),
        text(account.description.as_ref()),
    ]
}
