//! `portcullis check`: is this configuration right, and who reaches what under it?

use std::fmt::{Display, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use serde_json::{Value, json};

use super::local_store;
use super::output::{Format, print, print_json};
use super::route_table::route_table;
use super::security_warnings::security_warnings;
use crate::auth::Peppers;
use crate::config::{
    Access, AccessControl, Config, ConfigError, ConfigErrors, Ejection, ListenAddress, Route, Upstream,
    load_to_serve,
};
use crate::policy;
use crate::server::missing_peppers;

#[derive(Debug, clap::Args)]
#[command(
    about = "Check a configuration: what is wrong, with line and column; else who reaches what",
    long_about = "Checks a configuration and the files that it names: the store, the pepper, certificates and \
        passwords. It prints all mistakes at once, each with file, line and column. If there is none, it prints the \
        routes, who reaches what, and which settings weaken the protection.",
    after_help = "Examples:\n  portcullis check\n  portcullis check --config /etc/portcullis/portcullis.yaml --output json"
)]
pub(super) struct Check {}

pub(super) fn run(config: &Path, output: Format) -> anyhow::Result<()> {
    let config = match read(config) {
        Ok(config) => config,
        Err(errors) => {
            if output == Format::Json {
                print_json(&errors_document(&errors))?;
            }
            return Err(errors.into());
        }
    };
    match output {
        Format::Json => print_json(&document(&config)),
        Format::Table => print(&text(&config)),
    }
}

fn read(path: &Path) -> Result<Config, ConfigErrors> {
    let config = load_to_serve(path)?;
    let mut errors = unusable(&config);
    errors.extend(route_table(&config).err().into_iter().flat_map(|errors| errors.0));
    if errors.is_empty() { Ok(config) } else { Err(ConfigErrors(errors)) }
}

/// What would keep a gateway from starting: a store or peppers that are there, but of no use.
fn unusable(config: &Config) -> Vec<ConfigError> {
    let mistake = |path: &str, why: &dyn Display| ConfigError {
        file: config.file.clone(),
        line: 0,
        column: 0,
        path: path.to_owned(),
        message: why.to_string(),
    };
    let store = local_store::open_store(config).map_err(|error| mistake("store", &error));
    let peppers = Peppers::load(&config.pepper_files).map_err(|error| mistake("pepper_file", &error));
    match (store, peppers) {
        (Ok(store), Ok(peppers)) => missing_peppers(config, &peppers, &store)
            .err()
            .map(|error| mistake("pepper_file", &error))
            .into_iter()
            .collect(),
        (store, peppers) => store.err().into_iter().chain(peppers.err()).collect(),
    }
}

fn errors_document(errors: &ConfigErrors) -> Value {
    let errors: Vec<_> = errors
        .0
        .iter()
        .map(|error| {
            json!({
                "file": error.file.display().to_string(),
                "line": error.line,
                "column": error.column,
                "path": error.path,
                "message": error.message,
            })
        })
        .collect();
    json!({ "valid": false, "errors": errors })
}

fn text(config: &Config) -> String {
    let mut text = String::new();
    let file = config.file.display();
    let _ = writeln!(text, "{file} is right.\n\nListeners");
    for listener in &config.listeners {
        let protocol = if listener.tls.is_some() { "https" } else { "http" };
        let _ = match &listener.address {
            ListenAddress::Tcp(address) => writeln!(text, "  {protocol}://{address}"),
            unix @ ListenAddress::Unix(_) => writeln!(text, "  {unix}  {protocol}"),
        };
        if !listener.proxy_protocol_from.is_empty() {
            let from = &listener.proxy_protocol_from;
            let _ = writeln!(text, "    PROXY protocol: required from {from}, refused from others");
        }
    }
    if let Some(management) = &config.management {
        let protocol = if management.tls.is_some() { "https" } else { "http" };
        let _ = writeln!(text, "  {protocol}://{}  management", management.address);
    }
    let accepted: Vec<_> = config.authentication.accept.described().collect();
    let _ = writeln!(text, "\nKeys are accepted in\n  {}", accepted.join(", "));
    let _ = writeln!(text, "\nRoutes");
    for route in &config.routes {
        let upstream = &config.upstreams[route.upstream];
        let endpoints: Vec<_> = upstream.endpoints.iter().map(ToString::to_string).collect();
        let position = route.position;
        let _ = writeln!(
            text,
            "  {}  to {} ({}), line {}",
            route.path,
            upstream.name,
            endpoints.join(", "),
            position.line
        );
        for line in policy::describe_access(route) {
            let _ = writeln!(text, "    {line}");
        }
    }
    let _ = writeln!(text, "\nUpstreams");
    for upstream in &config.upstreams {
        let _ = writeln!(text, "  {}  {}", upstream.name, endpoint_choice(upstream));
    }
    let weak = security_warnings(config);
    if !weak.is_empty() {
        let _ = writeln!(text, "\nWhat this configuration opens or weakens");
        for sentence in weak {
            let _ = writeln!(text, "  - {sentence}");
        }
    }
    text.push_str("\nNot checked: whether the ports are free, and whether the upstreams answer.\n");
    if let Some(folder) = folder_of_another_user(config) {
        let _ = writeln!(
            text,
            "You are root, who reads every file. Let the user who owns {} run this too: the gateway must be able to \
             read the files that the configuration names.",
            folder.display()
        );
    }
    text
}

