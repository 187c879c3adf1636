//! `portcullis environment`, and `portcullis environment member`.

use std::process::ExitCode;

use clap::Subcommand;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use serde_json::Value;

use super::arguments::{self, EditArguments};
use super::backend::Backend;
use super::list::List;
use super::output::{Format, fields_text, print_fields, print_json, text, time};
use super::results::{Changed, Fetched};
use crate::management::resource_json::{self, RenderOptions};
use crate::model::{Environment, EnvironmentId, Membership, Role, State};
use crate::store::{MemberEntry, ObjectId};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make an environment: a part of the upstream's resources, named by one path segment
    #[command(after_help = "Examples:\n  portcullis environment create --id 1a5\n  \
        portcullis environment create --id 1a7 --name production --owner alice\n  \
        portcullis environment create --name staging --url https://gateway.example:8081")]
    Create {
        /// The path segment that names it in your API; without it, a random one
        #[arg(long)]
        id: Option<EnvironmentId>,
        /// What it is called
        #[arg(long)]
        name: Option<String>,
        /// Free text
        #[arg(long)]
        description: Option<String>,
        /// The account (id or name) that becomes its first owner; with --url it is otherwise the one whose key asks
        #[arg(long, value_name = "ACCOUNT")]
        owner: Option<String>,
    },
    /// List all environments
    #[command(
        after_help = "Examples:\n  portcullis environment list\n  portcullis environment list --output json\n  \
            portcullis environment list --url https://gateway.example:8081"
    )]
    List,
    /// Show one environment
    #[command(after_help = "Examples:\n  portcullis environment show production\n  \
        portcullis environment show production --url https://gateway.example:8081")]
    Show {
        /// Its id or name
        environment: String,
    },
    /// Change the name or the description
    #[command(after_help = "Examples:\n  portcullis environment edit 1a7 --name production\n  \
        portcullis environment edit 1a7 --name production --url https://gateway.example:8081")]
    Edit {
        /// Its id or name
        environment: String,
        #[command(flatten)]
        edit: EditArguments,
    },
    /// Open it again
    #[command(after_help = "Examples:\n  portcullis environment activate production\n  \
        portcullis environment activate production --url https://gateway.example:8081")]
    Activate {
        /// Its id or name
        environment: String,
    },
    /// Close it to every key at once
    #[command(after_help = "Examples:\n  portcullis environment deactivate production\n  \
        portcullis environment deactivate production --url https://gateway.example:8081")]
    Deactivate {
        /// Its id or name
        environment: String,
    },
    /// Close an environment and remove it for good, with its keys and memberships. Its id can never be used again
    #[command(after_help = "Examples:\n  portcullis environment delete 1a7\n  \
        portcullis environment delete 1a7 --url https://gateway.example:8081")]
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
    #[command(after_help = "Examples:\n  \
        portcullis environment member add --environment production --account alice --role readonly\n  \
        portcullis environment member add --environment 1a7 --account 1a2 --role member \\\n    \
            --url https://gateway.example:8081")]
    Add {
        /// The environment's id or name
        #[arg(long)]
        environment: String,
        /// The account's id or name; with --url, if your key is not an admin's, its id
        #[arg(long)]
        account: String,
        /// owner: everything; member: everything but the environment itself and its members; restricted: as member,
        /// and your API may restrict it further; readonly: reads
        #[arg(long, value_parser = PossibleValuesParser::new(Role::ALL.map(Role::as_str))
            .try_map(|text| text.parse::<Role>()))]
        role: Role,
    },
    /// End a membership
    #[command(after_help = "Examples:\n  \
        portcullis environment member remove --environment production --account alice\n  \
        portcullis environment member remove --environment 1a7 --account 1a2 --url https://gateway.example:8081")]
    Remove {
        /// The environment's id or name
        #[arg(long)]
        environment: String,
        /// The account's id or name; with --url, if your key is not an admin's, its id
        #[arg(long)]
        account: String,
    },
    /// List an environment's members
    #[command(after_help = "Examples:\n  portcullis environment member list --environment production\n  \
        portcullis environment member list --environment 1a7 --url https://gateway.example:8081")]
    List {
        /// The environment's id or name
        #[arg(long)]
        environment: String,
    },
}

