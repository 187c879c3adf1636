//! From a file to a [`Config`], or to every mistake in it.

use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use super::environment_variables::substitute;
use super::reader::{Files, Reader};
use super::yaml::{self, Node};
use super::{
    AccessControl, Argon2, Authentication, Cache, Config, ConfigError, ConfigErrors, KeyLifetimes,
    KeyPrefixes, Limits, Log, Throttle, Timeouts, TrustedPeers, authentication, cores, key_lifetimes, limits,
    listener, log, management, routes, store, tracing, trusted_peers, upstream,
};

/// Reads the configuration at `path`, for commands that do not serve: the files that it names (certificates,
/// peppers, passwords, the store) need not be there.
pub fn load(path: &Path) -> Result<Config, ConfigErrors> {
    read(&read_file(path)?, path, &variable, Files::Leave)
}

/// As [`load`], and every file that serving needs must be there and hold what it should.
pub fn load_to_serve(path: &Path) -> Result<Config, ConfigErrors> {
    read(&read_file(path)?, path, &variable, Files::Check)
}

/// Where the configuration at `path` has its store ([`Store::path`](super::Store::path)), for commands to a running gateway:
/// it may have been started with environment variables that they do not have, and before a mistake was made. So nothing else
/// of the configuration needs to be right.
pub fn load_store_path(path: &Path) -> Result<PathBuf, ConfigErrors> {
    let text = read_file(path)?;
    let mut reader = Reader::new(path, &variable, Files::Leave);
    // what cannot be read as YAML is mostly elsewhere
    let root = parsed(&mut reader, &text).or_else(|| yaml::parse(&section_of(&text, "store")?).ok());
    let store = root.and_then(|root| store::read_path(&mut reader, root));
    store.ok_or_else(|| in_order(reader.errors))
}

/// The lines of `key:`, where one begins with it, up to the next that is not indented.
fn section_of(text: &str, key: &str) -> Option<String> {
    let is_first = |line: &&str| line.strip_prefix(key).is_none_or(|rest| !rest.starts_with(':'));
    let is_more = |line: &&str| line.is_empty() || line.starts_with([' ', '#']);
    let mut lines = text.lines().skip_while(is_first);
    let first = lines.next()?;
    Some(std::iter::once(first).chain(lines.take_while(is_more)).collect::<Vec<_>>().join("\n"))
}

/// Reads a configuration from memory, as if it stood in `file`, with variables from `env`. Opens no file.
pub fn parse(text: &str, file: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Config, ConfigErrors> {
    read(text, file, env, Files::Leave)
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

const NO_CONFIGURATION: &str = "there is no configuration here: 'portcullis init' writes one to begin with, '--config FILE' names one elsewhere";

/// Where the packages put the configuration.
const PACKAGED: &str = "/etc/portcullis/portcullis.yaml";

/// A package's configuration is likely meant, where there is one.
pub(super) fn no_configuration(packaged: &Path) -> String {
    if packaged.exists() {
        format!("there is no configuration here; for the service's, add '--config {}'", packaged.display())
    } else {
        NO_CONFIGURATION.to_owned()
    }
}

fn read_file(path: &Path) -> Result<String, ConfigErrors> {
    let refused = |message: String| {
        ConfigErrors(vec![ConfigError {
            file: path.to_owned(),
            line: 0,
            column: 0,
            path: String::new(),
            message,
        }])
    };
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        // one byte more than allowed shows that there is more
        .and_then(|file| file.take(yaml::MAX_BYTES as u64 + 1).read_to_end(&mut bytes))
        .map_err(|error| {
            refused(match error.kind() {
                ErrorKind::NotFound => no_configuration(Path::new(PACKAGED)),
                _ => format!("cannot read the configuration: {error}"),
            })
        })?;
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = memchr::memchr_iter(b'\n', &error.as_bytes()[..valid]).count() + 1;
        refused(format!("expected UTF-8, found something else in line {line}"))
    })
}

fn read(
    text: &str,
    file: &Path,
    env: &dyn Fn(&str) -> Option<String>,
    files: Files,
) -> Result<Config, ConfigErrors> {
    let mut reader = Reader::new(file, env, files);
    let config = read_with(&mut reader, text);
    match config {
        Some(config) if reader.errors.is_empty() => Ok(config),
        _ => Err(in_order(reader.errors)),
    }
}

pub(super) fn read_with(reader: &mut Reader<'_>, text: &str) -> Option<Config> {
    let mut root = parsed(reader, text)?;
    substitute(reader, &mut root);
    read_root(reader, &root)
}

fn parsed(reader: &mut Reader<'_>, text: &str) -> Option<Node> {
    yaml::parse(text).map_err(|(position, message)| reader.error_at(position, "", message)).ok()
}

/// An alias repeats its anchor's mistakes at the same position: one is enough.
fn in_order(mut errors: Vec<ConfigError>) -> ConfigErrors {
    errors.sort_by(|a, b| (a.line, a.column, &a.message).cmp(&(b.line, b.column, &b.message)));
    errors.dedup_by(|a, b| (a.line, a.column, &a.message) == (b.line, b.column, &b.message));
    ConfigErrors(errors)
}

