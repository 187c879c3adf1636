//! How secrets are verified: `argon2:`, `cache:`, `throttle:`, `authentication:` and the key prefixes.

use std::path::PathBuf;
use std::time::Duration;

use super::accepted_credentials::{self, AcceptedCredentials};
use super::reader::{Files, Reader, size_text};
use super::yaml::{Node, Value};

/// `argon2:`, the parameters of new hashes and the means given to verification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argon2 {
    /// `memory`: of one run, in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub iterations: u32,
    /// Lanes.
    pub parallelism: u32,
    /// Threads that run argon2, and nothing else.
    pub threads: usize,
    /// Verifications that may wait for a thread; more are answered with 503.
    pub queue: usize,
    /// The most memory that all threads together may use, in bytes.
    pub memory_limit: u64,
}

impl Default for Argon2 {
    /// OWASP's parameters (19 MiB, 2 passes, 1 lane); half the cores.
    fn default() -> Self {
        Self {
            memory_kib: 19 * 1024,
            iterations: 2,
            parallelism: 1,
            threads: automatic_threads(19 * 1024, 256 << 20),
            queue: 256,
            memory_limit: 256 << 20,
        }
    }
}

/// Half the cores, but no more than the memory is for; at least one.
fn automatic_threads(memory_kib: u32, memory_limit: u64) -> usize {
    let fit = usize::try_from(memory_limit / (u64::from(memory_kib) << 10)).unwrap_or(usize::MAX);
    (super::cores() / 2).min(fit).max(1)
}

/// `cache:`, what authentication keeps in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cache {
    /// Memory for verified keys, in bytes.
    pub max_bytes: u64,
    /// Access keys remembered as unknown.
    pub unknown_keys: u64,
    /// Environments remembered, unknown ones too.
    pub environments: u64,
}

impl Default for Cache {
    fn default() -> Self {
        Self { max_bytes: 256 << 20, unknown_keys: 65_536, environments: 100_000 }
    }
}

/// `throttle:`, when a source of wrong credentials is told to wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Throttle {
    /// Failures from one address within `window` that block it. As many guesses at chosen secrets are answered to it.
    pub failures: u32,
    /// Guesses at one access key with a chosen secret that are answered within `window`, to all addresses together.
    pub key_failures: u32,
    /// How long a failure counts.
    pub window: Duration,
    /// How long a blocked address is answered 429; a right secret passes all the same.
    pub block: Duration,
    /// Addresses remembered at most.
    pub sources: usize,
}

impl Default for Throttle {
    fn default() -> Self {
        Self {
            failures: 100,
            key_failures: 600,
            window: Duration::from_mins(1),
            block: Duration::from_mins(1),
            sources: 65_536,
        }
    }
}

/// `key_prefix:` and `former_key_prefixes:`: what minted access keys and secrets start with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPrefixes {
    /// Of new keys: `pc` makes `pca_…`, `pce_…` and `pcs_…`.
    pub current: String,
    /// Prefixes that were current once; their keys are still known as minted.
    pub former: Vec<String>,
}

impl Default for KeyPrefixes {
    fn default() -> Self {
        Self { current: "pc".to_owned(), former: Vec::new() }
    }
}

/// `authentication:`, where credentials stand, and when those that are not recognised at once are answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authentication {
    /// Where a client's credential may stand.
    pub accept: AcceptedCredentials,
    /// When a refusal that cost argon2, or would have, leaves after the request arrived.
    pub refusal_time: Duration,
    /// How long a credential may wait for its verification.
    pub verification_timeout: Duration,
}

impl Default for Authentication {
    fn default() -> Self {
        Self {
            accept: AcceptedCredentials::default(),
            refusal_time: Duration::from_millis(250),
            verification_timeout: Duration::from_secs(10),
        }
    }
}

/// `store.max_staleness`: how long what the gateway knows is good for without the record.
pub const DEFAULT_MAX_STALENESS: Duration = Duration::from_mins(1);

const DAY: Duration = Duration::from_hours(24);
const MILLISECOND: Duration = Duration::from_millis(1);

/// Reads `argon2:`.
pub(super) fn read_argon2(reader: &mut Reader<'_>, node: &Node) -> Option<Argon2> {
    let section =
        reader.section(node, &["memory", "iterations", "parallelism", "threads", "queue", "memory_limit"])?;
    let mut argon2 = Argon2::default();
    reader.set(&mut argon2.memory_kib, section.get("memory"), |reader, node| {
        let bytes = reader.size(node, 1 << 20..=4 << 30)?;
        if bytes % 1024 != 0 {
            return reader.unexpected(node, "a size of whole KiB");
        }
        u32::try_from(bytes / 1024).ok()
    });
    reader
        .set(&mut argon2.iterations, section.get("iterations"), |reader, node| reader.number(node, 1..=100));
    reader
        .set(&mut argon2.parallelism, section.get("parallelism"), |reader, node| reader.number(node, 1..=64));
    reader.set(&mut argon2.queue, section.get("queue"), |reader, node| reader.number(node, 1..=10_000));
    reader.set(&mut argon2.memory_limit, section.get("memory_limit"), |reader, node| {
        reader.size(node, 1 << 20..=1 << 40)
    });
    let automatic = automatic_threads(argon2.memory_kib, argon2.memory_limit);
    argon2.threads = automatic;
    reader.set(&mut argon2.threads, section.get("threads"), |reader, node| {
        reader.number_or_auto(node, 1..=1024, automatic)
    });
    let needed = argon2.threads as u64 * (u64::from(argon2.memory_kib) << 10);
    if needed > argon2.memory_limit {
        let blamed = ["threads", "memory", "memory_limit"].into_iter().find_map(|key| section.get(key));
        reader.error(
            blamed.unwrap_or(node),
            format!(
                "{} threads of {} each need {}, expected at most 'memory_limit', which is {}",
                argon2.threads,
                size_text(u64::from(argon2.memory_kib) << 10),
                size_text(needed),
                size_text(argon2.memory_limit)
            ),
        );
    }
    Some(argon2)
}

