//! The tests' own Python: what `tests/python/requirements.txt` lists, in `target/python`, where `./test` puts it.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Python that runs a script of `tests/python/`.
#[track_caller]
pub fn script(name: &str) -> Command {
    let mut command = program("python");
    command.env("PYTHONDONTWRITEBYTECODE", "1").arg(folder().join(name));
    command
}

/// Schemathesis with the settings of `tests/python/schemathesis.toml`, which takes the key from the environment
/// (`API_USER`, `API_PASSWORD`). It leaves files in its working directory: give it one of its own.
#[track_caller]
pub fn schemathesis() -> Command {
    let mut command = program("schemathesis");
    command.arg("--config-file").arg(folder().join("schemathesis.toml"));
    command
}

/// A program of the environment.
#[track_caller]
pub fn program(name: &str) -> Command {
    let program = environment().join("bin").join(name);
    // written when all of it is there
    let made = environment().join("made-from");
    assert!(made.is_file(), "{} is not there; ./test installs what the tests need", made.display());
    Command::new(program)
}

/// Scripts and settings.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python")
}

fn environment() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/python")
}