fn read_root(reader: &mut Reader<'_>, root: &Node) -> Option<Config> {
    let section = reader.section(
        root,
        &[
            "listeners",
            "management",
            "public_url",
            "workers",
            "access_control",
            "store",
            "pepper_file",
            "allow_missing_pepper",
            "key_prefix",
            "former_key_prefixes",
            "keys",
            "authentication",
            "argon2",
            "cache",
            "throttle",
            "upstreams",
            "routes",
            "limits",
            "timeouts",
            "drain_timeout",
            "trusted_proxies",
            "strip_headers",
            "log",
            "tracing",
        ],
    )?;

    let mut access_control = AccessControl::default();
    reader.set(&mut access_control, section.get("access_control"), |reader, node| {
        reader.word(node, &listener::ACCESS_CONTROL)
    });
    let listeners = reader
        .required(&section, "listeners")
        .and_then(|node| listener::read_all(reader, node, access_control));
    let management = section
        .get("management")
        .map(|node| management::read(reader, node, listeners.as_deref().unwrap_or_default()));

    let public_url = section.get("public_url").map(|node| listener::read_public_url(reader, node));

    let mut workers = cores();
    reader.set(&mut workers, section.get("workers"), |reader, node| {
        reader.number_or_auto(node, 1..=1024, cores())
    });

    let store = reader.required(&section, "store").and_then(|node| store::read(reader, node));
    let pepper_files = reader
        .required(&section, "pepper_file")
        .and_then(|node| authentication::read_pepper_files(reader, node));
    let mut allow_missing_pepper = false;
    reader.set(&mut allow_missing_pepper, section.get("allow_missing_pepper"), |reader, node| {
        reader.word(node, &[("true", true), ("false", false)])
    });
    let mut key_prefix = KeyPrefixes::default();
    reader.set(&mut key_prefix.current, section.get("key_prefix"), authentication::read_prefix);
    let current = key_prefix.current.clone();
    reader.set(&mut key_prefix.former, section.get("former_key_prefixes"), |reader, node| {
        authentication::read_former_prefixes(reader, node, &current)
    });
    let mut keys = KeyLifetimes::default();
    reader.set(&mut keys, section.get("keys"), key_lifetimes::read);
    let mut authentication = Authentication::default();
    reader.set(&mut authentication, section.get("authentication"), authentication::read_authentication);
    let mut argon2 = Argon2::default();
    reader.set(&mut argon2, section.get("argon2"), authentication::read_argon2);
    let mut cache = Cache::default();
    reader.set(&mut cache, section.get("cache"), authentication::read_cache);
    let mut throttle = Throttle::default();
    reader.set(&mut throttle, section.get("throttle"), authentication::read_throttle);

    let upstreams = reader.required(&section, "upstreams").and_then(|node| upstream::read_all(reader, node));
    let routes = reader
        .required(&section, "routes")
        .and_then(|node| routes::read_all(reader, node, upstreams.as_deref(), &authentication.accept));

    let mut limits = Limits::default();
    reader.set(&mut limits, section.get("limits"), limits::read_limits);
    let mut timeouts = Timeouts::default();
    reader.set(&mut timeouts, section.get("timeouts"), limits::read_timeouts);
    reader.set(&mut timeouts.drain, section.get("drain_timeout"), limits::read_drain);
    let mut trusted_proxies = TrustedPeers::default();
    reader.set(&mut trusted_proxies, section.get("trusted_proxies"), trusted_peers::read);
    let mut strip_headers = Vec::new();
    reader.set(&mut strip_headers, section.get("strip_headers"), read_stripped);
    let mut log = Log::default();
    reader.set(&mut log, section.get("log"), log::read);
    let tracing = section.get("tracing").map(|node| tracing::read(reader, node));

    let store::Section { store, max_staleness, gateway } = store?;
    Some(Config {
        file: reader.file.to_owned(),
        listeners: listeners?,
        management: match management {
            None => None,
            Some(management) => Some(management?),
        },
        public_url: match public_url {
            None => None,
            Some(url) => Some(url?),
        },
        workers,
        access_control,
        store,
        gateway,
        max_staleness,
        pepper_files: pepper_files?,
        allow_missing_pepper,
        key_prefix,
        keys,
        argon2,
        cache,
        throttle,
        authentication,
        upstreams: upstreams?,
        routes: routes?,
        limits,
        timeouts,
        trusted_proxies,
        strip_headers,
        log,
        tracing: match tracing {
            None => None,
            Some(tracing) => Some(tracing?),
        },
    })
}

/// Without these an upstream could not read the request, or would read another.
const NEVER_STRIPPED: [&str; 5] = ["connection", "content-length", "host", "te", "transfer-encoding"];

fn read_stripped(reader: &mut Reader<'_>, node: &Node) -> Option<Vec<String>> {
    let items = reader.list(node, "a list of header names")?;
    let mut names = Vec::with_capacity(items.len());
    for item in items {
        let Some(name) = routes::read_header_name(reader, item) else { continue };
        // as names are compared when they are stripped
        let name: String =
            name.as_str().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        if NEVER_STRIPPED.contains(&name.as_str()) {
            reader.error(
                item,
                format!("'{name}' cannot be stripped: the upstream needs it to read the request"),
            );
        }
        names.push(name);
    }
    Some(names)
}
