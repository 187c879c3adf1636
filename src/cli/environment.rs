//! `portcullis environment`, and `portcullis environment member`.

use std::path::Path;

use clap::Subcommand;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};

use super::document;
use super::output::{Format, print, print_fields, print_json, print_table, text, time};
use super::site::{self, EditArguments, Site};
use crate::model::{Environment, EnvironmentId, Membership, Role, State};
use crate::store::{ChangeNumber, NewEnvironment};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make an environment: a part of the upstream's resources, named by one path segment
    #[command(after_help = "Examples:\n  portcullis environment create --id 1a5\n  \
        portcullis environment create --id 1a7 --name production --owner alice")]
    Create {
        /// The path segment that stands for it at the upstream
        #[arg(long)]
        id: EnvironmentId,
        /// What it is called
        #[arg(long)]
        name: Option<String>,
        /// Free text
        #[arg(long)]
        description: Option<String>,
        /// The account (id or name) that becomes its first owner
        #[arg(long, value_name = "ACCOUNT")]
        owner: Option<String>,
    },
    /// List all environments
    #[command(
        after_help = "Examples:\n  portcullis environment list\n  portcullis environment list --output json"
    )]
    List,
    /// Show one environment
    #[command(after_help = "Example:\n  portcullis environment show production")]
    Show {
        /// Its id or name
        environment: String,
    },
    /// Change the name or the description
    #[command(after_help = "Example:\n  portcullis environment edit 1a7 --name production")]
    Edit {
        /// Its id or name
        environment: String,
        #[command(flatten)]
        edit: EditArguments,
    },
    /// Open it again
    #[command(after_help = "Example:\n  portcullis environment activate production")]
    Activate {
        /// Its id or name
        environment: String,
    },
    /// Close it to every key at once
    #[command(after_help = "Example:\n  portcullis environment deactivate production")]
    Deactivate {
        /// Its id or name
        environment: String,
    },
    /// Remove an inactive environment for good, with its keys and memberships
    #[command(
        after_help = "Example:\n  portcullis environment deactivate 1a7\n  portcullis environment delete 1a7"
    )]
    Delete {
        /// Its id or name
        environment: String,
    },
    /// Manage who belongs to an environment
    #[command(subcommand)]
    Member(Member),
}

#[derive(Debug, Subcommand)]
pub(super) enum Member {
    /// Make an account a member, or give a member another role
    #[command(after_help = "Example:\n  \
        portcullis environment member add --environment production --account alice --role readonly")]
    Add {
        /// The environment's id or name
        #[arg(long)]
        environment: String,
        /// The account's id or name
        #[arg(long)]
        account: String,
        /// What the member may do: everything; everything but the environment itself and its members; the same, and
        /// the upstream may restrict it further; reading
        #[arg(long, value_parser = PossibleValuesParser::new(Role::ALL.map(Role::as_str))
            .try_map(|text| text.parse::<Role>()))]
        role: Role,
    },
    /// End a membership
    #[command(after_help = "Example:\n  \
        portcullis environment member remove --environment production --account alice")]
    Remove {
        /// The environment's id or name
        #[arg(long)]
        environment: String,
        /// The account's id or name
        #[arg(long)]
        account: String,
    },
    /// List an environment's members
    #[command(after_help = "Example:\n  portcullis environment member list --environment production")]
    List {
        /// The environment's id or name
        #[arg(long)]
        environment: String,
    },
}

impl Command {
    pub(super) fn run(&self, config: &Path, output: Format) -> anyhow::Result<()> {
        let mut site = Site::open(config)?;
        match self {
            Self::Create { id, name, description, owner } => {
                let owner = owner.as_deref().map(|owner| site.store.find_account(owner)).transpose()?;
                let new = NewEnvironment {
                    id: id.clone(),
                    name: site::name(name.as_deref())?,
                    description: site::description(description.as_deref())?,
                    owner: owner.map(|account| account.id),
                };
                show(&site.store.create_environment(&new)?.0, output)
            }
            Self::List => list(&site.store.environments()?, output),
            Self::Show { environment } => show(&site.store.find_environment(environment)?, output),
            Self::Edit { environment, edit } => {
                let id = site.store.find_environment(environment)?.id;
                show(&site.store.edit_environment(&id, &edit.edit()?)?.0, output)
            }
            Self::Activate { environment } => set_state(&mut site, environment, State::Active, output),
            Self::Deactivate { environment } => set_state(&mut site, environment, State::Inactive, output),
            Self::Delete { environment } => set_state(&mut site, environment, State::Removed, output),
            Self::Member(member) => member.run(&mut site, output),
        }
    }
}

