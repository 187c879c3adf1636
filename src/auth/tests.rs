//! Authentication over a real store: the steps, the changes, the attacks. This file is what their tests share.

mod attacks;
mod changes;
mod key_ends;
mod networks;
mod rotation;
mod steps;

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use zeroize::Zeroizing;

use super::*;
use crate::config::{self, Config};
use crate::model::{AccessKey, AccountId, AccountKind, ApiKey, EnvironmentId, KeyOwner, Name};
use crate::store::{
    BootInstant, Follower, KeyEdit, KeyProperties, KeyVerifier, NewAccount, NewEnvironment, NewKey,
    RecordClock, RequestStore, Store,
};

const SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// A store with one admin account and the environment `e1`, a gateway's authenticator over it, and the follower that
/// tells it of changes.
struct Fixture {
    directory: tempfile::TempDir,
    config: Config,
    store: Store,
    auth: Arc<Authenticator>,
    follower: Follower,
    account: AccountId,
    environment: EnvironmentId,
}

/// A key and its other half.
struct Pair {
    key: ApiKey,
    secret: Zeroizing<String>,
}

impl Pair {
    fn access_key(&self) -> &AccessKey {
        &self.key.access_key
    }
}

impl Fixture {
    fn new() -> Self {
        Self::with(|_| ())
    }

    fn with(change: impl FnOnce(&mut Config)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut config = configuration();
        change(&mut config);
        let path = directory.path().join("store");
        let mut store = Store::create(&path).unwrap();
        Peppers::create(&directory.path().join("pepper")).unwrap();
        let account = NewAccount { name: name("ada"), kind: AccountKind::Admin, description: None };
        let account = store.create_account(&account).unwrap().0.id;
        let environment: EnvironmentId = "e1".parse().unwrap();
        store
            .create_environment(&NewEnvironment {
                id: environment.clone(),
                name: None,
                description: None,
                members: Vec::new(),
            })
            .unwrap();
        let follower = Follower::open(&path, Timestamp::now()).unwrap();
        let auth = authenticator(&config, &path, &[directory.path().join("pepper")]);
        Self { directory, config, store, auth, follower, account, environment }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The gateway starts again, with these pepper files.
    fn restart(&mut self, peppers: &[&str]) {
        let peppers: Vec<_> = peppers.iter().map(|name| self.path(name)).collect();
        for pepper in peppers.iter().filter(|path| !path.exists()) {
            Peppers::create(pepper).unwrap();
        }
        self.follower = Follower::open(&self.path("store"), Timestamp::now()).unwrap();
        self.auth = authenticator(&self.config, &self.path("store"), &peppers);
    }

    fn minted_key(&mut self, owner: KeyOwner) -> Pair {
        let access_key = mint_access_key(&self.config.key_prefix, &owner);
        let secret = mint_secret(&self.config.key_prefix);
        let peppers = Peppers::load(&[self.path("pepper")]).unwrap();
        let fingerprint = peppers.fingerprint(&access_key, secret.as_str().as_bytes());
        self.key(owner, access_key, secret.as_str(), Some(fingerprint))
    }

    fn account_key(&mut self) -> Pair {
        self.minted_key(KeyOwner::Account(self.account))
    }

    fn environment_key(&mut self) -> Pair {
        self.minted_key(KeyOwner::Environment(self.environment.clone()))
    }

    /// A key whose halves a person chose.
    fn chosen_key(&mut self, access_key: &str, secret: &str) -> Pair {
        self.key(KeyOwner::Account(self.account), access_key.parse().unwrap(), secret, None)
    }

    fn key(
        &mut self,
        owner: KeyOwner,
        access_key: AccessKey,
        secret: &str,
        fingerprint: Option<crate::store::Fingerprint>,
    ) -> Pair {
        let phc = hash_secret(&self.config.argon2, secret.as_bytes()).unwrap();
        let verifier = KeyVerifier { phc, fingerprint, inner: None };
        let new = NewKey { owner, access_key, properties: KeyProperties::default(), verifier };
        let key = self.store.create_key(&new).unwrap().0;
        Pair { key, secret: Zeroizing::new(secret.to_owned()) }
    }

    async fn ask(&self, access_key: &str, secret: &str) -> Result<Arc<Identity>, AuthRefusal> {
        self.auth.authenticate(&credential(access_key, secret), SOURCE, Instant::now()).await
    }

    async fn ask_pair(&self, pair: &Pair) -> Result<Arc<Identity>, AuthRefusal> {
        self.ask(pair.access_key().as_str(), &pair.secret).await
    }

    /// Does what the gateway does with the changes since the last time.
    async fn apply_changes(&mut self) {
        let changes = self.follower.poll().unwrap();
        assert!(!changes.is_empty(), "the store should have changed");
        self.auth.apply_changes(&changes).await;
    }

    /// Does what the gateway does when the record's clock shows `now`. How many keys have ended.
    async fn apply_ends(&mut self, now: Timestamp) -> usize {
        let Some(ended) = self.follower.poll_ends(now).unwrap() else { return 0 };
        self.auth.set_ended_until(ended.until);
        self.auth.apply_changes(&ended.changes).await;
        ended.changes.len()
    }

    /// The key is to end so many hours from now. When that is.
    fn end_in_hours(&mut self, pair: &Pair, hours: i64) -> Timestamp {
        let end = Timestamp::now() + SignedDuration::from_hours(hours);
        let edit = KeyEdit { expires: Some(Some(end)), ..KeyEdit::default() };
        self.store.edit_key(pair.key.id, &edit).unwrap();
        end
    }

    /// The result of `work`, and what authentication counted meanwhile.
    async fn counted<T>(&self, work: impl Future<Output = T>) -> (T, Counters) {
        let before = self.auth.counters();
        let result = work.await;
        let cost = self.auth.counters().since(&before);
        // depends on the machine
        (result, Counters { argon2_wait_milliseconds: 0, ..cost })
    }
}

fn configuration() -> Config {
    let text = "\
listeners: [{ address: 127.0.0.1:0 }]
store: { sqlite: store }
pepper_file: pepper
upstreams: { api: { endpoints: [\"http://127.0.0.1:3000\"] } }
routes: [{ path: /v1, upstream: api }]
";
    let mut config = config::parse(text, Path::new("portcullis.yaml"), &|_| None).unwrap();
    config.argon2 = argon::tests::cheap();
    config.authentication.refusal_time = Duration::from_millis(20);
    config.throttle.failures = 60_000;
    config
}

fn authenticator(config: &Config, store: &Path, peppers: &[PathBuf]) -> Arc<Authenticator> {
    let request_store = RequestStore::open(store, 2).unwrap();
    let auth =
        Authenticator::new(config, Peppers::load(peppers).unwrap(), request_store, RecordClock::default())
            .unwrap();
    auth.set_lease_end(BootInstant::now() + Duration::from_hours(1));
    auth.set_store_misses_trusted_until(BootInstant::now() + Duration::from_hours(1));
    Arc::new(auth)
}

fn unavailable(answer: &Result<Arc<Identity>, AuthRefusal>) -> bool {
    matches!(answer, Err(AuthRefusal::Unavailable { .. }))
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap().unwrap()
}

fn credential(access_key: &str, secret: &str) -> Credential {
    let pair = Zeroizing::new(format!("{access_key}:{secret}"));
    let value = Zeroizing::new(format!("Basic {}", *Zeroizing::new(STANDARD.encode(pair.as_bytes()))));
    Credential::parse(value.as_bytes()).unwrap()
}

/// A worker's runtime.
fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// Waits until `condition` holds.
async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition().await {
        assert!(Instant::now() < deadline, "still waiting: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