impl Command {
    pub(super) fn run(&self, backend: &mut Backend, output: Format) -> anyhow::Result<ExitCode> {
        match self {
            Self::Create { id, name, description, owner } => {
                let name = arguments::name(name.as_deref())?;
                let description = arguments::description(description.as_deref())?;
                let members = match owner {
                    Some(owner) => vec![(backend.account_id(owner)?, Role::Owner)],
                    None => Vec::new(),
                };
                let mut made = backend.create_environment(id.clone(), name, description, members)?;
                backend.await_receipt(&mut made);
                print_whole(&made, output)?;
                warn_of_namesakes(backend, &made);
                Ok(made.exit())
            }
            Self::List => {
                let mut list = List::new(output, ["ID", "NAME", "STATE", "CREATED", "DESCRIPTION"]);
                backend.environments(&mut |part| list.part(&part, "project", row, to_document))?;
                list.end()?;
                Ok(ExitCode::SUCCESS)
            }
            Self::Show { environment } => {
                show(&backend.environment(environment)?, output)?;
                Ok(ExitCode::SUCCESS)
            }
            Self::Edit { environment, edit } => {
                let mut edited = backend.edit_environment(environment, &edit.edit()?)?;
                backend.await_receipt(&mut edited);
                print_whole(&edited, output)?;
                if edit.names() {
                    warn_of_namesakes(backend, &edited);
                }
                Ok(edited.exit())
            }
            Self::Activate { environment } => set_state(backend, environment, State::Active, output),
            Self::Deactivate { environment } => set_state(backend, environment, State::Inactive, output),
            Self::Delete { environment } => set_state(backend, environment, State::Removed, output),
            Self::Member(member) => member.run(backend, output),
        }
    }
}

impl Member {
    fn run(&self, backend: &mut Backend, output: Format) -> anyhow::Result<ExitCode> {
        match self {
            Self::Add { environment, account, role } => {
                let environment = backend.environment(environment)?.object.id;
                let account = backend.account_id(account)?;
                let membership = Membership { account, environment, role: *role };
                let mut added = backend.add_member(&membership)?;
                backend.await_receipt(&mut added);
                let environment = &membership.environment;
                let what_is_so =
                    format!("account {account} has the role {role} in environment {environment}");
                added.print(output, "", what_is_so, member_to_document)?;
                Ok(added.exit())
            }
            Self::Remove { environment, account } => {
                let environment = backend.environment(environment)?.object.id;
                let account = backend.account_id(account)?;
                let mut removed = backend.remove_member(account, &environment)?;
                backend.await_receipt(&mut removed);
                let what_is_so = format!("account {account} is no member of environment {environment}");
                // as the API says it of a membership that has just ended
                let state = removed.fetched.state(State::Removed);
                removed.print(output, "", what_is_so, |entry, options| {
                    let mut document = member_to_document(entry, options);
                    document["state"] = state.as_str().into();
                    document
                })?;
                Ok(removed.exit())
            }
            Self::List { environment } => {
                let environment = backend.environment(environment)?.object.id;
                let mut list = List::new(output, ["ACCOUNT", "NAME", "ROLE"]);
                let row = |Fetched { object, .. }: &Fetched<MemberEntry>| {
                    let Membership { account, role, .. } = &object.membership;
                    [account.to_string(), object.name.clone(), role.to_string()]
                };
                backend.members(&environment, &mut |part| {
                    list.part(&part, "projectMember", row, member_to_document)
                })?;
                list.end()?;
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

fn set_state(
    backend: &mut Backend,
    environment: &str,
    state: State,
    output: Format,
) -> anyhow::Result<ExitCode> {
    let mut changed = backend.set_environment_state(environment, state)?;
    backend.await_receipt(&mut changed);
    changed.print(output, "", what_is_so(&changed.fetched.object), to_document)?;
    Ok(changed.exit())
}

fn warn_of_namesakes(backend: &mut Backend, changed: &Changed<Environment>) {
    let environment = &changed.fetched.object;
    if let Some(name) = &environment.name {
        backend.warn_of_namesakes(&ObjectId::Environment(environment.id.clone()), name);
    }
}

/// Prints an environment that was created or edited, whole.
fn print_whole(changed: &Changed<Environment>, output: Format) -> anyhow::Result<()> {
    let fields = fields_text(&fields(&changed.fetched));
    changed.print(output, &fields, what_is_so(&changed.fetched.object), to_document)
}

fn what_is_so(environment: &Environment) -> String {
    format!("environment {} is {}", environment.id, environment.state)
}

/// The document where the API has sent none.
fn to_document(environment: &Environment, options: &RenderOptions) -> Value {
    resource_json::environment(environment, options)
}

fn member_to_document(entry: &MemberEntry, options: &RenderOptions) -> Value {
    resource_json::member(entry, options)
}

fn show(fetched: &Fetched<Environment>, output: Format) -> anyhow::Result<()> {
    match output {
        Format::Json => print_json(&fetched.document(to_document)),
        Format::Table => print_fields(&fields(fetched)),
    }
}

fn fields(fetched: &Fetched<Environment>) -> [(&'static str, String); 7] {
    let environment = &fetched.object;
    [
        ("id", environment.id.to_string()),
        ("name", text(environment.name.as_ref())),
        ("state", fetched.state(environment.state)),
        ("description", text(environment.description.as_ref())),
        ("created", time(Some(environment.created))),
        ("removed", time(environment.removed)),
        ("uuid", environment.uuid.clone()),
    ]
}

fn row(fetched: &Fetched<Environment>) -> [String; 5] {
    let environment = &fetched.object;
    [
        environment.id.to_string(),
        text(environment.name.as_ref()),
        fetched.state(environment.state),
        time(Some(environment.created)),
        text(environment.description.as_ref()),
    ]
}
