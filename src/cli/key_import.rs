//! `portcullis key import`: many keys from another system, with the hashes of their secrets.

mod formats;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Read;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use self::formats::{FileEntry, FileFormat, FileLine, FileSecret};
use super::backend::Backend;
use super::local_store::LocalStore;
use super::output::{Format, eprint_line, nested, print, printable};
use super::results::Changed;
use crate::auth::{STRONG_SECRET_BITS, Verifier, max_entropy_bits};
use crate::config::Argon2;
use crate::model::{KeyId, KeyOwner};
use crate::store::{
    ChangeNumber, Edit, KeyEdit, KeyProperties, KeyVerifier, NewKey, ReplacedSecret, StoredKey,
};

/// Lines for each thread that are hashed and then written in one transaction.
const LINES_PER_THREAD: usize = 64;
/// How often the progress is told.
const PROGRESS: Duration = Duration::from_secs(2);
/// A larger file is not read: two million lines of `htpasswd`, with bcrypt.
const MAX_FILE_BYTES: u64 = 256 << 20;
/// A file with fewer lines is no long file.
const ANNOUNCED_LINES: usize = 200;
/// What takes longer is announced.
const ANNOUNCED: Duration = Duration::from_secs(10);
/// How much a gateway beside the import goes first.
const NICENESS: i32 = 5;

/// What `key import` is told.
#[derive(Debug, Args)]
pub(super) struct ImportArguments {
    /// What wrote the file: htpasswd, kong (basic-auth), rancher (1.x), or csv with plain secrets
    #[arg(long, value_enum)]
    format: FileFormat,
    /// Say what would be imported, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// The file; - reads stdin
    file: PathBuf,
}

/// What became of a line.
enum LineResult {
    Imported(KeyId),
    /// It would be, without `--dry-run`.
    Importable,
    /// Perhaps with something to know about it.
    AlreadyImported(KeyId, Option<&'static str>),
    Refused(String),
}

/// What is known of a line once its secret was hashed or verified.
enum Prepared {
    New(KeyVerifier),
    Done(LineResult),
}

/// How many lines came to which end.
#[derive(Default)]
struct Counts {
    imported: usize,
    already: usize,
    refused: usize,
}

const BESIDE_THE_STORE: &str =
    "keys are imported beside the store: run this on the gateway's machine, without --url";

/// Refuses a gateway's API, before it is asked anything.
pub(super) fn refuse_api(backend: &Backend) -> anyhow::Result<()> {
    if let Backend::Api(_) = backend {
        bail!(BESIDE_THE_STORE)
    }
    Ok(())
}

impl ImportArguments {
    /// Imports for `owner`.
    pub(super) fn run(
        &self,
        backend: &mut Backend,
        owner: &KeyOwner,
        output: Format,
    ) -> anyhow::Result<ExitCode> {
        let Backend::Store(local_store) = backend else { bail!(BESIDE_THE_STORE) };
        let bytes = read_file(&self.file)?;
        let mut lines = formats::read(self.format, &bytes, &local_store.config.key_prefix)
            .with_context(|| format!("{}", self.file.display()))?;
        drop(bytes);
        refuse_repeated(&mut lines);
        let mut report = Report::begin(output, lines.len())?;
        let newest = self.import(local_store, owner, &lines, &mut report)?;
        let mut changed = newest.map(|number| Changed::in_store((), number));
        if let Some(changed) = &mut changed {
            backend.await_receipt(changed);
        }
        report.end(self.dry_run, changed.as_ref())?;
        let exit = changed.map_or(ExitCode::SUCCESS, |changed| changed.exit());
        Ok(if report.counts.refused > 0 { ExitCode::FAILURE } else { exit })
    }

