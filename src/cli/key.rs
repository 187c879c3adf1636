//! `portcullis key`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::Value;
use zeroize::{Zeroize as _, Zeroizing};

use super::arguments::{ConfirmSelf, KeyArguments, KeyEditArguments};
use super::backend::{Backend, ImportedPair, NewKey};
use super::chosen_pair;
use super::key_import::{ImportArguments, refuse_api};
use super::list::List;
use super::output::{
    Format, JSON_END, eprint_line, fields_text, json_text, nested, print, print_fields, print_json,
    print_once, text, time,
};
use super::results::{Changed, Fetched};
use crate::config::lifetime_text;
use crate::management::resource_json::{self, RenderOptions};
use crate::model::{AccessKey, ApiKey, InvalidOverlap, KeyOwner, State, WantedOverlap};
use crate::store::{KeyEntry, KeyUsage};

const SHOWN_ONCE: &str = "The secret key is shown this once and cannot be read again: keep it now.";

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a key; its secret is printed this once
    #[command(after_help = "Examples:\n  \
        portcullis key create --account alice --name laptop\n  \
        portcullis key create --environment production --name ci --expires 90d --output json\n  \
        portcullis key create --environment production --read-only --from 10.0.0.0/8\n  \
        portcullis key create --environment 1a5 --access-key 0123456789ABCDEF0123 --secret-file old-secret\n  \
        portcullis key create --environment production --url https://gateway.example:8081")]
    Create {
        #[command(flatten)]
        owner: OwnerArguments,
        #[command(flatten)]
        key: KeyArguments,
        /// Bring a key from elsewhere: its access key, instead of a new one
        #[arg(long, requires = "secret_file")]
        access_key: Option<AccessKey>,
        /// The file that holds the secret of that key; - reads it from stdin
        #[arg(long, value_name = "FILE", requires = "access_key")]
        secret_file: Option<PathBuf>,
    },
    /// Bring many keys from another system, with the hashes of their secrets; a line is printed for each
    ///
    /// Nobody needs a new secret: what is hashed stays so, under argon2id, until the key is first used. The same file can
    /// be imported again, after a stop in the middle too. Exit status 1: some lines were refused.
    ///
    /// Run it on the gateway's machine: it opens the store, and cannot be used with --url.
    #[command(after_help = "Examples:\n  \
        portcullis key import --format htpasswd --account web /etc/nginx/htpasswd --dry-run\n  \
        portcullis key import --format kong --environment production basic-auths.json\n  \
        portcullis key import --format rancher --account alice credentials.tsv\n  \
        portcullis key import --format csv --account alice pairs.csv --output json")]
    Import {
        #[command(flatten)]
        owner: OwnerArguments,
        #[command(flatten)]
        import: ImportArguments,
    },
    /// List all keys, or those of one owner
    #[command(
        after_help = "Examples:\n  portcullis key list\n  portcullis key list --environment production\n  \
            portcullis key list --expiring 14d\n  \
            portcullis key list --url https://gateway.example:8081"
    )]
    List {
        #[command(flatten)]
        owner: OptionalOwner,
        /// Only active keys that expire within this time (14d, 12h), soonest first
        #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
        expiring: Option<Duration>,
    },
    /// Show one key, when it was last used, and how often
    #[command(after_help = "Examples:\n  portcullis key show 1c42\n  \
        portcullis key show 1c42 --url https://gateway.example:8081")]
    Show {
        /// Its id or access key
        key: String,
    },
    /// Change the name, the description, when it stops by itself, or its scope
    #[command(after_help = "Examples:\n  portcullis key edit 1c42 --name 'build server'\n  \
        portcullis key edit 1c42 --expires 90d\n  \
        portcullis key edit 1c42 --method GET --path '/v1/projects/*/builds/**'\n  \
        portcullis key edit 1c42 --no-scope\n  \
        portcullis key edit 1c42 --name 'build server' --url https://gateway.example:8081")]
    Edit {
        /// Its id or access key
        key: String,
        #[command(flatten)]
        edit: KeyEditArguments,
    },
    /// Give it a new secret, which is printed this once; the former one works for a while longer
    #[command(after_help = "Examples:\n  portcullis key rotate 1c42\n  \
        portcullis key rotate 1c42 --overlap 0\n  \
        portcullis key rotate 1c42 --until-unused 2h --at-most 7d\n  \
        portcullis key show 1c42\n  portcullis key rotate 1c42 --end\n  \
        portcullis key rotate 1c42 --url https://gateway.example:8081")]
    Rotate {
        /// Its id or access key
        key: String,
        /// How long the former secret works [default: 24h]; 0 stops it at once
        #[arg(long, value_name = "TIME", conflicts_with = "until_unused")]
        overlap: Option<String>,
        /// The former secret works until nobody has used it for so long, and the new one was used
        #[arg(long, value_name = "TIME")]
        until_unused: Option<String>,
        /// With --until-unused: the former secret works no longer than this [default: 30d]
        #[arg(long, value_name = "TIME", requires = "until_unused")]
        at_most: Option<String>,
        /// Stop the former secret of a rotation now
        #[arg(long, conflicts_with_all = ["overlap", "until_unused", "at_most"])]
        end: bool,
    },
    /// Let it work again
    #[command(after_help = "Examples:\n  portcullis key activate 1c42\n  \
        portcullis key activate 1c42 --url https://gateway.example:8081")]
    Activate {
        /// Its id or access key
        key: String,
    },
    /// Stop it at once
    #[command(after_help = "Examples:\n  portcullis key deactivate 1c42\n  \
        portcullis key deactivate 1c42 --url https://gateway.example:8081")]
    Deactivate {
        /// Its id or access key
        key: String,
        #[command(flatten)]
        confirmation: ConfirmSelf,
    },
    /// Remove an inactive key for good
    #[command(after_help = "Examples:\n  portcullis key deactivate 1c42\n  portcullis key delete 1c42\n  \
        portcullis key delete 1c42 --url https://gateway.example:8081")]
    Delete {
        /// Its id or access key
        key: String,
        #[command(flatten)]
        confirmation: ConfirmSelf,
    },
}

