//! Secrets that were right until their key was rotated: whoever still sends one is told apart in the log.

use std::sync::OnceLock;

use moka::sync::Cache;

use super::AuthFailure;
use super::fingerprint::Mac;
use crate::model::AccessKey;

/// The last such secret of each key, as far as it was used since this process started. It decides about nothing but the
/// name of a failure: what is missing here is [`AuthFailure::WrongSecret`].
#[derive(Default)]
pub(super) struct EndedSecrets {
    /// Made for the first rotated key: without one, a refusal does not look here.
    macs: OnceLock<Cache<AccessKey, Mac>>,
}

impl EndedSecrets {
    /// Keys; of more, those are forgotten that were asked for least lately.
    const CAPACITY: u64 = 10_000;

    /// This pair will not be right for long, or is not any more.
    pub(super) fn insert(&self, access_key: &AccessKey, mac: Mac) {
        let macs = self.macs.get_or_init(|| Cache::builder().max_capacity(Self::CAPACITY).build());
        macs.insert(access_key.clone(), mac);
    }

    /// What to call the failure of a pair that is none of its key's. Ask it whether or not there is such a key: it takes the
    /// same time.
    pub(super) fn failure_of(&self, access_key: &str, mac: &Mac) -> AuthFailure {
        let ended = self.macs.get().and_then(|macs| macs.get(access_key));
        if ended.is_some_and(|ended| ended.matches(mac)) {
            AuthFailure::EndedSecret
        } else {
            AuthFailure::WrongSecret
        }
    }
}
