//! `portcullis init`: from nothing to a gateway that can be started.

use std::fmt::{Display, Write as _};
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;

use super::issue_key::{self, IssuedKey};
use super::output::{Format, eprint_line, print, quoted};
use super::results::Fetched;
use super::{DEFAULT_CONFIG, certificate, key, local_store};
use crate::auth::Peppers;
use crate::config::{self, CertificateFiles, Config};
use crate::model::{AccountKind, KeyOwner, Name};
use crate::store::{KeyProperties, NewAccount, Store, StoreError, give_to_owner_of_folder};

/// What is written where there is no configuration yet.
const STARTER: &str = include_str!("starter.yaml");

/// The first account. Its key can make others, with any name.
const FIRST_ACCOUNT: &str = "admin";

#[derive(Debug, Args)]
#[command(
    about = "Make what is missing: configuration, store, pepper, development certificate, first admin key",
    long_about = "Makes what a gateway needs and is not there yet: a configuration to begin with, the pepper, a \
        self-signed certificate for development where the configuration names a certificate, and the store with a \
        first admin account. Prints that account's key, once. Overwrites nothing, and refuses where there is a store.\n\n\
        With a record in PostgreSQL ('store.postgres') it makes the tables in an empty database. Run it on one machine, \
        and copy the pepper to the others: they need no init. Gateways may be running already.",
    after_help = "Examples:\n  portcullis init\n  portcullis init --config /etc/portcullis/portcullis.yaml\n  \
        portcullis init --unattended && portcullis serve"
)]
pub(super) struct Init {
    /// For scripts and containers, whose output is kept: make no key, and succeed where there is a store already.
    ///
    /// `portcullis key create --account admin` then makes the first key.
    #[arg(long)]
    unattended: bool,
}

impl Init {
    pub(super) fn run(&self, config: &Path, output: Format) -> anyhow::Result<()> {
        let mut report = Report::default();
        if write_new(config, STARTER)? {
            report.made("a configuration to begin with; say in it where your API is", config);
        }
        let config = config::load(config)?;
        // looked at before anything is made: a second pepper beside a record that has one would be of no use
        let shared = match &config.store {
            config::Store::Sqlite { path } if path.exists() => {
                return self.has_store(&StoreError::Exists { path: path.clone() });
            }
            config::Store::Sqlite { .. } => None,
            config::Store::Postgres(_) => {
                let store = local_store::open_store(&config)?;
                if !store.is_empty()? {
                    return self.has_store(&"the record holds keys already, and nothing is overwritten");
                }
                Some(store)
            }
        };
        let peppers = peppers(&config, &mut report)?;
        for files in certificates(&config) {
            make_certificate(files, &mut report)?;
        }
        let path = config.store.path();
        let fill = |store: &mut Store| self.fill(store, &config, &peppers);
        let issued = if let Some(mut store) = shared {
            let filled = fill(&mut store);
            // of several that are started at once, one makes the account
            if self.unattended && filled.is_err() && !store.is_empty()? {
                return self.has_store(&"another init was faster");
            }
            let issued = filled?;
            report.made("this machine's replica of the record", path);
            issued
        } else {
            let issued = Store::create_with(path, fill)?;
            report.made("the store", path);
            issued
        };

        let Some(issued) = issued else {
            let text = format!(
                "{}\nThe first account, \"{FIRST_ACCOUNT}\", is an admin. It has no key yet: `portcullis key create \
                 --account {FIRST_ACCOUNT}{}` makes one.\n",
                report.0,
                config_option(&config.file)
            );
            print(&text)?;
            return Ok(());
        };
        // what is made is for people; a program asks for the key alone
        if output == Format::Table {
            let key_follows = format!("\nThe first account, \"{FIRST_ACCOUNT}\", is an admin. Its key:\n\n");
            // where this cannot be written, the key below cannot either, and that is reported
            let _ = print(&(report.0 + &key_follows));
        }
        let owner_name = Some(FIRST_ACCOUNT.to_owned());
        let new = Fetched { owner_name, ..Fetched::from_store(issued.entry) };
        key::print_new(&new, issued.secret.as_str(), output)?;
        if output == Format::Table {
            eprint_line(format_args!("\n{}", next_steps(&config)));
        }
        Ok(())
    }

