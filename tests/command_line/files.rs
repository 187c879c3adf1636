//! What commands write: modes, owners, and what a package installs beside the program.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use crate::support::cli::{Cli, Outcome};
use crate::support::gateway::Plan;
use crate::support::http1::Request;
use crate::support::upstream::Upstream;
use crate::support::{PATIENCE, marker, wait_for};
use crate::{empty, walk};

/// Whatever the umask lets through: a service manager, a container or a careless shell may have set it to nothing.
#[test]
fn every_file_that_is_written_has_a_mode_of_its_own_under_umask_0() {
    const UMASK_0: &[&str] = &["sh", "-c", "umask 0; exec \"$@\"", "sh"];
    let (directory, cli) = empty();
    let config = directory.path().join("portcullis.yaml");
    let run = |arguments: &[&str]| {
        let mut program = Cli::program_by(UMASK_0);
        program.args(arguments).arg("--config").arg(&config).current_dir(directory.path());
        let outcome: Outcome = program.output().expect("the program can be started").into();
        assert_eq!(outcome.code, 0, "{arguments:?}: {outcome:?}");
    };
    run(&["init"]);
    run(&["environment", "create", "--id", "e1"]);
    run(&["store", "backup", "copy.db"]);
    run(&["store", "restore", "copy.db"]);
    modes_are_right(directory.path(), &["portcullis.db", "portcullis.pepper", "portcullis.yaml", "copy.db"]);
    assert!(cli.succeed(&["key", "list"]).stdout.contains("active"));

    let upstream = Upstream::start();
    let log = "log: { access: { file: access.log } }\n";
    let gateway = Plan::new(&upstream).top(log).prepare().started_by(UMASK_0).start();
    let key = gateway.admin.clone();
    let mark = marker();
    assert_eq!(gateway.exchange(Request::get("/v1/x").key(&key).mark(&mark).end()).status, 200);
    assert!(upstream.saw(&mark));
    let folder = gateway.directory();
    for beside in ["portcullis.db-wal", "portcullis.db-shm"] {
        wait_for(PATIENCE, beside, || folder.join(beside).exists());
    }
    // the test has written the configuration itself
    let private = ["portcullis.db", "portcullis.db-wal", "portcullis.db-shm", "portcullis.pepper"];
    modes_are_right(folder, &private);
    let mode = fs::metadata(folder.join("access.log")).expect("the access log").permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
}

/// Nothing in a folder can be written by others than its owner, and these files and all private keys are the owner's
/// alone.
#[track_caller]
fn modes_are_right(folder: &Path, private: &[&str]) {
    let mut seen = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let entry = entry.expect("an entry");
            let (metadata, name) = (entry.metadata().expect("it is there"), entry.file_name());
            let name = name.to_string_lossy().into_owned();
            let mode = metadata.permissions().mode() & 0o777;
            assert_eq!(mode & 0o022, 0, "{name} has mode {mode:o}");
            if private.contains(&name.as_str())
                || Path::new(&name).extension().is_some_and(|end| end == "key")
            {
                assert_eq!(mode, 0o600, "{name} has mode {mode:o}");
            }
            if metadata.is_dir() {
                folders.push(entry.path());
            }
            seen.push(name);
        }
    }
    assert!(private.iter().all(|name| seen.iter().any(|seen| seen == name)), "{private:?} in {seen:?}");
}

#[test]
fn what_a_package_installs_beside_the_program_can_be_made() {
    let (folder, cli) = empty();
    for shell in ["bash", "zsh", "fish"] {
        let script = cli.succeed(&["completions", shell]).stdout;
        assert!(script.contains("portcullis") && script.contains("environment"), "{shell}: {script}");
    }
    let script = folder.path().join("completions");
    fs::write(&script, cli.succeed(&["completions", "bash"]).stdout).expect("a file");
    let read = Command::new("bash").arg("-n").arg(&script).output().expect("bash");
    assert!(read.status.success(), "{read:?}");
    let pages = folder.path().join("man");
    fs::create_dir(&pages).expect("a folder");
    cli.succeed(&["man-page", pages.to_str().expect("a name")]);
    for page in ["portcullis.1", "portcullis-serve.1", "portcullis-key-rotate.1"] {
        let text = fs::read_to_string(pages.join(page)).unwrap_or_else(|error| panic!("{page}: {error}"));
        assert!(
            text.contains(".SH NAME") && (text.contains("Examples:") || text.contains("First steps:")),
            "{page}: {text}"
        );
    }
}

/// As root, which package managers and many operators are: what commands make must be the gateway's, which runs as the user
/// that the folder belongs to.
#[test]
fn files_that_root_makes_belong_to_the_owner_of_their_folder() {
    use std::os::unix::fs::{MetadataExt as _, chown};

    const USER: u32 = 24_713;
    let (folder, cli) = empty();
    if chown(folder.path(), Some(USER), Some(USER)).is_err() {
        eprintln!("not root: everything belongs to this user anyway");
        return;
    }
    cli.succeed(&["init"]);
    cli.succeed(&["environment", "create", "--id", "e1"]);
    let copy = folder.path().join("copy.db");
    cli.succeed(&["store", "backup", copy.to_str().expect("a name")]);
    let made = walk(folder.path());
    assert!(made.iter().any(|path| path.ends_with("portcullis.pepper")) && made.contains(&copy), "{made:?}");
    for path in made {
        let owner = fs::metadata(&path).expect("a file").uid();
        assert_eq!(owner, USER, "{}", path.display());
    }
    let told = cli.succeed(&["check"]).stdout;
    assert!(told.contains(&format!("the user who owns {}", folder.path().display())), "{told}");
    chown(folder.path(), Some(0), Some(0)).expect("root may do so");
    let told = cli.succeed(&["check"]).stdout;
    assert!(!told.contains("You are root"), "{told}");
}
