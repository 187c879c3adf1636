//! `portcullis audit`.

use std::io;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;

use super::output::{UNWRITTEN, printable, write};
use crate::config;
use crate::management::resource_json::{self, RenderOptions};
use crate::store::Store;

/// How many rows are read at once.
const ROWS: u32 = 1000;
/// How long to wait for more.
const PAUSE: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
#[command(
    about = "Print the audit log as JSON lines, the oldest first",
    long_about = "Prints the audit log as JSON lines, the oldest first: who changed what, or was refused, with which key, \
        from where, and the object before and after. The fields are those of auditLog in the API. With several gateways, \
        a gateway must run on this machine: the command reads what the gateway has read of the record.",
    after_help = "Examples:\n  portcullis audit | tail -n 20\n  portcullis audit --follow | logger -t portcullis-audit"
)]
pub(super) struct Audit {
    /// Go on and print what comes, until the command is stopped
    #[arg(long)]
    follow: bool,
}

impl Audit {
    pub(super) fn run(&self, config: &Path) -> anyhow::Result<()> {
        let store = Store::open_unchecked(&config::load(config)?.store)?;
        let options = RenderOptions::without_links(false);
        let mut last = 0;
        loop {
            let entries = store.audit_after(last, ROWS)?;
            let mut lines = String::new();
            for entry in &entries {
                last = entry.id;
                lines.push_str(&resource_json::audit(entry, &options).to_string());
                lines.push('\n');
            }
            match write(&printable(lines)) {
                // the reader wants no more; if it is followed, nobody else would end this
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                written => written.context(UNWRITTEN)?,
            }
            if entries.is_empty() {
                if !self.follow {
                    return Ok(());
                }
                thread::sleep(PAUSE);
            }
        }
    }
}
