//! The commands: parse, call, print.
//!
//! Exit status: 0 done; 1 refused or failed, with the reason on stderr; 2 usage; 3 done in the record, but not yet
//! confirmed by every gateway.

mod account;
mod arguments;
mod audit;
mod backend;
mod certificate;
mod check;
mod chosen_pair;
mod demo;
mod environment;
mod explain;
mod gateways;
mod init;
mod issue_key;
mod key;
mod key_import;
mod list;
mod local_store;
mod output;
mod remote;
mod results;
mod route_table;
mod running_gateway;
mod security_warnings;
mod serve;
mod shell;
mod store;
mod syslog;
mod usage_tips;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::ConfigErrors;
use crate::server::{ControlRequest, ServeError};
use backend::Backend;
use output::{Format, eprint_line};
use remote::Remote;

/// A gateway in front of an HTTP API that knows which API key may reach what.
#[derive(Debug, Parser)]
#[command(
    name = "portcullis",
    version,
    max_term_width = 110,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = EXIT_STATUS,
    after_long_help = format!("{FIRST_STEPS}\n\n{EXIT_STATUS}")
)]
struct Arguments {
    /// The configuration, by default the one in this folder
    #[arg(long, global = true, value_name = "FILE", default_value = DEFAULT_CONFIG, display_order = 100)]
    config: PathBuf,

    /// How results are printed: as text for people, or as the JSON of the management API for programs
    #[arg(long, global = true, value_name = "FORMAT", value_enum, default_value_t, display_order = 101)]
    output: Format,

    #[command(subcommand)]
    command: Command,
}

/// In the folder where the command runs.
const DEFAULT_CONFIG: &str = "portcullis.yaml";

const FIRST_STEPS: &str = "First steps:
  portcullis demo          shows it at work, and leaves nothing behind
  portcullis init          writes portcullis.yaml; say in it where your API is
  portcullis check         what is wrong in it, or who reaches what
  portcullis serve         runs the gateway
  portcullis environment create --id e1
  portcullis key create --environment e1
  portcullis explain --key ACCESS_KEY GET /v1/projects/e1/hosts";

const EXIT_STATUS: &str = "Exit status: 0 done; 1 refused or failed, with the reason on stderr; 2 wrong usage; \
    3 done in the record, but not yet confirmed by the gateways that the output names.";

// A variant's own doc comment would take the place of what its type says at length, so most have none.
#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Demo),
    Init(init::Init),
    Serve(serve::Serve),
    Reload(running_gateway::Reload),
    Upgrade(running_gateway::Upgrade),
    Health(running_gateway::Health),
    Check(check::Check),
    Explain(explain::Explain),
    /// Manage accounts: who owns keys
    Account(Managing<account::Command>),
    /// Manage environments, and who belongs to them
    Environment(Managing<environment::Command>),
    /// Manage API keys
    Key(Managing<key::Command>),
    Audit(audit::Audit),
    Gateways(gateways::GatewayList),
    Completions(shell::Completions),
    ManPage(shell::ManPage),
    /// Back up, restore or move a whole store
    Store {
        #[command(subcommand)]
        command: store::Command,
    },
}

/// A command that works on the store, or over a running gateway's API.
#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
struct Managing<C: Subcommand> {
    #[command(flatten)]
    remote: Remote,
    #[command(subcommand)]
    command: C,
}

/// Runs the program.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return wrong_usage(&usage_tips::with_tip(error)),
    };
    run(arguments).unwrap_or_else(|error| {
        if let Some(error) = error.downcast_ref() {
            return wrong_usage(error);
        }
        let errors = match error.downcast_ref() {
            Some(ServeError::Config(errors)) => Some(errors),
            _ => error.downcast_ref::<ConfigErrors>(),
        };
        if let Some(errors) = errors {
            // each line begins with its own place, as editors expect it
            eprint_line(errors);
            let (count, s) = (errors.0.len(), if errors.0.len() == 1 { "" } else { "s" });
            eprint_line(format_args!("portcullis: {count} mistake{s} in the configuration"));
        } else {
            eprint_line(format_args!("portcullis: {}", reason(&error)));
        }
        ExitCode::FAILURE
    })
}

/// Wrong usage, or a question for help.
fn wrong_usage(error: &clap::Error) -> ExitCode {
    // what cannot be printed cannot be reported either
    let _ = error.print();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// The error and its causes, without those that it names itself.
fn reason(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let Arguments { config, output, command } = arguments;
    match command {
        Command::Demo(demo::Demo {}) => demo::run()?,
        Command::Init(init) => init.run(&config, output)?,
        Command::Serve(serve::Serve {}) => serve::run(&config)?,
        Command::Reload(running_gateway::Reload {}) => running_gateway::ask(&config, ControlRequest::Reload)?,
        Command::Upgrade(running_gateway::Upgrade {}) => {
            running_gateway::ask(&config, ControlRequest::Upgrade)?;
        }
        Command::Health(running_gateway::Health {}) => running_gateway::ask(&config, ControlRequest::Health)?,
        Command::Completions(completions) => completions.run()?,
        Command::ManPage(man_page) => man_page.run()?,
        Command::Check(check::Check {}) => check::run(&config, output)?,
        Command::Explain(explain) => return explain.run(&config, output),
        Command::Audit(audit) => audit.run(&config)?,
        Command::Gateways(gateways::GatewayList {}) => gateways::run(&config, output)?,
        Command::Store { command } => command.run(&config)?,
        Command::Account(Managing { remote, command }) => {
            return command.run(&mut Backend::open(&remote, &config)?, output);
        }
        Command::Environment(Managing { remote, command }) => {
            return command.run(&mut Backend::open(&remote, &config)?, output);
        }
        Command::Key(Managing { remote, command }) => {
            return command.run(&mut Backend::open(&remote, &config)?, output);
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_contradicts_itself_nowhere() {
        super::Arguments::command().debug_assert();
    }

    #[test]
    fn the_help_of_every_command_has_an_example() {
        fn without(command: &mut clap::Command, names: &str, found: &mut Vec<String>) {
            if command.get_subcommands().next().is_some() {
                for command in command.get_subcommands_mut() {
                    let names = format!("{names} {}", command.get_name());
                    without(command, &names, found);
                }
            } else if !command.render_long_help().to_string().contains(&format!("\n  {names}")) {
                found.push(names.to_owned());
            }
        }
        let mut found = Vec::new();
        without(&mut super::Arguments::command(), "portcullis", &mut found);
        assert_eq!(found, Vec::<String>::new());
    }

    #[test]
    fn a_cause_is_told_once() {
        let error = || anyhow::anyhow!("disk full");
        assert_eq!(super::reason(&error().context("cannot write")), "cannot write: disk full");
        assert_eq!(super::reason(&error().context("cannot write: disk full")), "cannot write: disk full");
    }
}