    /// There is a store, for the reason given.
    fn has_store(&self, why: &dyn Display) -> anyhow::Result<()> {
        if self.unattended {
            print(&format!("nothing to do: {why}\n"))?;
            return Ok(());
        }
        bail!("{why}; to make more keys, use `portcullis key create`");
    }

    /// Makes the first account, and its key if it gets one.
    fn fill(
        &self,
        store: &mut Store,
        config: &Config,
        peppers: &Peppers,
    ) -> anyhow::Result<Option<IssuedKey>> {
        let name = Name::parse(FIRST_ACCOUNT)?.context("the first account has a name")?;
        let (account, _) =
            store.create_first_account(&NewAccount { name, kind: AccountKind::Admin, description: None })?;
        if self.unattended {
            return Ok(None);
        }
        let owner = KeyOwner::Account(account.id);
        issue_key::issue_key(store, config, peppers, owner, KeyProperties::default()).map(Some)
    }
}

/// What an operator does after `init`.
fn next_steps(config: &Config) -> String {
    let option = config_option(&config.file);
    let mut text = format!(
        "Next: write the address and the paths of your API into {}, then run `portcullis check{option}` and `portcullis \
         serve{option}`.",
        config.file.display()
    );
    if let Some(management) = &config.management {
        let scheme = if management.tls.is_some() { "https" } else { "http" };
        let _ = write!(text, " The web page is then at {scheme}://{}.", management.address);
    }
    text
}

/// What commands need to find this configuration again.
fn config_option(file: &Path) -> String {
    if file == Path::new(DEFAULT_CONFIG) { String::new() } else { format!(" --config {}", quoted(file)) }
}

/// The peppers, the current one made where its file is missing.
fn peppers(config: &Config, report: &mut Report) -> anyhow::Result<Peppers> {
    if let Some(current) = config.pepper_files.first()
        && !current.exists()
    {
        Peppers::create(current)?;
        report.made("the pepper; keep it apart from copies of the store", current);
    }
    Ok(Peppers::load(&config.pepper_files)?)
}

/// Every certificate that a listener names.
fn certificates(config: &Config) -> impl Iterator<Item = &CertificateFiles> {
    let management = config.management.iter().filter_map(|management| management.tls.as_ref());
    let listeners = config.listeners.iter().filter_map(|listener| listener.tls.as_ref());
    listeners.chain(management).flat_map(|tls| &tls.certificates)
}

fn make_certificate(files: &CertificateFiles, report: &mut Report) -> anyhow::Result<()> {
    let CertificateFiles { certificate, key } = files;
    match (certificate.exists(), key.exists()) {
        (true, true) => Ok(()),
        (false, false) => {
            certificate::create(certificate, key)?;
            report.made("a self-signed certificate, for development only", certificate);
            report.made("its private key", key);
            Ok(())
        }
        (there, _) => {
            let (there, missing) = if there { (certificate, key) } else { (key, certificate) };
            bail!(
                "there is {}, but not {}, which belongs to it: put it there, or take the other away",
                there.display(),
                missing.display()
            );
        }
    }
}

/// Writes a file where there is none, for its owner only: configurations hold secrets, or come to hold some. Whether it
/// did. The file is there whole or not at all, whenever this is killed.
fn write_new(path: &Path, text: &str) -> anyhow::Result<bool> {
    if path.exists() {
        return Ok(false);
    }
    let unfinished = path.with_extension(format!("{}.unfinished", uuid::Uuid::new_v4().simple()));
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
        give_to_owner_of_folder(&file, path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        // a link, because it fails where the name was taken meanwhile
        fs::hard_link(&unfinished, path)
    };
    let written = write();
    // where it was never made there is nothing to take away
    let _ = fs::remove_file(&unfinished);
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error).with_context(|| format!("cannot write {}", path.display())),
    }
}

/// What was made, a line each.
#[derive(Default)]
struct Report(String);

impl Report {
    fn made(&mut self, what: &str, path: &Path) {
        let path: PathBuf = path.components().collect();
        // writing to a String does not fail
        let _ = writeln!(self.0, "made {}: {what}", path.display());
    }
}