/// Whose key it is.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct OwnerArguments {
    /// Acts for this account (id or name)
    #[arg(long)]
    account: Option<String>,
    /// Reaches only this environment (id or name)
    #[arg(long)]
    environment: Option<String>,
}

/// Whose keys are listed.
#[derive(Debug, Args)]
#[group(required = false, multiple = false)]
pub(super) struct OptionalOwner {
    /// Only this account's keys (id or name)
    #[arg(long)]
    account: Option<String>,
    /// Only this environment's own keys (id or name)
    #[arg(long)]
    environment: Option<String>,
}

impl Command {
    pub(super) fn run(&self, backend: &mut Backend, output: Format) -> anyhow::Result<ExitCode> {
        match self {
            Self::Create { owner, key, access_key, secret_file } => {
                let said = key.edit()?;
                let owner = backend
                    .owner(owner.account.as_deref(), owner.environment.as_deref())?
                    .ok_or_else(|| anyhow::anyhow!("say whose key it is: --account or --environment"))?;
                // before there is a secret, which must not wait for it
                let owner_name = backend.owner_name(&owner);
                backend.warn_where_nothing_is_reached(&owner);
                match access_key.as_ref().zip(secret_file.as_deref()) {
                    None => {
                        let mut new = backend.create_key(owner, said)?;
                        new.changed.fetched.owner_name = owner_name;
                        let what_is_so = what_is_so(&new.changed.fetched.object.key);
                        show_once(backend, new, &what_is_so, output)
                    }
                    Some((access_key, file)) => {
                        let secret = chosen_pair::read_secret(file)?;
                        let imported = ImportedPair { access_key: access_key.clone(), secret };
                        let mut made = backend.import_key(owner, said, imported)?;
                        made.fetched.owner_name = owner_name;
                        backend.await_receipt(&mut made);
                        print_whole(&made, &what_is_so(&made.fetched.object.key), output)?;
                        Ok(made.exit())
                    }
                }
            }
            Self::Import { owner, import } => {
                refuse_api(backend)?;
                let owner = backend
                    .owner(owner.account.as_deref(), owner.environment.as_deref())?
                    .ok_or_else(|| anyhow::anyhow!("say whose keys they are: --account or --environment"))?;
                backend.warn_where_nothing_is_reached(&owner);
                import.run(backend, &owner, output)
            }
            Self::List { owner, expiring } => {
                let owner = backend.owner(owner.account.as_deref(), owner.environment.as_deref())?;
                let headings = [
                    "ID",
                    "ACCESS KEY",
                    "OWNER",
                    "NAME",
                    "STATE",
                    "EXPIRES",
                    "SCOPE",
                    "CREATED",
                    "LAST USED",
                    "DESCRIPTION",
                ];
                let mut list = List::new(output, headings);
                backend.keys(owner.as_ref(), *expiring, output, &mut |part| {
                    list.part(&part, "apiKey", row, to_document)
                })?;
                list.end()?;
                Ok(ExitCode::SUCCESS)
            }
            Self::Show { key } => {
                let mut found = backend.key(key)?;
                found.owner_name = backend.owner_name(&found.object.key.owner);
                show(&found, output)?;
                Ok(ExitCode::SUCCESS)
            }
            Self::Edit { key, edit } => {
                let mut edited = backend.edit_key(key, edit.edit()?)?;
                edited.fetched.owner_name = backend.owner_name(&edited.fetched.object.key.owner);
                backend.await_receipt(&mut edited);
                print_whole(&edited, &what_is_so(&edited.fetched.object.key), output)?;
                Ok(edited.exit())
            }
            Self::Rotate { key, overlap, until_unused, at_most, end: false } => {
                let texts = [overlap, until_unused, at_most].map(|text| text.as_deref());
                let wanted = WantedOverlap::read(texts[0], texts[1], texts[2])
                    .map_err(|error| anyhow::anyhow!(in_options(&error)))?;
                let before = backend.key(key)?;
                warn_of_longer_gaps(&before.object, wanted);
                let owner_name = backend.owner_name(&before.object.key.owner);
                let mut new = backend.rotate_key(&before.object.key, wanted)?;
                new.changed.fetched.owner_name = owner_name;
                let what_is_so = format!("{} has a new secret", name_of(&before.object.key));
                show_once(backend, new, &what_is_so, output)
            }
            Self::Rotate { key, end: true, .. } => {
                let mut ended = backend.end_rotation(key)?;
                ended.fetched.owner_name = backend.owner_name(&ended.fetched.object.key.owner);
                backend.await_receipt(&mut ended);
                let what_is_so =
                    format!("the former secret of {} has ended", name_of(&ended.fetched.object.key));
                print_whole(&ended, &what_is_so, output)?;
                Ok(ended.exit())
            }
            Self::Activate { key } => set_state(backend, key, State::Active, ConfirmSelf::NONE, output),
            Self::Deactivate { key, confirmation } => {
                set_state(backend, key, State::Inactive, *confirmation, output)
            }
            Self::Delete { key, confirmation } => {
                set_state(backend, key, State::Removed, *confirmation, output)
            }
        }
    }
}

