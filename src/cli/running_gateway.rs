//! `portcullis reload`, `upgrade`, `health`: what the gateway that runs with a configuration is told.

use std::path::Path;

use super::output::print;
use crate::config;
use crate::server::{self, ControlRequest};

#[derive(Debug, clap::Args)]
#[command(
    about = "Have the running gateway read its configuration again",
    long_about = "Checks the configuration, and has the running gateway use it from now on, as SIGHUP does. Running requests \
        keep the configuration that they began with. The command returns when the new one is in use, or says why it is \
        not: then nothing has changed. What a running gateway cannot change, such as its listeners, needs `portcullis \
        upgrade`.",
    after_help = "Examples:\n  portcullis reload\n  portcullis reload --config /etc/portcullis/portcullis.yaml"
)]
pub(super) struct Reload {}

#[derive(Debug, clap::Args)]
#[command(
    about = "Replace the running gateway by a new process, without a gap",
    long_about = "Has the gateway that runs with this configuration start its program anew, as SIGUSR2 does, and hand over: a \
        new version of the program, or what a reload cannot change, such as listeners and 'workers'. No connection is \
        refused and no request is lost: the new process takes the listening sockets over, and once it is ready, the old one \
        finishes what runs, within 'drain_timeout'. Ends when the new process has taken over, or says why it has not: then \
        the old one goes on as it was.",
    after_help = "Examples:\n  portcullis upgrade\n  portcullis upgrade --config /etc/portcullis/portcullis.yaml"
)]
pub(super) struct Upgrade {}

#[derive(Debug, clap::Args)]
#[command(
    about = "Ask whether the gateway runs and can decide about keys",
    long_about = "Asks the gateway that runs with this configuration whether it decides about requests with keys. Exit status 0: \
        it does. 1: no gateway runs, it answers every key with 503, or one of its threads has crashed; standard error says which of these. For HEALTHCHECK of \
        containers. Over the network, ask the management listener for /readyz.",
    after_help = "Examples:\n  portcullis health\n  portcullis health --config /etc/portcullis/portcullis.yaml"
)]
pub(super) struct Health {}

/// Asks the gateway that runs with `config`.
pub(super) fn ask(config: &Path, request: ControlRequest) -> anyhow::Result<()> {
    // the rest is the gateway's to look at
    let said = server::ask(&config::load_store_path(config)?, request)?;
    print(&format!("{said}\n"))
}
