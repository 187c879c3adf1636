//! What the demo shows: a configuration, a store with two environments, and a key for each and for an admin.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context as _;

use super::Ports;
use crate::auth::Peppers;
use crate::cli::certificate;
use crate::cli::issue_key::{IssuedKey, issue_key};
use crate::config::{self, Config};
use crate::model::{AccountKind, KeyOwner, Name};
use crate::store::{KeyProperties, NewAccount, NewEnvironment, Store};

/// The environments of the demo.
pub(super) const ENVIRONMENTS: [&str; 2] = ["blue", "green"];

/// A demo that is ready to start.
#[derive(Debug)]
pub(super) struct Fixture {
    pub(super) config: Config,
    /// Reaches everything.
    pub(super) admin: IssuedKey,
    /// One for each of [`ENVIRONMENTS`].
    pub(super) environments: [IssuedKey; 2],
}

/// Writes the configuration, the certificate, the pepper and the store into `folder`.
pub(super) fn build(folder: &Path, ports: Ports, upstream: SocketAddr) -> anyhow::Result<Fixture> {
    let file = folder.join("portcullis.yaml");
    fs::write(&file, configuration(ports, upstream))
        .with_context(|| format!("cannot write {}", file.display()))?;
    let config = config::load(&file)?;
    certificate::create(&folder.join("certs/gateway.pem"), &folder.join("certs/gateway.key"))?;
    for pepper in &config.pepper_files {
        Peppers::create(pepper)?;
    }
    let peppers = Peppers::load(&config.pepper_files)?;
    let mut store = Store::create(config.store.path())?;

    let new = NewAccount { name: name("admin")?, kind: AccountKind::Admin, description: None };
    let (account, _) = store.create_account(&new)?;
    let owner = KeyOwner::Account(account.id);
    let admin = issue_key(&mut store, &config, &peppers, owner, properties()?)?;
    let [blue, green] = ENVIRONMENTS.map(|id| environment(&mut store, &config, &peppers, id));
    Ok(Fixture { config, admin, environments: [blue?, green?] })
}

fn environment(store: &mut Store, config: &Config, peppers: &Peppers, id: &str) -> anyhow::Result<IssuedKey> {
    let new = NewEnvironment { id: id.parse()?, name: None, description: None, members: Vec::new() };
    let (environment, _) = store.create_environment(&new)?;
    let owner = KeyOwner::Environment(environment.id);
    issue_key(store, config, peppers, owner, properties()?)
}

fn properties() -> anyhow::Result<KeyProperties> {
    Ok(KeyProperties { name: Some(name("demo")?), ..KeyProperties::default() })
}

fn name(text: &str) -> anyhow::Result<Name> {
    Name::parse(text)?.context("a name is not empty")
}

fn configuration(ports: Ports, upstream: SocketAddr) -> String {
    let Ports { plain, tls, management } = ports;
    format!(
        r#"# The demo's configuration; config.example.yaml explains every key.
listeners:
  - address: 127.0.0.1:{plain}
  - address: 127.0.0.1:{tls}
    tls:
      certificates:
        - {{ certificate: certs/gateway.pem, key: certs/gateway.key }}
management:
  address: 127.0.0.1:{management}
store:
  sqlite: portcullis.db
pepper_file: portcullis.pepper
upstreams:
  sample:
    endpoints: ["http://{upstream}"]
routes:
  - path: /v2-beta
    upstream: sample
    environment: /v2-beta/projects/{{environment}}
    shared: [/v2-beta]
  - path: /healthz
    upstream: sample
    access: public
drain_timeout: 1s
log:
  filter: warn
  access: stderr
"#
    )
}
