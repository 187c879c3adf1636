//! `portcullis audit`.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;

use super::output::{UNWRITTEN, eprint_line, printable, write};
use super::syslog::Syslog;
use crate::config;
use crate::management::resource_json::{self, RenderOptions};
use crate::store::Store;

/// How many rows are read at once.
const ROWS: u32 = 1000;
/// How long to wait for more, and for a syslog that takes nothing.
const PAUSE: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
#[command(
    about = "Print the audit log as JSON lines, the oldest first, or send it to syslog",
    long_about = "Prints the audit log as JSON lines, the oldest first: who changed what, or was refused, with which key, \
        from where, and the object before and after. The fields are those of auditLog in the API. With several gateways, \
        a gateway must run on this machine: the command reads what the gateway has read of the record.",
    after_help = "Examples:\n  portcullis audit | tail -n 20\n  \
        portcullis audit --follow --syslog --position /var/lib/portcullis/audit-position"
)]
pub(super) struct Audit {
    /// Go on and print what comes, until the command is stopped
    #[arg(long)]
    follow: bool,
    /// Send the lines to this machine's syslog instead, as authpriv.notice from portcullis. With --follow, a syslog that is away is waited for
    #[arg(long, value_name = "SOCKET", num_args = 0..=1, default_missing_value = "/dev/log")]
    syslog: Option<PathBuf>,
    /// Keep in this file how far the lines have come, and go on from there the next time
    #[arg(long, value_name = "FILE")]
    position: Option<PathBuf>,
}

impl Audit {
    pub(super) fn run(&self, config: &Path) -> anyhow::Result<()> {
        let store = Store::open_unchecked(&config::load(config)?.store)?;
        let options = RenderOptions::without_links(false);
        let mut syslog = self.syslog.clone().map(Syslog::at);
        let mut last = self.position.as_deref().map_or(Ok(0), |file| read_position(file, &store))?;
        loop {
            let entries = store.audit_after(last, ROWS)?;
            let lines: Vec<_> = entries
                .iter()
                .map(|entry| printable(resource_json::audit(entry, &options).to_string()))
                .collect();
            match &mut syslog {
                None => match write(&lines.iter().flat_map(|line| [line, "\n"]).collect::<String>()) {
                    // the reader wants no more; if it is followed, nobody else would end this
                    Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
                    written => written.context(UNWRITTEN)?,
                },
                Some(syslog) => lines.iter().try_for_each(|line| self.send(syslog, line))?,
            }
            if let Some(entry) = entries.last() {
                last = entry.id;
                if let Some(file) = &self.position {
                    write_position(file, last)
                        .with_context(|| format!("cannot write the position to {}", file.display()))?;
                }
            } else {
                if !self.follow {
                    return Ok(());
                }
                thread::sleep(PAUSE);
            }
        }
    }

    /// Sends a line to syslog, and if the log is followed, as often as it takes.
    fn send(&self, syslog: &mut Syslog, line: &str) -> anyhow::Result<()> {
        let mut is_told = false;
        while let Err(error) = syslog.send(line) {
            // no daemon will ever take it
            if !self.follow || error.raw_os_error() == Some(rustix::io::Errno::MSGSIZE.raw_os_error()) {
                return Err(error).context("syslog does not take the audit log");
            }
            if !std::mem::replace(&mut is_told, true) {
                eprint_line(format_args!(
                    "portcullis: syslog does not take the audit log ({error}): the lines wait until it does"
                ));
            }
            thread::sleep(PAUSE);
        }
        if is_told {
            eprint_line("portcullis: syslog takes the audit log again");
        }
        Ok(())
    }
}

/// The last entry that was printed; 0 where there is no such file yet.
fn read_position(file: &Path, store: &Store) -> anyhow::Result<i64> {
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", file.display())),
    };
    let position = text.trim().parse().ok().filter(|position| *position > 0);
    let position = position.with_context(|| {
        format!("{} holds no position of the audit log: remove it to begin again", file.display())
    })?;
    // with another store, or one that was restored, later entries would seem to have been printed
    store.audit_entry(position).with_context(|| {
        format!(
            "the audit log has no entry {position}, up to which it was printed according to {}: the store is another one \
             now. Remove this file to begin again",
            file.display()
        )
    })?;
    Ok(position)
}

/// Replaces the file, so that it is whole even if this ends in the middle.
fn write_position(file: &Path, position: i64) -> io::Result<()> {
    let mut unfinished = file.as_os_str().to_owned();
    unfinished.push(".new");
    let unfinished = PathBuf::from(unfinished);
    let mut opened =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    writeln!(opened, "{position}")?;
    opened.sync_all()?;
    fs::rename(&unfinished, file)
}
