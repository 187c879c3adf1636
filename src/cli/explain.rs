//! `portcullis explain`: what the gateway would decide, and why, from the same code that decides.

use std::ffi::OsString;
use std::fmt::{Display, Write as _};
use std::net::IpAddr;
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use http::header::{self, HeaderName};
use http::{HeaderValue, Method};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::arguments::SECRET_AS_NAME;
use super::local_store;
use super::output::{Format, print, print_json};
use super::route_table::route_table;
use crate::auth::{AuthFailure, looks_like_secret};
use crate::config::{AccessControl, Config, load};
use crate::model::{AccessKey, Owner, Principal, State};
use crate::policy::{
    DecisionInput, DenialStatus, DestinationHeader, EnvironmentName, EnvironmentStatus, HeaderValues,
    PathClass, RouteTable, Routed, RoutingError, Rule, WebDavDestination, admit_target, apply_selectors,
    decide, destination_header,
};
use crate::store::{RequestStore, StoreError};

/// How long the store may take to close.
const CLOSING: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
#[command(
    about = "Say what the gateway would decide on a request, and the rule that makes it so",
    long_about = "Shows what the gateway would decide about a request, and which rule decides. It uses the gateway's own \
        code and store. Nothing is sent, and no secret is needed: explain assumes that the secret is right.",
    after_help = "Examples:\n  \
        portcullis explain GET /healthz\n  \
        portcullis explain --key pce_0123456789abcdefghjk GET '/v2-beta/projects/e1/hosts?limit=9'\n  \
        portcullis explain --key 1c7 --from 192.0.2.7 GET /v2-beta/hosts\n  \
        portcullis explain --key 1c7 -H 'X-API-Project-Id: e1' POST /v2-beta/hosts\n  \
        portcullis explain --key 1c7 -H 'Upgrade: websocket' --fail-on-deny GET /v2-beta/subscribe"
)]
pub(super) struct Explain {
    /// The access key (or id) of the key that asks; without it, a request without credentials
    #[arg(long, value_name = "ACCESS_KEY")]
    key: Option<String>,

    /// A header of the request, as 'Name: value'; may be repeated
    ///
    /// Headers count where the route has header selectors, for `Upgrade`, and for CORS preflights.
    #[arg(long = "header", short = 'H', value_name = "HEADER", value_parser = parse_header)]
    headers: Vec<(HeaderName, HeaderValue)>,

    /// The address that the request comes from, for keys that are narrowed to networks
    #[arg(long, value_name = "ADDRESS", requires = "key")]
    from: Option<IpAddr>,

    /// Exit with status 1 where the request is refused
    #[arg(long)]
    fail_on_deny: bool,

    /// The method, such as GET
    #[arg(value_name = "METHOD")]
    #[arg(value_parser = |text: &str| text.parse::<Method>().map_err(|_| "expected a method such as GET, and the path after it"))]
    method: Method,

    /// The path as it is sent, escapes and query included, such as '/v2-beta/projects/e1/hosts?limit=10'; of a URL its path
    #[arg(value_name = "PATH")]
    target: OsString,
}

const SECRET_IN_HEADER: &str = "name the key with --key: secrets do not belong on a command line";

fn parse_header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("a header is written 'Name: value'")?;
    let name: HeaderName = name.parse().map_err(|_| format!("'{name}' is not the name of a header"))?;
    if name == header::AUTHORIZATION {
        return Err(SECRET_IN_HEADER.to_owned());
    }
    let value = value.trim().parse().map_err(|_| format!("the value of '{name}' is not one of a header"))?;
    Ok((name, value))
}