    /// Part by part, each in one transaction: a stop in the middle leaves whole lines. The newest change, where there is one.
    fn import(
        &self,
        local_store: &mut LocalStore,
        owner: &KeyOwner,
        lines: &[FileLine],
        report: &mut Report,
    ) -> anyhow::Result<Option<ChangeNumber>> {
        let argon2 = on_all_cores(&local_store.config.argon2);
        let mut verifiers: Vec<_> = (0..argon2.threads).map(|_| Verifier::new(&argon2)).collect();
        // a system that knows no niceness is no reason not to import
        let _ = rustix::process::nice(NICENESS);
        if !self.dry_run && lines.len() >= ANNOUNCED_LINES {
            announce(&mut verifiers, &argon2, lines.len());
        }
        let mut newest = None;
        for part in lines.chunks(LINES_PER_THREAD * verifiers.len()) {
            let looked_up: Vec<_> =
                part.iter().map(|line| look_up(local_store, line)).collect::<Result<_, _>>()?;
            let mut prepared = in_parallel(&mut verifiers, part.len(), |verifier, at| {
                match (&part[at].entry, &looked_up[at]) {
                    (Err(reason), _) | (Ok(_), Err(reason)) => {
                        Prepared::Done(LineResult::Refused(reason.clone()))
                    }
                    (Ok(entry), Ok((_, Some(stored)))) => {
                        Prepared::Done(compare(verifier, entry, stored, owner))
                    }
                    (Ok(_), Ok((_, None))) if self.dry_run => Prepared::Done(LineResult::Importable),
                    (Ok(entry), Ok((_, None))) => hash(verifier, &argon2, entry),
                }
            });
            let mut new = Vec::new();
            for (at, prepared) in prepared.iter_mut().enumerate() {
                if let (Prepared::New(verifier), Ok(entry), Ok((properties, _))) =
                    (&*prepared, &part[at].entry, &looked_up[at])
                {
                    new.push(NewKey {
                        owner: owner.clone(),
                        access_key: entry.access_key.clone(),
                        properties: properties.clone(),
                        verifier: verifier.clone(),
                    });
                }
            }
            let mut created = Vec::new().into_iter();
            if !new.is_empty() {
                let (keys, number) = local_store.store.import_keys(owner, &new)?;
                created = keys.into_iter();
                newest = Some(number);
            }
            for (line, prepared) in part.iter().zip(prepared) {
                let result = match prepared {
                    Prepared::Done(result) => result,
                    Prepared::New(_) => match created.next() {
                        Some(Ok(key)) => LineResult::Imported(key.id),
                        Some(Err(error)) => LineResult::Refused(error.to_string()),
                        None => LineResult::Refused("the store has not taken it".to_owned()),
                    },
                };
                report.line(line, &result)?;
            }
            report.progress();
        }
        Ok(newest)
    }
}

/// The configured parameters on all cores, as far as the memory limit allows.
fn on_all_cores(configured: &Argon2) -> Argon2 {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let room = configured.memory_limit / 1024 / u64::from(configured.memory_kib.max(1));
    let room = usize::try_from(room).unwrap_or(cores);
    Argon2 { threads: cores.min(room).max(1), ..configured.clone() }
}

/// How long so many lines take.
fn announce(verifiers: &mut [Verifier], argon2: &Argon2, lines: usize) {
    let (began, threads) = (Instant::now(), verifiers.len());
    // the first of all fills the memory, which takes as long again
    let runs = verifiers.first_mut().map(|one| (one.hash(argon2, b"first"), one.hash(argon2, b"second")));
    if let Some((Ok(_), Ok(_))) = runs {
        let each = began.elapsed() / 2 / u32::try_from(threads).unwrap_or(u32::MAX);
        let all = each.saturating_mul(u32::try_from(lines).unwrap_or(u32::MAX));
        if all > ANNOUNCED {
            let all = humantime::format_duration(Duration::from_secs(all.as_secs()));
            eprint_line(format_args!(
                "portcullis: {lines} lines take about {all} on {threads} threads, since argon2id runs for each; you can \
                 stop at any time, and import the same file again later"
            ));
        }
    }
}

/// Reads the whole file into memory that is wiped.
fn read_file(path: &Path) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let about = || format!("cannot read {}", path.display());
    let (source, length): (Box<dyn Read>, u64) = if path == Path::new("-") {
        (Box::new(std::io::stdin().lock()), 0)
    } else {
        let file = File::open(path).with_context(about)?;
        let length = file.metadata().with_context(about)?.len();
        (Box::new(file), length)
    };
    // with all its room at once: a buffer that grows leaves copies behind
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(length.min(MAX_FILE_BYTES))? + 1));
    source.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).with_context(about)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        bail!("{} is larger than 256 MiB: import it in parts", path.display());
    }
    Ok(bytes)
}

/// Of two lines with one name the first counts, as it does for Apache and nginx.
fn refuse_repeated(lines: &mut [FileLine]) {
    let mut first = HashMap::new();
    for line in lines {
        let Ok(entry) = &line.entry else { continue };
        let number = *first.entry(entry.access_key.clone()).or_insert(line.number);
        if number != line.number {
            line.entry = Err(format!("line {number} has the same name already"));
        }
    }
}

