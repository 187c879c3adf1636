//! Changes of the store, applied to the caches.

use jiff::Timestamp;

use super::Authenticator;
use crate::model::{AccessKey, KeyOwner};
use crate::store::{Change, ChangeNumber, StoreError, Subject};

impl Authenticator {
    /// Drops what the caches hold about the subjects of these changes, and marks the dropped identities stale. When this
    /// returns, nothing read before the changes is used any more, and [`Authenticator::applied_up_to`] has moved.
    ///
    /// Call it with the changes in order, from one follower that was opened before the first credential was checked.
    pub async fn apply_changes(&self, changes: &[Change]) {
        let Some(last) = changes.last() else { return };
        if changes.iter().any(|change| change.subject == Subject::Everything) {
            self.progress.restart_at(last.number);
        }
        self.progress.start_applying(last.number);
        for change in changes {
            if let Err(error) = self.invalidate_subject(change).await {
                tracing::warn!(%error, change = %change.number, "cannot read which keys a change is about: all are dropped");
                self.invalidate_everything();
                break;
            }
        }
        self.progress.finish_applying(last.number);
    }

    /// Says that keys which end until `until` have ended. Call it before [`Authenticator::apply_changes`] with those keys:
    /// what was read before is then cached no more.
    pub fn set_ended_until(&self, until: Timestamp) {
        self.progress.set_ended_until(until);
    }

    async fn invalidate_subject(&self, change: &Change) -> Result<(), StoreError> {
        match &change.subject {
            Subject::Key { access_key, .. } => {
                if change.action == "rotate"
                    && let Some(identity) = self.identities.get(access_key)
                {
                    self.ended_secrets.insert(access_key, identity.mac);
                }
                self.invalidate_key(access_key);
            }
            Subject::Account(id) => self.invalidate_keys_of(&KeyOwner::Account(*id)).await?,
            // the environment's own keys; its members' rights in it are looked up in the environment cache at each request
            Subject::Environment(id) => {
                self.environments.invalidate(id);
                self.invalidate_keys_of(&KeyOwner::Environment(id.clone())).await?;
            }
            Subject::Everything => self.invalidate_everything(),
            Subject::Membership { account, .. } => {
                self.invalidate_keys_of(&KeyOwner::Account(*account)).await?;
            }
        }
        Ok(())
    }

    /// Ends the keys of `owner` that are not removed; the removal of a key is a change of its own.
    async fn invalidate_keys_of(&self, owner: &KeyOwner) -> Result<(), StoreError> {
        for access_key in self.request_store.access_keys_of(owner).await? {
            self.invalidate_key(&access_key);
        }
        Ok(())
    }

    fn invalidate_key(&self, access_key: &AccessKey) {
        if let Some(former) = self.former_identities.get(access_key) {
            self.ended_secrets.insert(access_key, former.mac);
        }
        self.identities.invalidate(access_key);
        self.former_identities.invalidate(access_key);
        self.failed_key_cache.invalidate(access_key);
    }

    /// Empties the caches and marks every identity stale, for when it is not known what has changed.
    pub fn invalidate_everything(&self) {
        self.progress.start_new_epoch();
        self.identities.invalidate_all();
        self.former_identities.invalidate_all();
        self.failed_key_cache.invalidate_all();
        self.environments.invalidate_all();
    }

    /// The newest change that has been applied to the caches. A stream that sees this number move checks its identity and
    /// its environment again.
    pub fn applied_up_to(&self) -> ChangeNumber {
        self.progress.applied_up_to()
    }
}