impl Explain {
    pub(super) fn run(self, config: &Path, output: Format) -> anyhow::Result<ExitCode> {
        let config = load(config)?;
        let table = route_table(&config)?;
        let accepted = &config.authentication.accept;
        let holds_secret = |name: &HeaderName| {
            accepted.headers.iter().any(|header| header.name.eq_ignore_ascii_case(name.as_str()))
        };
        ensure!(!self.headers.iter().any(|(name, _)| holds_secret(name)), SECRET_IN_HEADER);
        let target = self.target.clone().into_vec();
        let target = without_origin(&target);
        let answer = self.answer(&config, &table, target)?;
        let request = format!("{} {}", self.method, String::from_utf8_lossy(target).escape_debug());
        match output {
            Format::Json => print_json(&answer.document(&request))?,
            Format::Table => print(&answer.text(&request))?,
        }
        let refused = matches!(answer.verdict, Verdict::Deny(_));
        Ok(if refused && self.fail_on_deny { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }

    /// Goes the way of a request, and stops where the request would.
    fn answer(&self, config: &Config, table: &RouteTable, target: &[u8]) -> anyhow::Result<Answer> {
        let mut answer = Answer::default();
        let who = self.principal(config)?;
        answer.facts.push(("key", who.description()));
        if let Some(scope) = who.principal().and_then(|principal| principal.key.scope.as_ref()) {
            answer.facts.push(("scope", scope.restrictions().join("; ")));
            if self.from.is_none() && !scope.networks().is_empty() {
                answer.notes.push("the networks of the key were not checked: add --from ADDRESS".to_owned());
            }
        }
        answer.notes.extend(lower_case_note(&self.method));
        if self.key.as_ref().is_some_and(|key| key.contains(':')) {
            answer.notes.push("the secret was not compared: a wrong one is answered 401".to_owned());
        }
        if matches!(self.method, Method::CONNECT | Method::TRACE) {
            return Ok(answer.deny(405, &"the gateway passes neither CONNECT nor TRACE"));
        }
        let target = match admit_target(target) {
            Ok(target) => target,
            Err(refusal) => return Ok(answer.deny(400, &refusal)),
        };
        let routed = match table.classify(&target) {
            Ok(routed) => routed,
            Err(RoutingError::Ambiguous(refusal)) => return Ok(answer.deny(400, &refusal)),
            Err(refusal @ RoutingError::NoRoute) => {
                answer.notes.push("`portcullis check` lists the routes".to_owned());
                return Ok(answer.deny(404, &refusal));
            }
        };
        answer.facts.push(("route", route(config, &routed)));
        let routed = match apply_selectors(routed, target.query, &|name| self.header_values(name)) {
            Ok(routed) => routed,
            Err(refusal) => return Ok(answer.deny(400, &refusal)),
        };
        answer.facts.push(("class", format!("{}: {}", routed.class, routed.class_reason)));
        if routed.route.cors.is_some() && self.is_preflight() {
            return Ok(answer.allow(&"the gateway answers CORS preflights of this route itself (204)"));
        }
        if let (Some(why), false) = (who.no_principal(), routed.needs_no_key(&self.method)) {
            return Ok(answer.deny(401, &why));
        }
        if let (Some(address), Some(principal)) = (self.from, who.principal())
            && !routed.needs_no_key(&self.method)
            && principal.is_active()
            && !principal.key.may_come_from(address)
        {
            return Ok(answer.deny(401, &"the address is outside the key's networks"));
        }

        let destination = match self.destination(table) {
            Ok(destination) => destination,
            Err(why) => return Ok(answer.deny(400, &why)),
        };
        let class = match (routed.class, destination) {
            (PathClass::Environment(_), _) | (_, None | Some(WebDavDestination::NoRoute)) => routed.class,
            (_, Some(WebDavDestination::Routed(second))) => second.class,
        };
        let facts = match class {
            PathClass::Environment(EnvironmentName::Named(id)) => {
                let facts = environment_facts(config, id)?;
                answer.facts.push(("environment", environment_text(id, facts)));
                Some(facts)
            }
            _ => None,
        };
        let access_control = access_control(config, &who, &mut answer);
        let input = DecisionInput {
            principal: who.principal(),
            access_control,
            method: &self.method,
            upgrade: self.headers.iter().any(|(name, _)| *name == header::UPGRADE),
            routed: &routed,
            destination,
            environment: facts,
        };
        Ok(match decide(&input) {
            Ok(grant) => {
                if let Some(role) = grant.role() {
                    answer.facts.push(("role", role.to_owned()));
                }
                answer.allow(&grant.rule())
            }
            Err(denial) => {
                if let (Rule::KeyDoesNotWork, Some(principal)) = (denial.rule, who.principal()) {
                    answer.notes.push(activation_note(principal));
                }
                let status = match denial.status {
                    DenialStatus::Unauthenticated => 401,
                    DenialStatus::Forbidden => 403,
                };
                answer.deny(status, &denial.rule)
            }
        })
    }

    /// What the path in `Destination` is. Its origin is taken for the right one.
    fn destination<'a>(&'a self, table: &'a RouteTable) -> Result<Option<WebDavDestination<'a>>, String> {
        let value = match (destination_header(&self.method), self.header_values("destination")) {
            (DestinationHeader::None, _) | (DestinationHeader::Possible, HeaderValues::Absent) => {
                return Ok(None);
            }
            (DestinationHeader::Required, HeaderValues::Absent) => {
                return Err("COPY and MOVE need a Destination: give it with --header".to_owned());
            }
            (_, HeaderValues::Many) => return Err("Destination stands more than once".to_owned()),
            (_, HeaderValues::Withheld) => return Err("Connection names Destination".to_owned()),
            (_, HeaderValues::One(value)) => value,
        };
        let target = admit_target(without_origin(value)).map_err(|refusal| refusal.to_string())?;
        let routed = match table.classify(&target) {
            Ok(routed) => routed,
            Err(RoutingError::NoRoute) => return Ok(Some(WebDavDestination::NoRoute)),
            Err(RoutingError::Ambiguous(refusal)) => return Err(refusal.to_string()),
        };
        let selected = apply_selectors(routed, target.query, &|name| self.header_values(name));
        selected.map(|routed| Some(WebDavDestination::Routed(routed))).map_err(|refusal| refusal.to_string())
    }

    fn is_preflight(&self) -> bool {
        let has = |wanted: HeaderName| self.headers.iter().any(|(name, _)| *name == wanted);
        self.method == Method::OPTIONS && has(header::ORIGIN) && has(header::ACCESS_CONTROL_REQUEST_METHOD)
    }

    /// A header counts under every name that some upstreams take for it.
    fn header_values(&self, wanted: &str) -> HeaderValues<'_> {
        let alike = |name: &str| {
            let plain = |b: u8| if b.is_ascii_alphanumeric() { b.to_ascii_lowercase() } else { b'-' };
            name.bytes().map(plain).eq(wanted.bytes().map(plain))
        };
        let mut values = self.headers.iter().filter(|(name, _)| alike(name.as_str()));
        match (values.next(), values.next()) {
            (None, _) => HeaderValues::Absent,
            (Some((_, value)), None) => HeaderValues::One(value.as_bytes()),
            (Some(_), Some(_)) => HeaderValues::Many,
        }
    }

    fn principal(&self, config: &Config) -> anyhow::Result<Who> {
        let Some(wanted) = &self.key else { return Ok(Who::Nobody) };
        // of a pair the access key is enough
        let wanted = wanted.split(':').next().unwrap_or_default();
        // an id is as good as an access key; what is neither is an access key that nobody has
        let access_key = match local_store::open_store(config)?.find_key(wanted) {
            Ok(key) if key.state == State::Removed => return Ok(Who::Removed(key.access_key)),
            Ok(key) => key.access_key,
            Err(StoreError::NotFound { .. }) if looks_like_secret(wanted) => bail!(SECRET_AS_NAME),
            Err(StoreError::NotFound { .. }) => wanted.parse::<AccessKey>().context("--key")?,
            Err(error) => return Err(error.into()),
        };
        let read =
            read_store(config, async |request_store: &RequestStore| request_store.key(&access_key).await)?;
        Ok(match read.record.map(|record| Box::new(record.principal)) {
            Some(principal)
                if AuthFailure::of(&principal, Timestamp::now()) == Some(AuthFailure::Expired) =>
            {
                Who::Expired(principal)
            }
            Some(principal) => Who::Principal(principal),
            None => Who::Unknown(access_key),
        })
    }
}

/// The path of a URL, or what is no URL.
fn without_origin(text: &[u8]) -> &[u8] {
    let after_scheme = text.windows(3).position(|window| window == b"://").map(|at| &text[at + 3..]);
    match after_scheme {
        Some(rest) if !text.starts_with(b"/") => {
            rest.iter().position(|&byte| byte == b'/').map_or(&b"/"[..], |at| &rest[at..])
        }
        _ => text,
    }
}

fn route(config: &Config, routed: &Routed<'_, '_>) -> String {
    let upstream = &config.upstreams[routed.route.upstream].name;
    format!("{} to {upstream} ({}:{})", routed.route.path, config.file.display(), routed.route.position.line)
}

/// Listeners may differ; where that matters, the strictest is told, and that there is another.
fn access_control(config: &Config, who: &Who, answer: &mut Answer) -> AccessControl {
    let mut disabled = config
        .listeners
        .iter()
        .filter(|listener| listener.access_control(config) == AccessControl::Disabled)
        .map(|listener| listener.address.to_string())
        .peekable();
    if !matches!(who, Who::Nobody) || disabled.peek().is_none() {
        return AccessControl::Enabled;
    }
    let disabled: Vec<_> = disabled.collect();
    if disabled.len() == config.listeners.len() {
        return AccessControl::Disabled;
    }
    let note = format!(
        "access control is disabled at {}: this decision is that of the other listeners",
        disabled.join(", ")
    );
    answer.notes.push(note);
    AccessControl::Enabled
}

/// Who asks.
enum Who {
    Nobody,
    Unknown(AccessKey),
    Removed(AccessKey),
    /// The key has ended by itself.
    Expired(Box<Principal>),
    Principal(Box<Principal>),
}

impl Who {
    fn principal(&self) -> Option<&Principal> {
        match self {
            Self::Principal(principal) => Some(principal),
            Self::Nobody | Self::Unknown(_) | Self::Removed(_) | Self::Expired(_) => None,
        }
    }

