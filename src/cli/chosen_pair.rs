//! A chosen pair for `key create --access-key`: an access key and a secret that the gateway did not mint.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use anyhow::Context as _;
use zeroize::Zeroizing;

use super::local_store::LocalStore;
use super::output::eprint_line;
use crate::auth::{ChosenPair, STRONG_SECRET_BITS};
use crate::model::{ApiKey, KeyOwner};
use crate::store::{ChangeNumber, KeyProperties, NewKey};

/// Stores a chosen pair, and says so where its secret is weak.
pub(super) fn import_key(
    local_store: &mut LocalStore,
    owner: KeyOwner,
    pair: &ChosenPair,
    properties: KeyProperties,
) -> anyhow::Result<(ApiKey, ChangeNumber)> {
    warn_where_weak(pair.bits());
    let verifier = pair.verifier(&local_store.config.argon2).context("cannot hash the secret")?;
    let access_key = pair.access_key().clone();
    Ok(local_store.store.create_key(&NewKey { owner, access_key, properties, verifier })?)
}

/// Says so where a secret of at most so many bits is weak.
pub(super) fn warn_where_weak(bits: u32) {
    if bits < STRONG_SECRET_BITS {
        eprint_line(format_args!(
            "warning: this secret is weak (about {bits} bits at most): use one of 20 random characters or more, \
             or let the gateway mint one"
        ));
    }
}

/// A small file's content, without the line end that editors and `echo` put there.
pub(super) fn read_secret(path: &Path) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    /// Enough to tell a secret that is too long from one that is not.
    const LIMIT: usize = 4096;
    // with all its room at once: a buffer that grows leaves copies behind
    let mut bytes = Zeroizing::new(vec![0; LIMIT]);
    let mut length = 0;
    let mut source: Box<dyn io::Read> = if path == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        Box::new(File::open(path).with_context(|| format!("cannot read {}", path.display()))?)
    };
    while length < LIMIT {
        match source.read(&mut bytes[length..]).with_context(|| format!("cannot read {}", path.display()))? {
            0 => break,
            read => length += read,
        }
    }
    bytes.truncate(length);
    for end in [b'\n', b'\r'] {
        if bytes.last() == Some(&end) {
            bytes.pop();
        }
    }
    Ok(bytes)
}