/// What a new key of the line would be made with, and what the store has of it; or why neither can be.
type LookedUp = Result<(KeyProperties, Option<StoredKey>), String>;

fn look_up(local_store: &LocalStore, line: &FileLine) -> anyhow::Result<LookedUp> {
    let Ok(entry) = &line.entry else { return Ok(Err(String::new())) };
    let stored = match local_store.store.stored_key(&entry.access_key) {
        Err(error) if error.is_refusal() => return Ok(Err(error.to_string())),
        stored => stored?,
    };
    let now = Timestamp::now();
    let said = KeyEdit {
        common: Edit {
            name: Some(entry.name.clone()),
            description: Some(entry.description.clone()),
            ..Edit::default()
        },
        expires: entry.expires.map(|end| end.from(now)),
        ..KeyEdit::default()
    };
    let properties = said.into_properties(&local_store.config.keys, now);
    Ok(properties.map(|properties| (properties, stored)).map_err(|error| error.to_string()))
}

/// Runs `work` for each place, on a thread for each verifier.
fn in_parallel<T: Send>(
    verifiers: &mut [Verifier],
    count: usize,
    work: impl Fn(&mut Verifier, usize) -> T + Sync,
) -> Vec<T> {
    let (next, work) = (AtomicUsize::new(0), &work);
    let mut done: Vec<(usize, T)> = std::thread::scope(|scope| {
        let threads: Vec<_> = verifiers
            .iter_mut()
            .map(|verifier| {
                scope.spawn(|| {
                    let mut done = Vec::new();
                    loop {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        if at >= count {
                            return done;
                        }
                        done.push((at, work(verifier, at)));
                    }
                })
            })
            .collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, Vec<(usize, T)>>| match thread.join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        threads.into_iter().flat_map(join).collect()
    });
    done.sort_unstable_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

/// argon2id of the secret, or over the hash that another system has made of it.
fn hash(verifier: &mut Verifier, argon2: &Argon2, entry: &FileEntry) -> Prepared {
    let (text, inner) = match &entry.secret {
        FileSecret::Plain(secret) => (secret.as_slice(), None),
        FileSecret::Hashed(foreign) => (foreign.output.as_slice(), Some(foreign.inner.to_string())),
    };
    match verifier.hash(argon2, text) {
        Ok(phc) => Prepared::New(KeyVerifier { phc, fingerprint: None, inner }),
        Err(error) => Prepared::Done(LineResult::Refused(error.to_string())),
    }
}

/// Whether the key that is there is the one of the file.
fn compare(verifier: &mut Verifier, entry: &FileEntry, stored: &StoredKey, owner: &KeyOwner) -> LineResult {
    let access_key = &entry.access_key;
    if stored.owner != *owner {
        return LineResult::Refused(format!("there is a key {access_key} already, of {}", stored.owner));
    }
    let mut failure = None;
    for known in [Some(&stored.verifiers.current), stored.verifiers.former.as_ref()].into_iter().flatten() {
        let is_same = match &entry.secret {
            FileSecret::Plain(secret) => verifier.verify_key(known, secret),
            FileSecret::Hashed(foreign) if known.inner == Some(foreign.inner.to_string()) => {
                verifier.verify(&known.phc, &foreign.output)
            }
            FileSecret::Hashed(_) => Ok(false),
        };
        match is_same {
            Ok(true) => return LineResult::AlreadyImported(stored.id, None),
            Ok(false) => {}
            Err(error) => failure = Some(error),
        }
    }
    match (stored.replaced, &entry.secret, failure) {
        (Some(ReplacedSecret::Rotated), ..) => {
            LineResult::AlreadyImported(stored.id, Some("it was given another secret since"))
        }
        (Some(ReplacedSecret::Rehashed), FileSecret::Hashed(_), _) => LineResult::AlreadyImported(
            stored.id,
            Some("its secret was used since, and nothing is left to compare the file's hash with"),
        ),
        (.., Some(error)) => LineResult::Refused(format!("there is a key {access_key} already: {error}")),
        _ => LineResult::Refused(format!("there is a key {access_key} already, with another secret")),
    }
}

/// What is printed: a line for each line of the file, then how many of each kind there were.
struct Report {
    output: Format,
    counts: Counts,
    total: usize,
    began: Instant,
    told: Instant,
}

impl Report {
    fn begin(output: Format, total: usize) -> anyhow::Result<Self> {
        if output == Format::Json {
            print("{\n  \"lines\": [")?;
        }
        let now = Instant::now();
        Ok(Self { output, counts: Counts::default(), total, began: now, told: now })
    }

    fn done(&self) -> usize {
        self.counts.imported + self.counts.already + self.counts.refused
    }

    fn line(&mut self, line: &FileLine, result: &LineResult) -> anyhow::Result<()> {
        let is_first = self.done() == 0;
        let (word, id, reason) = match result {
            LineResult::Imported(id) => ("imported", Some(id), None),
            LineResult::Importable => ("importable", None, None),
            LineResult::AlreadyImported(id, note) => ("already imported", Some(id), *note),
            LineResult::Refused(reason) => ("refused", None, Some(reason.as_str())),
        };
        *match result {
            LineResult::Imported(_) | LineResult::Importable => &mut self.counts.imported,
            LineResult::AlreadyImported(..) => &mut self.counts.already,
            LineResult::Refused(_) => &mut self.counts.refused,
        } += 1;
        let warnings = warnings(line);
        if self.output == Format::Json {
            let mut document = json!({ "line": line.number, "accessKey": line.shown_name, "result": word });
            if let Some(id) = id {
                document["id"] = id.to_string().into();
            }
            if let Some(reason) = reason {
                document["reason"] = reason.into();
            }
            if !warnings.is_empty() {
                document["warnings"] = warnings.into();
            }
            let comma = if is_first { "" } else { "," };
            return print(&printable(format!("{comma}\n    {document}")));
        }
        let mut text = format!("line {}: ", line.number);
        if !line.shown_name.is_empty() {
            let _ = write!(text, "{}: ", line.shown_name);
        }
        text.push_str(word);
        if let Some(id) = id {
            let _ = write!(text, " as {id}");
        }
        for more in reason.into_iter().chain(warnings) {
            let _ = write!(text, ": {more}");
        }
        print(&format!("{text}\n"))
    }

    /// Says on stderr how far it is, and how long the rest takes.
    fn progress(&mut self) {
        let (now, done) = (Instant::now(), self.done());
        if now.duration_since(self.told) < PROGRESS || done == self.total {
            return;
        }
        self.told = now;
        let took = now.duration_since(self.began).as_millis().max(1);
        let (rate, left) =
            (done as u128 * 1_000 / took, (self.total - done) as u128 * took / done.max(1) as u128);
        let left = humantime::format_duration(Duration::from_secs(u64::try_from(left / 1_000).unwrap_or(0)));
        eprint_line(format_args!("portcullis: {done} of {} lines, {rate} a second, {left} left", self.total));
    }

    fn end(&self, dry_run: bool, changed: Option<&Changed<()>>) -> anyhow::Result<()> {
        let Counts { imported, already, refused } = self.counts;
        if self.output == Format::Json {
            let receipt = changed.and_then(|changed| changed.receipt.as_ref());
            let receipt = receipt.map_or(Value::Null, Clone::clone);
            let word = if dry_run { "importable" } else { "imported" };
            return print(&format!(
                "\n  ],\n  \"{word}\": {imported},\n  \"alreadyImported\": {already},\n  \"refused\": {refused},\n  \
                 \"receipt\": {}\n}}\n",
                nested(&receipt, 2)
            ));
        }
        let word = if dry_run { "would be imported" } else { "imported" };
        let summary = format!("{imported} {word}, {already} already imported, {refused} refused");
        print(&changed.map_or_else(|| format!("{summary}\n"), |changed| changed.summary(&summary)))
    }
}

/// What should be known of a key that works.
fn warnings(line: &FileLine) -> Vec<&'static str> {
    let Ok(FileEntry { secret: FileSecret::Plain(secret), .. }) = &line.entry else { return Vec::new() };
    let mut warnings = Vec::new();
    if max_entropy_bits(secret) < STRONG_SECRET_BITS {
        warnings.push("warning: this secret is weak");
    }
    if !secret.is_ascii() {
        warnings.push(
            "warning: this secret holds characters outside ASCII, which some clients send in another encoding \
             (python-requests as Latin-1)",
        );
    }
    warnings
}