/// Prints a key with its new secret, then where it is in force.
fn show_once(
    backend: &mut Backend,
    mut new: NewKey,
    what_is_so: &str,
    output: Format,
) -> anyhow::Result<ExitCode> {
    // before the wait for other gateways: if the command is killed, the secret is not lost
    let text = new_key_text(&new.changed.fetched, &new.secret, output);
    let end = if output == Format::Json { JSON_END } else { "" };
    print_secret(text.strip_suffix(end).unwrap_or(&text), &new.changed.fetched.object.key)?;
    backend.await_receipt(&mut new.changed);
    print(&match (output, &new.changed.receipt) {
        (Format::Table, _) => new.changed.summary(what_is_so),
        (Format::Json, None) => end.to_owned(),
        (Format::Json, Some(receipt)) => format!(",\n  \"receipt\": {}{end}", nested(receipt, 2)),
    })?;
    eprint_line(SHOWN_ONCE);
    let key = &new.changed.fetched.object.key;
    if let Some(ends) = former_secret(key) {
        eprint_line(format_args!(
            "The former secret {ends}. `portcullis key rotate {} --end` stops it at once.",
            key.id
        ));
    }
    Ok(new.changed.exit())
}

/// A refusal of the API's fields, in the words of the options.
fn in_options(error: &InvalidOverlap) -> String {
    let text = error.to_string();
    text.replace("'overlap'", "--overlap")
        .replace("'untilUnused'", "--until-unused")
        .replace("'atMost'", "--at-most")
}

