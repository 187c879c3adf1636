//! What a change of the store does to what is kept in memory.

use super::Authenticator;
use crate::model::{AccessKey, KeyOwner};
use crate::store::{Change, ChangeNumber, StoreError, Subject};

impl Authenticator {
    /// Drops what the caches hold for these changes, refusals too, and marks the dropped identities stale. When this
    /// returns, nothing read before them is used any more; [`Authenticator::settled`] says so to others.
    ///
    /// Changes come in order, from one follower, which has been opened before the first credential is judged.
    pub async fn apply(&self, changes: &[Change]) {
        let Some(last) = changes.last() else { return };
        if changes.iter().any(|change| change.subject == Subject::Everything) {
            self.progress.begin_again(last.number);
        }
        self.progress.publish(last.number);
        for change in changes {
            if let Err(error) = self.end_what_changed(&change.subject).await {
                tracing::warn!(%error, change = %change.number, "cannot read which keys a change is about: all are dropped");
                self.drop_everything();
                break;
            }
        }
        self.progress.settle(last.number);
    }

    async fn end_what_changed(&self, subject: &Subject) -> Result<(), StoreError> {
        match subject {
            Subject::Key { access_key, .. } => self.end_key(access_key),
            Subject::Account(id) => self.end_keys_of(&KeyOwner::Account(*id)).await?,
            // the environment's own keys; its members' rights in it are looked up in the directory at each request
            Subject::Environment(id) => {
                self.end_environment(id);
                self.end_keys_of(&KeyOwner::Environment(id.clone())).await?;
            }
            Subject::Everything => self.drop_everything(),
            Subject::Membership { account, .. } => self.end_keys_of(&KeyOwner::Account(*account)).await?,
        }
        Ok(())
    }

    /// Ends the keys of `owner` that are not removed; the removal of a key is a change of its own.
    async fn end_keys_of(&self, owner: &KeyOwner) -> Result<(), StoreError> {
        for access_key in self.reader.access_keys_of(owner).await? {
            self.end_key(&access_key);
        }
        Ok(())
    }

    fn end_key(&self, access_key: &AccessKey) {
        self.identities.end(access_key);
        self.doubts.end(access_key);
    }

    /// Drops all that is kept of the store and marks every identity stale: for when it is not known what changed.
    pub fn drop_everything(&self) {
        self.progress.reset();
        self.identities.end_all();
        self.doubts.end_all();
        self.end_all_environments();
    }

    /// Everything that changes up to this one end has been dropped. A stream that has seen this number move looks at
    /// its identity and its environment again.
    pub fn settled(&self) -> ChangeNumber {
        self.progress.settled()
    }
}
