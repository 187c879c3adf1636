//! The command line as an operator uses it: the real program, a process for every command.

#[path = "../support/mod.rs"]
mod support;

mod files;
mod init;
mod keys;
mod messages;
mod output;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use support::cli::{Cli, Outcome};
use tempfile::TempDir;

/// An empty folder.
fn empty() -> (TempDir, Cli) {
    let directory = tempfile::tempdir().expect("a directory");
    let cli = Cli::new(&directory.path().join("portcullis.yaml"));
    (directory, cli)
}

/// A folder after `init`.
fn site() -> (TempDir, Cli) {
    let (directory, cli) = empty();
    cli.succeed(&["init"]);
    (directory, cli)
}

/// The reason of a refusal, which is exit status 1 with nothing on stdout.
#[track_caller]
fn refusal(outcome: &Outcome) -> &str {
    assert_eq!((outcome.code, outcome.stdout.as_str()), (1, ""), "{outcome:?}");
    &outcome.stderr
}

fn text<'a>(document: &'a Value, field: &str) -> &'a str {
    document[field].as_str().unwrap_or_else(|| panic!("no {field} in {document}"))
}

/// Every file below a folder.
fn walk(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}