/// If root looks: the folder of the store, where it belongs to the user as whom the gateway runs.
fn folder_of_another_user(config: &Config) -> Option<&Path> {
    let folder = config.store.path().parent()?;
    let owner = folder.metadata().ok()?.uid();
    (rustix::process::geteuid().is_root() && owner != 0).then_some(folder)
}

/// How an upstream's requests are shared among its endpoints.
fn endpoint_choice(upstream: &Upstream) -> String {
    // a name can have several addresses
    let has_one_address = matches!(&upstream.endpoints[..], [only] if only.has_one_address());
    let ejection = upstream.ejection.map_or_else(
        || "never ejected".to_owned(),
        |Ejection { consecutive, pause, at_most_percent }| {
            let pause = humantime::format_duration(pause);
            format!("ejected for {pause} after {consecutive} failures in a row, at most {at_most_percent}%")
        },
    );
    let health = upstream.health.as_ref().map_or_else(
        || "no health check".to_owned(),
        |check| {
            let time = humantime::format_duration;
            format!(
                "health check GET {} every {}, down after {} failures, up after {}",
                check.path,
                time(check.interval),
                check.down,
                check.up
            )
        },
    );
    let choice = if has_one_address {
        "one endpoint".to_owned()
    } else {
        format!("balance {}, {ejection}", upstream.balance.name())
    };
    format!("{choice}, {health}")
}

fn document(config: &Config) -> Value {
    let listeners: Vec<_> = config
        .listeners
        .iter()
        .map(|listener| {
            json!({
                "address": listener.address.to_string(),
                "tls": listener.tls.is_some(),
                "accessControl": match listener.access_control(config) {
                    AccessControl::Enabled => "enabled",
                    AccessControl::Disabled => "disabled",
                },
                "proxyProtocol": (!listener.proxy_protocol_from.is_empty())
                    .then(|| json!({ "from": listener.proxy_protocol_from.described() })),
            })
        })
        .collect();
    let management = config.management.as_ref().map(
        |management| json!({ "address": management.address.to_string(), "tls": management.tls.is_some() }),
    );
    let routes: Vec<_> = config.routes.iter().map(|route| route_document(config, route)).collect();
    json!({
        "valid": true,
        "file": config.file.display().to_string(),
        "listeners": listeners,
        "management": management,
        "accept": accepted_document(config),
        "routes": routes,
        "upstreams": config.upstreams.iter().map(upstream_document).collect::<Vec<_>>(),
        "weakenings": security_warnings(config),
    })
}

/// As the configuration has it.
fn accepted_document(config: &Config) -> Vec<Value> {
    let accepted = &config.authentication.accept;
    let schemes = [accepted.basic.then(|| json!("basic")), accepted.bearer.then(|| json!("bearer"))];
    let headers = accepted.headers.iter().map(|header| json!({ "header": header.name }));
    schemes.into_iter().flatten().chain(headers).collect()
}

fn upstream_document(upstream: &Upstream) -> Value {
    let ejection = upstream.ejection.map(|ejection| {
        json!({
            "consecutive": ejection.consecutive,
            "for": humantime::format_duration(ejection.pause).to_string(),
            "atMost": format!("{}%", ejection.at_most_percent),
        })
    });
    let health = upstream.health.as_ref().map(|check| {
        json!({
            "path": check.path,
            "interval": humantime::format_duration(check.interval).to_string(),
            "timeout": humantime::format_duration(check.timeout).to_string(),
            "down": check.down,
            "up": check.up,
        })
    });
    json!({
        "name": upstream.name,
        "endpoints": upstream.endpoints.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "balance": upstream.balance.name(),
        "ejection": ejection,
        "health": health,
    })
}

fn route_document(config: &Config, route: &Route) -> Value {
    let upstream = &config.upstreams[route.upstream];
    json!({
        "path": route.path.to_string(),
        "line": route.position.line,
        "column": route.position.column,
        "upstream": upstream.name,
        "endpoints": upstream.endpoints.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "access": match route.access {
            Access::Public { .. } => "public",
            Access::Keys(_) => "keys",
        },
        "reach": policy::describe_access(route),
    })
}