/// Says so where the key is used less often than the former secret must be unused.
fn warn_of_longer_gaps(entry: &KeyEntry, wanted: WantedOverlap) {
    let WantedOverlap::UntilUnused { idle, .. } = wanted else { return };
    if entry.has_longer_gaps(idle, Timestamp::now()) {
        eprint_line(format_args!(
            "warning: this key is used less often than every {}: whoever uses it next may come when the former secret \
             has stopped. Take a longer time, or --overlap",
            lifetime_text(idle)
        ));
    }
}

fn set_state(
    backend: &mut Backend,
    key: &str,
    state: State,
    confirmation: ConfirmSelf,
    output: Format,
) -> anyhow::Result<ExitCode> {
    let mut changed = backend.set_key_state(key, state, confirmation)?;
    backend.await_receipt(&mut changed);
    changed.print(output, "", what_is_so(&changed.fetched.object.key), to_document)?;
    if state != State::Active {
        backend.warn_where_no_admin_is_left(&changed.fetched.object.key.owner)?;
    }
    Ok(changed.exit())
}

/// The document where the API has sent none.
fn to_document(entry: &KeyEntry, options: &RenderOptions) -> Value {
    resource_json::key(entry, None, options)
}

/// Prints a key that was created or edited, whole.
fn print_whole(changed: &Changed<KeyEntry>, what_is_so: &str, output: Format) -> anyhow::Result<()> {
    let fields = fields_text(&fields(&changed.fetched));
    changed.print(output, &fields, what_is_so, to_document)
}

fn what_is_so(key: &ApiKey) -> String {
    format!("{} is {}", name_of(key), key.state)
}

fn name_of(key: &ApiKey) -> String {
    format!("key {} ({})", key.access_key, key.id)
}

/// Prints a new key with its secret.
pub(super) fn print_new(new: &Fetched<KeyEntry>, secret: &str, output: Format) -> anyhow::Result<()> {
    print_secret(&new_key_text(new, secret, output), &new.object.key)?;
    eprint_line(SHOWN_ONCE);
    Ok(())
}

/// Prints a text that holds the secret of a new key. If that fails, nobody can use the key.
fn print_secret(text: &str, key: &ApiKey) -> anyhow::Result<()> {
    print_once(text).map_err(|error| {
        error.context(format!(
            "key {} was made, but its secret was not shown: make another (`portcullis key create`), and deactivate \
             and delete this one",
            key.access_key
        ))
    })
}

/// A new key as it is printed, with its secret.
fn new_key_text(new: &Fetched<KeyEntry>, secret: &str, output: Format) -> Zeroizing<String> {
    let key = &new.object.key;
    Zeroizing::new(match output {
        Format::Json => {
            let mut document = new.document(to_document).into_owned();
            document["secretValue"] = secret.into();
            let text = json_text(&document);
            if let Some(Value::String(secret)) = document.get_mut("secretValue") {
                secret.zeroize();
            }
            text
        }
        Format::Table => fields_text(&[
            ("access key", key.access_key.to_string()),
            ("secret key", secret.to_owned()),
            ("id", key.id.to_string()),
            ("owner", owner(new)),
            ("name", text(key.name.as_ref())),
            ("expires", expires(key)),
            ("scope", scope(key)),
        ]),
    })
}