    /// Why a key that was named stands for nobody.
    fn no_principal(&self) -> Option<String> {
        match self {
            Self::Unknown(_) => Some(
                "no key has this access key: `portcullis key list` shows the keys that there are".to_owned(),
            ),
            Self::Removed(_) => Some("the key was removed".to_owned()),
            Self::Expired(principal) => Some(format!(
                "the key has expired: `portcullis key edit {} --expires 90d` lets it live longer",
                principal.key.id
            )),
            Self::Nobody | Self::Principal(_) => None,
        }
    }

    fn description(&self) -> String {
        let principal = match self {
            Self::Nobody => return "none".to_owned(),
            Self::Unknown(access_key) => return format!("{access_key} (unknown)"),
            Self::Removed(access_key) => return format!("{access_key} (removed)"),
            Self::Expired(principal) | Self::Principal(principal) => principal,
        };
        let key = &principal.key;
        let mut text = format!("{} ({}", key.access_key, key.state);
        if let (Self::Expired(_), Some(expires)) = (self, key.expires) {
            let _ = write!(text, ", expired {expires}");
        }
        let _ = match &principal.owner {
            Owner::Account { account, .. } => {
                write!(text, ") of {} account {} ({})", account.kind.as_str(), account.name, account.state)
            }
            Owner::Environment(environment) => {
                write!(text, ") of environment {} ({})", environment.id, environment.state)
            }
        };
        text
    }
}

/// What makes a key work that is inactive, or whose owner is.
fn activation_note(principal: &Principal) -> String {
    let owner = match &principal.owner {
        Owner::Account { account, .. } => ("account", account.id.to_string(), account.state),
        Owner::Environment(environment) => ("environment", environment.id.to_string(), environment.state),
    };
    let key = ("key", principal.key.id.to_string(), principal.key.state);
    let commands = [key, owner]
        .into_iter()
        .filter(|(_, _, state)| *state != State::Active)
        .map(|(kind, id, _)| format!("`portcullis {kind} activate {id}`"));
    format!("to make it work: {}", commands.collect::<Vec<_>>().join(" and "))
}

fn environment_facts(config: &Config, id: &str) -> anyhow::Result<EnvironmentStatus> {
    let read = read_store(config, async |request_store: &RequestStore| request_store.environment(id).await)?;
    Ok(read.environment.map_or(EnvironmentStatus::default(), |environment| EnvironmentStatus {
        known: true,
        active: environment.state == State::Active,
    }))
}

fn environment_text(id: &str, facts: EnvironmentStatus) -> String {
    match facts {
        EnvironmentStatus { known: false, .. } => {
            format!(
                "no environment has the id {id} (upper and lower case count): `portcullis environment list` shows those \
                 that there are"
            )
        }
        EnvironmentStatus { active: true, .. } => format!("{id} (active)"),
        EnvironmentStatus { active: false, .. } => format!("{id} (inactive)"),
    }
}

/// Asks the store as the request path does.
fn read_store<T>(
    config: &Config,
    question: impl AsyncFnOnce(&RequestStore) -> Result<T, StoreError>,
) -> anyhow::Result<T> {
    let request_store = RequestStore::open(config.store.path(), 1)?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let answer = runtime.block_on(question(&request_store));
    // or the process ends first, and leaves a write-ahead log beside the store
    request_store.close(Instant::now() + CLOSING);
    Ok(answer?)
}

/// Says so if a method is a known one in other case: the gateway and your API then take it for an unknown one.
fn lower_case_note(method: &Method) -> Option<String> {
    let upper_case = method.as_str().to_ascii_uppercase();
    let is_known = matches!(
        upper_case.as_str(),
        "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS" | "CONNECT" | "TRACE"
    );
    (is_known && upper_case != method.as_str())
        .then(|| format!("upper and lower case count in methods: '{method}' is not {upper_case}"))
}

/// What would become of the request.
#[derive(Default)]
struct Answer {
    /// What was found out on the way, in its order.
    facts: Vec<(&'static str, String)>,
    /// What else the reader must know.
    notes: Vec<String>,
    verdict: Verdict,
    rule: String,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    #[default]
    Allow,
    /// With this status.
    Deny(u16),
}

impl Answer {
    fn allow(mut self, rule: &dyn Display) -> Self {
        self.verdict = Verdict::Allow;
        self.rule = rule.to_string();
        self
    }

