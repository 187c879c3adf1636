//! Output that cannot be written: no secret is lost silently, and exit statuses stay true.

use std::fs::File;
use std::path::Path;

use tempfile::TempDir;

use crate::site;
use crate::support::cli::{Cli, Outcome};

/// A device that is always full.
fn full() -> File {
    File::options().write(true).open("/dev/full").expect("/dev/full")
}

/// What a command says on stderr that cannot write its result, which must be its failure.
#[track_caller]
pub fn failure_to_print(directory: &TempDir, arguments: &[&str]) -> String {
    let mut command = Cli::program();
    command.args(arguments).arg("--config").arg(directory.path().join("portcullis.yaml")).stdout(full());
    let outcome: Outcome = command.output().expect("it runs").into();
    assert_eq!(outcome.code, 1, "{outcome:?}");
    outcome.stderr
}

#[test]
fn a_secret_that_could_not_be_shown_is_reported() {
    let (directory, _cli) = site();
    let said = failure_to_print(&directory, &["key", "create", "--account", "admin"]);
    assert!(said.contains("its secret was not shown") && !said.contains("pcs_"), "{said}");
}

/// A command whose stdout and stderr go where nothing can be written.
fn into_full(config: &Path, arguments: &[&str]) -> Option<i32> {
    let mut command = Cli::program();
    command.args(arguments).arg("--config").arg(config).stdout(full()).stderr(full());
    command.status().expect("it runs").code()
}

#[test]
fn a_stderr_that_is_full_changes_no_exit_status() {
    let (directory, _cli) = site();
    let config = directory.path().join("portcullis.yaml");
    assert_eq!(into_full(&config, &["key", "show", "nope"]), Some(1));
    assert_eq!(into_full(&config, &["key", "list"]), Some(1));
    assert_eq!(into_full(&directory.path().join("none.yaml"), &["check"]), Some(1));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure_but_for_secrets() {
    let (directory, _cli) = site();
    let into_nobody = |arguments: &[&str]| {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = Cli::program();
        command.args(arguments).arg("--config").arg(directory.path().join("portcullis.yaml")).stdout(writer);
        let output = command.output().expect("it runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(into_nobody(&["key", "list"]), (Some(0), String::new()));
    assert_eq!(into_nobody(&["explain", "--fail-on-deny", "GET", "/v1"]), (Some(1), String::new()));
    let (code, said) = into_nobody(&["key", "create", "--account", "admin"]);
    assert!(code == Some(1) && said.contains("its secret was not shown"), "{said}");
}