fn show(fetched: &Fetched<KeyEntry>, output: Format) -> anyhow::Result<()> {
    match output {
        Format::Json => print_json(&fetched.document(to_document)),
        Format::Table => print_fields(&fields(fetched)),
    }
}

fn fields(fetched: &Fetched<KeyEntry>) -> Vec<(&'static str, String)> {
    let KeyEntry { key, usage, .. } = &fetched.object;
    let mut fields = vec![
        ("id", key.id.to_string()),
        ("access key", key.access_key.to_string()),
        ("owner", owner(fetched)),
        ("name", text(key.name.as_ref())),
        ("state", fetched.state(key.state)),
        ("description", text(key.description.as_ref())),
        ("expires", expires(key)),
        ("scope", scope(key)),
        ("created", time(Some(key.created))),
        ("last used", last_used(usage)),
        ("removed", time(key.removed)),
        ("uuid", key.uuid.clone()),
    ];
    if let Some(ends) = former_secret(key) {
        let at = fields.iter().position(|(name, _)| *name == "created").unwrap_or(fields.len());
        let rows = [
            ("secret since", time(Some(key.secret_since))),
            ("secret used", last_used(&fetched.object.secret_usage)),
            ("former secret", ends),
            ("former used", last_used(&fetched.object.former_usage)),
        ];
        fields.splice(at..at, rows);
    }
    fields
}

/// How long the former secret works, if there is one.
fn former_secret(key: &ApiKey) -> Option<String> {
    let former = key.former_at(Timestamp::now())?;
    let ends = time(Some(former.ends));
    Some(match former.until_unused {
        None => format!("works until {ends}"),
        Some(idle) => {
            format!("works until it is unused for {}, at the latest until {ends}", lifetime_text(idle))
        }
    })
}

/// When it stops by itself, or that it has.
fn expires(key: &ApiKey) -> String {
    match key.expires {
        None => "never".to_owned(),
        Some(_) if key.has_expired(Timestamp::now()) => format!("{} (expired)", time(key.expires)),
        Some(_) => time(key.expires),
    }
}

/// What it may do, in words.
fn scope(key: &ApiKey) -> String {
    let restrictions = key.scope.as_ref().map(|scope| scope.restrictions().join("; "));
    restrictions.unwrap_or_else(|| "all that its owner can do".to_owned())
}

/// Whether it is narrowed, for a column.
fn scope_mark(key: &ApiKey) -> String {
    match &key.scope {
        None => text(None::<&String>),
        Some(scope) if scope.is_read_only() => "narrowed, read-only".to_owned(),
        Some(_) => "narrowed".to_owned(),
    }
}

/// When, from where, how often.
fn last_used(usage: &KeyUsage) -> String {
    let mut text = time(usage.at);
    if let Some(address) = usage.address {
        text = format!("{text} from {address}");
    }
    match usage.uses {
        0 => text,
        1 => format!("{text}, 1 request"),
        uses => format!("{text}, {uses} requests"),
    }
}

fn row(fetched: &Fetched<KeyEntry>) -> [String; 10] {
    let KeyEntry { key, usage, .. } = &fetched.object;
    [
        key.id.to_string(),
        key.access_key.to_string(),
        owner(fetched),
        text(key.name.as_ref()),
        fetched.state(key.state),
        expires(key),
        scope_mark(key),
        time(Some(key.created)),
        time(usage.at),
        text(key.description.as_ref()),
    ]
}

/// With its name in front of its id, where it has one.
fn owner(fetched: &Fetched<KeyEntry>) -> String {
    let owner = &fetched.object.key.owner;
    let kind = match owner {
        KeyOwner::Account(_) => "account",
        KeyOwner::Environment(_) => "environment",
    };
    let id = owner.to_string();
    match &fetched.owner_name {
        Some(name) if *name != id => format!("{kind} {name} ({id})"),
        _ => format!("{kind} {id}"),
    }
}
