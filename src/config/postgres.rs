//! `store.postgres`: the record that several gateways share.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;
use tokio_postgres::config::{Host, SslMode};

use super::reader::Reader;
use super::yaml::Node;

/// The record in PostgreSQL, and this gateway's copy of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Postgres {
    /// Where the server is, and as whom to connect. Prints no password.
    pub connection: tokio_postgres::Config,
    /// How the server proves what it is.
    pub trust: ServerTrust,
    /// The replica's file.
    pub replica: PathBuf,
}

/// What is checked of the server's certificate: the rest of libpq's `sslmode`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerTrust {
    /// Nothing: `disable`, `prefer` and `require`.
    Anything,
    /// Its chain, not the name: `verify-ca`.
    Chain(TrustedRoots),
    /// Its chain and its name: `verify-full`.
    Name(TrustedRoots),
}

/// Which certificates a chain may end at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrustedRoots {
    /// Those of the operating system: `sslrootcert=system`, or none given.
    System,
    /// Those in this PEM file: `sslrootcert`.
    File(PathBuf),
}

impl Postgres {
    /// The server and the database, for messages.
    pub fn server_and_database(&self) -> String {
        let hosts: Vec<_> = self
            .connection
            .get_hosts()
            .iter()
            .map(|host| match host {
                Host::Tcp(name) => name.clone(),
                Host::Unix(path) => path.display().to_string(),
            })
            .collect();
        format!("{}/{}", hosts.join(","), self.connection.get_dbname().unwrap_or_default())
    }
}

/// Reads `store.postgres`.
pub(super) fn read(reader: &mut Reader<'_>, node: &Node) -> Option<Postgres> {
    let section = reader.section(node, &["url", "replica"])?;
    let url = reader.required(&section, "url").and_then(|node| {
        let text = reader.text(node, "a URL such as postgres://user:password@host/database")?;
        let folder = reader.file.parent().unwrap_or(Path::new(""));
        parse(text, folder).map_err(|why| reader.error(node, format!("not a URL of PostgreSQL: {why}"))).ok()
    });
    let replica = reader.required(&section, "replica").and_then(|node| reader.path(node));
    let (connection, trust) = url?;
    Some(Postgres { connection, trust, replica: replica? })
}

/// Reads a URL of the record outside a configuration; relative paths in it are relative to `folder`.
pub fn parse(url: &str, folder: &Path) -> Result<(tokio_postgres::Config, ServerTrust), String> {
    if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
        return Err("it begins with postgres://".to_owned());
    }
    // the rest of a password would be taken for a piece of the host, and be printed as such
    let place = url.split_once('@').map_or("", |(_, place)| place);
    if place.split('?').next().is_some_and(|place| place.contains('@')) {
        return Err("'@' in a user or a password is written %40".to_owned());
    }
    let (bare, query) = url.split_once('?').unwrap_or((url, ""));
    let (mut mode, mut roots) = (None, TrustedRoots::System);
    let mut rest = Vec::new();
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let value = percent_decode_str(value).decode_utf8_lossy();
        match name {
            "sslmode" => mode = Some(value.into_owned()),
            "sslrootcert" if value == "system" => roots = TrustedRoots::System,
            "sslrootcert" => roots = TrustedRoots::File(folder.join(&*value)),
            _ => rest.push(parameter),
        }
    }
    // what the parser says may hold a piece of the URL, and that a password
    let mut connection: tokio_postgres::Config = format!("{bare}?{}", rest.join("&"))
        .parse()
        .map_err(|_| "user, password, host, port, database or a parameter cannot be read".to_owned())?;
    if connection.get_hosts().is_empty() {
        return Err("it names no host".to_owned());
    }
    if connection.get_dbname().is_none() {
        return Err("it names no database".to_owned());
    }
    let is_file = matches!(roots, TrustedRoots::File(_));
    let (ssl, trust) = match mode.as_deref() {
        Some("disable") => (SslMode::Disable, ServerTrust::Anything),
        // on this machine nobody listens in, and a server there seldom has a certificate
        None if connection.get_hosts().iter().all(is_here) => (SslMode::Prefer, ServerTrust::Anything),
        Some("allow" | "prefer") => (SslMode::Prefer, ServerTrust::Anything),
        // as libpq has it: with roots at hand the chain is checked
        Some("require") if is_file => (SslMode::Require, ServerTrust::Chain(roots)),
        Some("require") => (SslMode::Require, ServerTrust::Anything),
        Some("verify-ca") => (SslMode::Require, ServerTrust::Chain(roots)),
        None | Some("verify-full") => (SslMode::Require, ServerTrust::Name(roots)),
        Some(_) => {
            return Err("sslmode is one of disable, prefer, require, verify-ca and verify-full".to_owned());
        }
    };
    connection.ssl_mode(ssl);
    Ok((connection, trust))
}

fn is_here(host: &Host) -> bool {
    match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => name == "localhost" || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(url: &str) -> (SslMode, ServerTrust) {
        let (connection, trust) = parse(url, Path::new("etc")).unwrap();
        (connection.get_ssl_mode(), trust)
    }

    #[test]
    fn a_server_elsewhere_must_prove_its_name_unless_the_url_says_otherwise() {
        assert_eq!(
            mode("postgres://u@db.example/p"),
            (SslMode::Require, ServerTrust::Name(TrustedRoots::System))
        );
        assert_eq!(mode("postgres://u@127.0.0.1/p"), (SslMode::Prefer, ServerTrust::Anything));
        assert_eq!(mode("postgresql://u@localhost:5433/p"), (SslMode::Prefer, ServerTrust::Anything));
        assert_eq!(mode("postgres://u@localhost,db.example/p").0, SslMode::Require);
        assert_eq!(mode("postgres://u@db.example/p?sslmode=disable").0, SslMode::Disable);
        assert_eq!(
            mode("postgres://u@db.example/p?sslmode=require"),
            (SslMode::Require, ServerTrust::Anything)
        );
        let root = TrustedRoots::File("etc/ca.pem".into());
        for (word, trust) in [
            ("require", ServerTrust::Chain(root.clone())),
            ("verify-ca", ServerTrust::Chain(root.clone())),
            ("verify-full", ServerTrust::Name(root)),
        ] {
            let url =
                format!("postgres://u@db.example/p?sslmode={word}&connect_timeout=3&sslrootcert=ca.pem");
            assert_eq!(mode(&url), (SslMode::Require, trust), "{word}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        for url in [
            "mysql://u:hidden@h/p",
            "postgres://u:hidden@h/p?sslmode=perhaps",
            "postgres://u:hidden@h:port/p",
            "postgres://u:hidden@/p",
            "postgres://u:hidden@h",
            "postgres://u:hidden@h/p?unknown=1",
            "postgres://u:a@hidden@h/p",
            "postgres://u:a?b@hidden@h/p",
            "postgres://u:a/b@hidden@h/p?connect_timeout=3",
        ] {
            let why = parse(url, Path::new("")).unwrap_err();
            assert!(!why.contains("hidden"), "{why}");
        }
    }
}
