//! What a configuration opens or weakens, each in a sentence: an operator should have meant it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::config::{
    Access, AccessControl, Argon2, AuthorizationHeader, Config, Cors, Listener, ListenerTls, Route,
    TokenFile, Upstream,
};
use crate::policy;
use crate::proxy::time_warning;

/// Every such sentence, the widest opening first.
pub(super) fn security_warnings(config: &Config) -> Vec<String> {
    let mut sentences = Vec::new();
    for listener in &config.listeners {
        of_listener(config, listener, &mut sentences);
    }
    if let Some(management) = &config.management {
        if management.tls.is_none() && !management.address.ip().is_loopback() {
            sentences.push(format!(
                "management: {} is reached from other machines without TLS: keys pass in the clear",
                management.address
            ));
        }
        of_certificates(management.tls.as_ref(), &mut sentences);
        if let Some(TokenFile(file)) =
            management.metrics_token.as_ref().filter(|file| is_read_by_all(&file.0))
        {
            sentences.push(format!("'{}' can be read by every user of this machine", file.display()));
        }
    }
    for route in &config.routes {
        of_route(route, &mut sentences);
    }
    for upstream in &config.upstreams {
        of_upstream(config, upstream, &mut sentences);
    }
    for network in config.trusted_proxies.networks.iter().filter(|network| network.prefix_len() == 0) {
        sentences
            .push(format!("trusted_proxies: {network}: every client may say which address it comes from"));
    }
    let (argon2, usual) = (&config.argon2, Argon2::default());
    if argon2.memory_kib < usual.memory_kib && argon2.iterations <= usual.iterations {
        sentences.push(format!(
            "argon2: {} KiB and {} passes are less than the recommended {} KiB and {}: a stolen store is guessed faster",
            argon2.memory_kib, argon2.iterations, usual.memory_kib, usual.iterations
        ));
    }
    sentences
}

fn of_listener(config: &Config, listener: &Listener, sentences: &mut Vec<String>) {
    let address = &listener.address;
    if listener.access_control(config) == AccessControl::Disabled {
        sentences.push(format!("access_control: disabled: at {address} requests without a key pass"));
    }
    if listener.tls.is_none() && !address.is_local() {
        sentences.push(format!(
            "listeners: {address} is reached from other machines without TLS: keys pass in the clear"
        ));
    }
    for network in listener.proxy_protocol_from.networks.iter().filter(|network| network.prefix_len() == 0) {
        sentences.push(format!(
            "listeners: {address}: proxy_protocol: {network}: every client may say which address it comes from"
        ));
    }
    of_certificates(listener.tls.as_ref(), sentences);
}

fn of_certificates(tls: Option<&ListenerTls>, sentences: &mut Vec<String>) {
    for files in tls.iter().flat_map(|tls| &tls.certificates) {
        let certificate = CertificateDer::from_pem_file(&files.certificate).ok();
        if let Some(warning) = certificate.as_ref().and_then(time_warning) {
            sentences.push(format!("'{}' {warning}", files.certificate.display()));
        }
        if is_read_by_all(&files.key) {
            sentences.push(format!("'{}' can be read by every user of this machine", files.key.display()));
        }
    }
}

fn of_route(route: &Route, sentences: &mut Vec<String>) {
    let line = route.position.line;
    if matches!(route.access, Access::Public { .. }) {
        sentences.push(format!("line {line}: access: public: {} needs no key", route.path));
    }
    sentences
        .extend(policy::route_warnings(route).into_iter().map(|sentence| format!("line {line}: {sentence}")));
    if route.cors.as_ref().is_some_and(Cors::allows_every_origin) {
        sentences.push(format!("line {line}: cors: '*': scripts of every site may use a key that they hold"));
    }
}

fn of_upstream(config: &Config, upstream: &Upstream, sentences: &mut Vec<String>) {
    let name = &upstream.name;
    if upstream.authorization == AuthorizationHeader::Pass {
        sentences
            .push(format!("upstreams.{name}: authorization: pass: the upstream sees the clients' secrets"));
    }
    if let Some(credential) = upstream.credential.as_ref().filter(|c| is_read_by_all(&c.password_file)) {
        let file = credential.password_file.display();
        sentences.push(format!("'{file}' can be read by every user of this machine"));
    }
    let is_used = |route: &Route| config.upstreams.get(route.upstream).is_some_and(|used| used.name == *name);
    if !config.routes.iter().any(is_used) {
        sentences.push(format!("upstreams.{name}: no route uses it"));
    }
}

fn is_read_by_all(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0)
}