impl Member {
    fn run(&self, site: &mut Site, output: Format) -> anyhow::Result<()> {
        match self {
            Self::Add { environment, account, role } => {
                let environment = site.store.find_environment(environment)?.id;
                let account = site.store.find_account(account)?.id;
                let membership = Membership { account, environment, role: *role };
                let number = site.store.add_member(&membership)?;
                match output {
                    Format::Json => print_json(&document::member(&membership)),
                    Format::Table => print(&format!(
                        "account {account} is {role} in environment {} (change {number})\n",
                        membership.environment
                    )),
                }
            }
            Self::Remove { environment, account } => {
                let environment = site.store.find_environment(environment)?.id;
                let account = site.store.find_account(account)?.id;
                let members = site.store.members(&environment)?;
                let number = site.store.remove_member(account, &environment)?;
                let ended = members.into_iter().find(|membership| membership.account == account);
                match (output, ended) {
                    (Format::Json, Some(membership)) => print_json(&document::member(&membership)),
                    _ => print(&format!(
                        "account {account} is no member of environment {environment} (change {number})\n"
                    )),
                }
            }
            Self::List { environment } => {
                let environment = site.store.find_environment(environment)?.id;
                list_members(site, &site.store.members(&environment)?, output)
            }
        }
    }
}

fn set_state(site: &mut Site, environment: &str, state: State, output: Format) -> anyhow::Result<()> {
    let id = site.store.find_environment(environment)?.id;
    let (environment, number) = site.store.set_environment_state(&id, state)?;
    print_change(&environment, number, output)
}

fn print_change(environment: &Environment, number: ChangeNumber, output: Format) -> anyhow::Result<()> {
    match output {
        Format::Json => print_json(&document::environment(environment)),
        Format::Table => {
            print(&site::state_line("environment", environment.id.as_str(), environment.state, number))
        }
    }
}

fn show(environment: &Environment, output: Format) -> anyhow::Result<()> {
    match output {
        Format::Json => print_json(&document::environment(environment)),
        Format::Table => print_fields(&[
            ("id", environment.id.to_string()),
            ("name", text(environment.name.as_ref())),
            ("state", environment.state.to_string()),
            ("description", text(environment.description.as_ref())),
            ("created", time(Some(environment.created))),
            ("removed", time(environment.removed)),
            ("uuid", environment.uuid.clone()),
        ]),
    }
}

fn list(environments: &[Environment], output: Format) -> anyhow::Result<()> {
    match output {
        Format::Json => {
            let data = environments.iter().map(document::environment);
            print_json(&document::collection("project", data))
        }
        Format::Table => print_table(
            ["ID", "NAME", "STATE", "CREATED", "DESCRIPTION"],
            environments.iter().map(|environment| {
                [
                    environment.id.to_string(),
                    text(environment.name.as_ref()),
                    environment.state.to_string(),
                    time(Some(environment.created)),
                    text(environment.description.as_ref()),
                ]
            }),
        ),
    }
}

fn list_members(site: &Site, members: &[Membership], output: Format) -> anyhow::Result<()> {
    match output {
        Format::Json => {
            let data = members.iter().map(document::member);
            print_json(&document::collection("projectMember", data))
        }
        Format::Table => {
            let row = |member: &Membership| -> anyhow::Result<[String; 3]> {
                let account = site.store.find_account(&member.account.to_string())?;
                Ok([account.id.to_string(), account.name.to_string(), member.role.to_string()])
            };
            let rows = members.iter().map(row).collect::<Result<Vec<_>, _>>()?;
            print_table(["ACCOUNT", "NAME", "ROLE"], rows)
        }
    }
}
