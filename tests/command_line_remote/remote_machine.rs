//! The program on another machine, which knows only the address of a gateway, and helpers of these tests.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::Value;
use tempfile::TempDir;

use crate::support;
use crate::support::cli::{Cli, Key, Outcome};
use crate::support::gateway::Gateway;
use crate::support::http1::Request;

/// The program on another machine: an empty folder, a home of its own, and a gateway's address.
pub struct RemoteMachine {
    folder: TempDir,
    pub url: String,
    pub variables: Vec<(&'static str, String)>,
    options: Vec<String>,
}

impl RemoteMachine {
    /// Without any key.
    pub fn new(url: impl Into<String>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self { folder, url: url.into(), variables: Vec::new(), options: Vec::new() }
    }

    /// With a key in the environment.
    pub fn with_key(url: impl Into<String>, key: &Key) -> Self {
        Self::new(url).variable("PORTCULLIS_KEY", format!("{}:{}", key.access_key, key.secret))
    }

    /// The first admin's key in the environment.
    pub fn admin(gateway: &Gateway) -> Self {
        Self::with_key(url(gateway), &gateway.admin)
    }

    pub fn variable(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.variables.push((name, value.into()));
        self
    }

    pub fn options(mut self, options: &[&str]) -> Self {
        self.options.extend(options.iter().map(ToString::to_string));
        self
    }

    /// Writes `~/.netrc`.
    pub fn netrc(self, text: &str, mode: u32) -> Self {
        let file = self.home_file(".netrc");
        fs::write(&file, text).expect("written");
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("a mode");
        self
    }

    pub fn home_file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn run(&self, arguments: &[&str]) -> Outcome {
        let output = Cli::program()
            .args(arguments)
            .args(["--url", &self.url])
            .args(&self.options)
            .env("HOME", self.folder.path())
            .envs(self.variables.iter().cloned())
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .output()
            .expect("the program can be started");
        output.into()
    }

    #[track_caller]
    pub fn succeed(&self, arguments: &[&str]) -> Outcome {
        let outcome = self.run(arguments);
        assert_eq!(outcome.code, 0, "portcullis {arguments:?} failed: {outcome:?}");
        outcome
    }

    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> Value {
        let outcome = self.succeed(&[arguments, &["--output", "json"]].concat());
        serde_json::from_str(&outcome.stdout)
            .unwrap_or_else(|error| panic!("{arguments:?} ({error}): {outcome:?}"))
    }

    /// The reason of a refusal: exit status 1, nothing on stdout.
    #[track_caller]
    pub fn refused(&self, arguments: &[&str]) -> String {
        let outcome = self.run(arguments);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (1, ""), "{arguments:?}: {outcome:?}");
        outcome.stderr
    }
}

pub fn url(gateway: &Gateway) -> String {
    format!("http://{}", gateway.management())
}

pub fn text<'a>(document: &'a Value, field: &str) -> &'a str {
    document[field].as_str().unwrap_or_else(|| panic!("no {field} in {document}"))
}

pub fn key_of(document: &Value) -> Key {
    Key {
        id: text(document, "id").to_owned(),
        access_key: text(document, "publicValue").to_owned(),
        secret: text(document, "secretValue").to_owned(),
    }
}

pub fn status_with(gateway: &Gateway, key: &Key, path: &str) -> u16 {
    gateway.exchange(Request::get(path).key(key).mark(&support::marker()).end()).status
}