/// Reads `cache:`.
pub(super) fn read_cache(reader: &mut Reader<'_>, node: &Node) -> Option<Cache> {
    let section = reader.section(node, &["max_bytes", "unknown_keys", "environments"])?;
    let mut cache = Cache::default();
    reader.set(&mut cache.max_bytes, section.get("max_bytes"), |reader, node| {
        reader.size(node, 64 << 10..=1 << 40)
    });
    reader.set(&mut cache.unknown_keys, section.get("unknown_keys"), |reader, node| {
        reader.number(node, 1..=100_000_000)
    });
    reader.set(&mut cache.environments, section.get("environments"), |reader, node| {
        reader.number(node, 1..=100_000_000)
    });
    Some(cache)
}

/// Reads `throttle:`.
pub(super) fn read_throttle(reader: &mut Reader<'_>, node: &Node) -> Option<Throttle> {
    let section = reader.section(node, &["failures", "key_failures", "window", "block", "sources"])?;
    let mut throttle = Throttle::default();
    reader
        .set(&mut throttle.failures, section.get("failures"), |reader, node| reader.number(node, 1..=65_534));
    reader.set(&mut throttle.key_failures, section.get("key_failures"), |reader, node| {
        reader.number(node, 1..=1_000_000)
    });
    reader.set(&mut throttle.window, section.get("window"), |reader, node| {
        reader.duration(node, MILLISECOND..=DAY)
    });
    reader.set(&mut throttle.block, section.get("block"), |reader, node| {
        reader.duration(node, MILLISECOND..=DAY)
    });
    reader.set(&mut throttle.sources, section.get("sources"), |reader, node| {
        reader.number(node, 1..=100_000_000)
    });
    Some(throttle)
}

/// Reads `authentication:`.
pub(super) fn read_authentication(reader: &mut Reader<'_>, node: &Node) -> Option<Authentication> {
    let section = reader.section(node, &["accept", "refusal_time", "verification_timeout"])?;
    let mut authentication = Authentication::default();
    reader.set(&mut authentication.accept, section.get("accept"), accepted_credentials::read);
    reader.set(&mut authentication.refusal_time, section.get("refusal_time"), |reader, node| {
        reader.duration(node, MILLISECOND..=Duration::from_secs(10))
    });
    reader.set(
        &mut authentication.verification_timeout,
        section.get("verification_timeout"),
        |reader, node| reader.duration(node, Duration::from_millis(100)..=Duration::from_mins(5)),
    );
    Some(authentication)
}

/// Reads `key_prefix:`, or an item of `former_key_prefixes:`.
pub(super) fn read_prefix(reader: &mut Reader<'_>, node: &Node) -> Option<String> {
    reader.parsed(node, "1 to 12 of the characters a-z 0-9, a letter first, such as pc", |text| {
        let fits = (1..=12).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        fits.then(|| text.to_owned())
    })
}

/// Reads `former_key_prefixes:`.
pub(super) fn read_former_prefixes(
    reader: &mut Reader<'_>,
    node: &Node,
    current: &str,
) -> Option<Vec<String>> {
    let mut known = vec![current.to_owned()];
    let items = reader.list(node, "a list of key prefixes")?;
    for item in items {
        if let Some(prefix) = read_prefix(reader, item) {
            if known.contains(&prefix) {
                reader.error(item, format!("the prefix '{prefix}' is given twice"));
            }
            known.push(prefix);
        }
    }
    known.remove(0);
    Some(known)
}

/// `init` refuses where there is a store, so it is no way out for those who lost the pepper.
const CURRENT_PEPPER_HINT: &str = ": 'portcullis init' makes one together with a new store; where it was lost, write \
    64 random hexadecimal digits into it (openssl rand -hex 32) and set 'allow_missing_pepper: true'";

/// Reads `pepper_file:`: one path or a list.
pub(super) fn read_pepper_files(reader: &mut Reader<'_>, node: &Node) -> Option<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = Vec::new();
    let mut read = |reader: &mut Reader<'_>, node: &Node| {
        let path = reader.path(node)?;
        if files.contains(&path) {
            reader.error(node, "the pepper is given twice");
        } else if reader.files == Files::Check && !path.is_file() {
            let hint = if files.is_empty() { CURRENT_PEPPER_HINT } else { "" };
            reader.error(node, format!("there is no pepper '{}'{hint}", path.display()));
        }
        files.push(path);
        Some(())
    };
    if matches!(node.value, Value::List(_)) {
        reader.items(node, "the path of a file, or a list of such", read)?;
    } else {
        read(reader, node)?;
    }
    Some(files)
}
