//! Imported keys whose secret was used: the hash of another system is replaced by argon2id of the secret itself.

use super::audit::Attempt;
use super::error::TransactionError;
use super::{KeyVerifier, Store, StoreError, keys};
use crate::model::{KeyId, State};

/// A hash that replaces the one of an imported secret. It does not print.
#[derive(Clone, PartialEq, Eq)]
pub struct Rehash {
    /// Whose secret it is.
    pub key: KeyId,
    /// What the store has: argon2id of the hash that another system has made of the secret.
    pub old_phc: String,
    /// argon2id of the secret.
    pub new_phc: String,
}

impl std::fmt::Debug for Rehash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Rehash({}, ..)", self.key)
    }
}

/// The current secret of a key, or its former one. An old hash has a salt of its own, so it is found wherever it is now.
const REPLACE: [&str; 2] = [
    "UPDATE keys SET phc = ?3, \"inner\" = NULL WHERE id = ?1 AND phc = ?2 AND \"inner\" IS NOT NULL",
    "UPDATE keys SET former_phc = ?3, former_inner = NULL
     WHERE id = ?1 AND former_phc = ?2 AND former_inner IS NOT NULL",
];

impl Store {
    /// Replaces hashes of other systems, in one transaction, with a change for each key. Those that are replaced, ended or
    /// not active meanwhile are left as they are: another gateway was faster, or an operator. How many it has replaced.
    pub fn replace_imported_hashes(&mut self, rehashes: &[Rehash]) -> Result<usize, StoreError> {
        self.change(&Attempt::new("rehash", "key", ""), |at| {
            let mut replaced = 0;
            for Rehash { key, old_phc, new_phc } in rehashes {
                let new = KeyVerifier { phc: new_phc.clone(), fingerprint: None, inner: None };
                let Some(was) = keys::get(at, *key)?.filter(|key| key.state == State::Active) else {
                    continue;
                };
                if !new.has_valid_hash() {
                    return Err(TransactionError::refused(
                        "an argon2id hash is needed in place of an imported one",
                    ));
                }
                for statement in REPLACE {
                    if at.prepare_cached(statement)?.execute((key.row(), old_phc, new_phc))? > 0 {
                        keys::log(at, *key, "rehash", Some(&was))?;
                        replaced += 1;
                        break;
                    }
                }
            }
            Ok(replaced)
        })
    }
}