    fn deny(mut self, status: u16, rule: &dyn Display) -> Self {
        self.verdict = Verdict::Deny(status);
        self.rule = rule.to_string();
        self
    }

    fn text(&self, request: &str) -> String {
        let decision = match self.verdict {
            Verdict::Allow => "allow".to_owned(),
            Verdict::Deny(status) => format!("deny, with {status}"),
        };
        let mut text = format!("{:<13}{request}\n", "request");
        for (name, value) in &self.facts {
            let _ = writeln!(text, "{name:<13}{value}");
        }
        let _ = writeln!(text, "{:<13}{decision}\n{:<13}{}", "decision", "rule", self.rule);
        for note in &self.notes {
            let _ = writeln!(text, "{:<13}{note}", "note");
        }
        text
    }

    fn document(&self, request: &str) -> Value {
        let (decision, status) = match self.verdict {
            Verdict::Allow => ("allow", None),
            Verdict::Deny(status) => ("deny", Some(status)),
        };
        let mut document = json!({
            "request": request,
            "decision": decision,
            "status": status,
            "rule": self.rule,
        });
        for (name, value) in &self.facts {
            document[*name] = json!(value);
        }
        if !self.notes.is_empty() {
            document["note"] = json!(self.notes.join("; "));
        }
        document
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_and_secrets_refused() {
        let (name, value) = parse_header("X-API-Project-Id:  e1 ").unwrap();
        assert_eq!((name.as_str(), value.as_bytes()), ("x-api-project-id", &b"e1"[..]));
        for text in ["x", "a b: c", "Authorization: Basic x", "A: \u{1}"] {
            assert!(parse_header(text).is_err(), "{text}");
        }
    }
}
