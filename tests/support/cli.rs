//! Runs the program's command line.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// What a command did.
#[derive(Debug)]
pub struct Outcome {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Outcome {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// An API key as it was shown at its creation.
#[derive(Debug, Clone)]
#[allow(clippy::struct_field_names, reason = "'access key' is the word of the whole project")]
pub struct Key {
    /// `1c…`; empty where the output does not tell (the key that `init` prints).
    pub id: String,
    pub access_key: String,
    pub secret: String,
}

impl Key {
    /// The value of the `Authorization` header.
    pub fn authorization(&self) -> String {
        basic(&self.access_key, &self.secret)
    }

    /// The same access key with another secret of the minted form, check digits and all.
    pub fn with_wrong_secret(&self) -> Self {
        Self { secret: minted_secret(0), ..self.clone() }
    }
}

/// `Basic …` for a user name and a password.
pub fn basic(user: impl AsRef<[u8]>, password: impl AsRef<[u8]>) -> String {
    basic_raw(&[user.as_ref(), b":", password.as_ref()].concat())
}

/// `Basic …` for the decoded bytes of a credential.
pub fn basic_raw(credential: &[u8]) -> String {
    format!("Basic {}", STANDARD.encode(credential))
}

/// A secret of the minted form that belongs to no key: `pcs_`, 40 base62 digits that spell `seed`, their CRC-32.
pub fn minted_secret(seed: u64) -> String {
    with_checksum(&format!("pcs_{seed:040}"))
}

/// `text` followed by its CRC-32 in six base62 digits, as minted secrets end.
pub fn with_checksum(text: &str) -> String {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut rest = crc32fast::hash(text.as_bytes()) as usize;
    let mut check = [b'0'; 6];
    for digit in check.iter_mut().rev() {
        *digit = DIGITS[rest % 62];
        rest /= 62;
    }
    format!("{text}{}", String::from_utf8_lossy(&check))
}

/// The program with one configuration file: every call is a process of its own.
#[derive(Debug, Clone)]
pub struct Cli {
    config: PathBuf,
}

impl Cli {
    pub fn new(config: &Path) -> Self {
        Self { config: config.to_owned() }
    }

    /// The program under test.
    pub fn program() -> Command {
        Self::program_by(&[])
    }

    /// The program under test, started by another one that becomes it.
    pub fn program_by(wrapper: &[&str]) -> Command {
        let mut words = wrapper.iter().copied().chain([env!("CARGO_BIN_EXE_portcullis")]);
        let mut command = Command::new(words.next().expect("the program at least"));
        command.args(words);
        command.env_remove("RUST_LOG").env("NO_COLOR", "1");
        for remote in ["PORTCULLIS_URL", "PORTCULLIS_KEY", "PORTCULLIS_SECRET", "NETRC"] {
            command.env_remove(remote);
        }
        command
    }

    /// Runs a command with `--config` at its end and waits for it.
    pub fn run(&self, arguments: &[&str]) -> Outcome {
        let output = Self::program()
            .args(arguments)
            .arg("--config")
            .arg(&self.config)
            .stdin(Stdio::null())
            .output()
            .expect("the program can be started");
        output.into()
    }

    /// Runs a command that must succeed.
    #[track_caller]
    pub fn succeed(&self, arguments: &[&str]) -> Outcome {
        let outcome = self.run(arguments);
        assert_eq!(outcome.code, 0, "portcullis {arguments:?} failed: {outcome:?}");
        outcome
    }

    /// Runs a command with `--output json` that must succeed, and reads what it prints.
    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> Value {
        let mut arguments = arguments.to_vec();
        arguments.extend(["--output", "json"]);
        let outcome = self.succeed(&arguments);
        serde_json::from_str(&outcome.stdout)
            .unwrap_or_else(|error| panic!("portcullis {arguments:?} printed no JSON ({error}): {outcome:?}"))
    }

    /// Creates an account and returns its id.
    #[track_caller]
    pub fn create_account(&self, name: &str, kind: &str) -> String {
        id_of(&self.json(&["account", "create", "--name", name, "--kind", kind]))
    }

    /// Creates an environment.
    #[track_caller]
    pub fn create_environment(&self, id: &str) {
        self.json(&["environment", "create", "--id", id]);
    }

    /// Makes an account (id or name) a member of an environment.
    #[track_caller]
    pub fn add_member(&self, environment: &str, account: &str, role: &str) {
        self.succeed(&[
            "environment",
            "member",
            "add",
            "--environment",
            environment,
            "--account",
            account,
            "--role",
            role,
        ]);
    }

    /// Creates a key for an account (id or name).
    #[track_caller]
    pub fn create_account_key(&self, account: &str) -> Key {
        key_of(&self.json(&["key", "create", "--account", account]))
    }

    /// Brings a pair that people chose, as a key of an environment.
    #[track_caller]
    pub fn import_environment_key(&self, environment: &str, access_key: &str, secret: &str) -> Key {
        let file = self.config.with_file_name("chosen-secret");
        std::fs::write(&file, secret).expect("the secret can be written");
        let file = file.to_str().expect("a path in UTF-8");
        let owner = ["--environment", environment, "--access-key", access_key, "--secret-file", file];
        let document = self.json(&[&["key", "create"][..], &owner[..]].concat());
        std::fs::remove_file(file).expect("it was just written");
        Key { id: id_of(&document), access_key: access_key.to_owned(), secret: secret.to_owned() }
    }

    /// Creates a key for an environment.
    #[track_caller]
    pub fn create_environment_key(&self, environment: &str) -> Key {
        key_of(&self.json(&["key", "create", "--environment", environment]))
    }
}

fn id_of(document: &Value) -> String {
    text_of(document, "id").unwrap_or_else(|| panic!("no id in {document}"))
}

fn text_of(document: &Value, field: &str) -> Option<String> {
    document.get(field)?.as_str().map(str::to_owned)
}

fn key_of(document: &Value) -> Key {
    let field = |name| text_of(document, name).unwrap_or_else(|| panic!("no {name} in {document}"));
    Key { id: field("id"), access_key: field("publicValue"), secret: field("secretValue") }
}

/// The first key in a text for people, such as `init` prints, whatever its prefix.
pub fn key_in(text: &str) -> Option<Key> {
    let word = |kind: char, length: usize| {
        let mut words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let minted = |word: &&str| {
            word.rsplit_once('_').is_some_and(|(prefix, rest)| prefix.ends_with(kind) && rest.len() == length)
        };
        words.find(minted).map(str::to_owned)
    };
    Some(Key { id: String::new(), access_key: word('a', 20)?, secret: word('s', 46)? })
}
