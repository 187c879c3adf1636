//! Fills a store for `benches/compare`: `fill_store FOLDER KNOWN OTHERS`.
//!
//! Makes `FOLDER/portcullis.db` and `FOLDER/portcullis.pepper` with the environment `e1`, `KNOWN` keys of it whose
//! pairs are written to `FOLDER/pairs.txt` (`ACCESS_KEY SECRET`, one a line), an admin's key in `FOLDER/admin.txt`, and
//! `OTHERS` keys whose secrets nobody has, so that the store is as large as one in use.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use portcullis::auth::{Peppers, mint_pair};
use portcullis::config::{self, KeyPrefixes};
use portcullis::model::{AccountKind, KeyOwner, Name};
use portcullis::store::{KeyProperties, NewAccount, NewEnvironment, NewKey, Store};

const ENVIRONMENT: &str = "e1";

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, known, others] = &arguments[..] else {
        anyhow::bail!("usage: fill_store FOLDER KNOWN OTHERS")
    };
    let (folder, known, others) = (PathBuf::from(folder), known.parse()?, others.parse()?);
    std::fs::create_dir_all(&folder)?;
    known_keys(&folder, known)?;
    other_keys(&folder, others)
}

/// Keys as the gateway mints them, with argon2id at its default cost: some 15 ms of a core each.
fn known_keys(folder: &Path, count: usize) -> anyhow::Result<()> {
    let pepper = folder.join("portcullis.pepper");
    Peppers::create(&pepper)?;
    let peppers = Peppers::load(&[pepper])?;
    let mut store = Store::create(&folder.join("portcullis.db"))?;
    let id = ENVIRONMENT.parse()?;
    store.create_environment(&NewEnvironment { id, name: None, description: None, members: Vec::new() })?;
    let name = Name::parse("admin")?.context("a name")?;
    let (admin, _) =
        store.create_account(&NewAccount { name, description: None, kind: AccountKind::Admin })?;
    let admin = issue(&mut store, &peppers, KeyOwner::Account(admin.id))?;
    std::fs::write(folder.join("admin.txt"), admin)?;
    let mut pairs = std::io::BufWriter::new(std::fs::File::create(folder.join("pairs.txt"))?);
    let mut told = Instant::now();
    for number in 0..count {
        let pair = issue(&mut store, &peppers, KeyOwner::Environment(ENVIRONMENT.parse()?))?;
        pairs.write_all(pair.as_bytes())?;
        if told.elapsed() > Duration::from_secs(10) {
            eprintln!("fill_store: {number} of {count} keys hashed");
            told = Instant::now();
        }
    }
    pairs.flush()?;
    Ok(())
}

/// A new key, and its pair as a line.
fn issue(store: &mut Store, peppers: &Peppers, owner: KeyOwner) -> anyhow::Result<String> {
    let pair = mint_pair(&KeyPrefixes::default(), &config::Argon2::default(), peppers, &owner)?;
    let line = format!("{} {}\n", pair.access_key, pair.secret.as_str());
    let (access_key, verifier) = (pair.access_key, pair.verifier);
    store.create_key(&NewKey { owner, access_key, properties: KeyProperties::default(), verifier })?;
    Ok(line)
}

/// Rows like those of minted keys, in one statement.
fn other_keys(folder: &Path, count: u32) -> anyhow::Result<()> {
    let file = folder.join("portcullis.db");
    let database = rusqlite::Connection::open(file).context("the store")?;
    database.execute_batch("PRAGMA synchronous = OFF; PRAGMA cache_size = -400000; BEGIN")?;
    database.execute(
        "INSERT INTO keys (access_key, environment, name, description, state, uuid, phc, created)
         WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?1)
         SELECT 'pce_' || substr(lower(hex(randomblob(10))), 1, 20), (SELECT row FROM environments),
             'key ' || n, 'made to be measured', 'active', lower(hex(randomblob(16))),
             '$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$' || lower(hex(randomblob(21))) || 'a',
             1790000000000 + n
         FROM numbers WHERE ?1 > 0",
        [count],
    )?;
    database.execute(
        "INSERT INTO fingerprints (key, pepper, mac)
         SELECT id, (SELECT min(number) FROM peppers), randomblob(32) FROM keys
         WHERE NOT EXISTS (SELECT 1 FROM fingerprints WHERE key = keys.id)",
        [],
    )?;
    database.execute_batch("COMMIT; PRAGMA wal_checkpoint(TRUNCATE)")?;
    Ok(())
}
