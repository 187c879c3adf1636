//! A verified key, as the store had it when it was read.

use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, TryLockError};

use jiff::Timestamp;

use super::cache::{CacheEntry, EntryState};
use super::fingerprint::Mac;
use crate::model::{Description, Name, Owner, Principal};
use crate::store::{ChangeNumber, KeyRecord, KeyUse};

/// Who a verified credential acts for. It never changes; when the store has changed, it is [stale](Self::is_stale).
///
/// In this order, so that what every request touches lies together, in the first two or three cache lines.
#[repr(C)]
pub struct Identity {
    /// The period in which it was last looked up in the shared cache, see `thread_cache`.
    pub(super) shared_cache_period: AtomicU64,
    /// The MAC of the pair under the key that only this process knows.
    pub(super) mac: Mac,
    state: EntryState,
    use_record: UseRecord,
    header_block: OnceLock<Box<[u8]>>,
    /// The key, its owner, its owner's memberships.
    pub principal: Principal,
    /// The newest change when it was read.
    pub as_of: ChangeNumber,
    /// Which of the key's secrets was verified.
    pub(super) secret: KeySecret,
    /// Since when the key has had this secret.
    pub(super) secret_since: Timestamp,
    /// Whether the key had two secrets when it was read.
    pub(super) has_two_secrets: bool,
}

/// One of the secrets of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeySecret {
    Current,
    /// The one before the last rotation.
    Former,
}

impl Identity {
    /// `has_two_secrets`: the key has, at this time.
    pub(super) fn new(
        record: KeyRecord,
        (secret, has_two_secrets): (KeySecret, bool),
        mac: Mac,
        uses: &UnsavedUses,
    ) -> Self {
        let key = &record.principal.key;
        let secret_since = match (secret, key.former) {
            (KeySecret::Former, Some(former)) => former.since,
            _ => key.secret_since,
        };
        Self {
            principal: record.principal,
            as_of: record.as_of,
            state: EntryState::default(),
            secret,
            secret_since,
            has_two_secrets,
            mac,
            shared_cache_period: AtomicU64::new(u64::MAX),
            header_block: OnceLock::new(),
            use_record: UseRecord::new(uses.queue_of(has_two_secrets)),
        }
    }

    /// Whether something about the key may have changed. A request checks this right before it is forwarded, an open
    /// stream when it moves bytes; [`Authenticator::refresh`](super::Authenticator::refresh) tells what is left
    /// of the key. One atomic load.
    pub fn is_stale(&self) -> bool {
        !self.state.is_live()
    }

    /// The header lines that are the same for every request of this identity. Built when first asked for.
    pub fn header_block(&self, build: impl FnOnce(&Principal) -> Box<[u8]>) -> &[u8] {
        self.header_block.get_or_init(|| build(&self.principal))
    }

    /// Counts a use of the key, and keeps its time and address. Never waits: every use counts; of the times and
    /// addresses of uses within one second, or in the same instant, one is kept. Most uses cost one atomic addition.
    pub fn record_use(self: &Arc<Self>, unix_seconds: u64, source: IpAddr) {
        let last = &self.use_record;
        if last.seconds.load(Ordering::Relaxed) != unix_seconds {
            last.set_last(unix_seconds, source);
        }
        // after `set_last`: whoever takes this use finds its time
        if last.count.fetch_add(UseRecord::ONE, Ordering::Relaxed) & UseRecord::QUEUED == 0 {
            self.queue();
        }
    }

    /// Queues the identity, so that its uses are saved, unless it is queued. If the queue is full, the next use tries again.
    #[cold]
    fn queue(self: &Arc<Self>) {
        let UseRecord { count, unsaved, .. } = &self.use_record;
        let is_queued = count.fetch_or(UseRecord::QUEUED, Ordering::Relaxed) & UseRecord::QUEUED != 0;
        if !is_queued && unsaved.try_send(Arc::clone(self)).is_err() {
            count.fetch_and(!UseRecord::QUEUED, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
impl Identity {
    /// A user account's key that no store knows, for the tests of other modules.
    pub(crate) fn of_account(id: i64) -> Arc<Self> {
        Self::of_account_with(id, Mac([0; 32]))
    }

    /// The same, whose pair has this MAC.
    pub(super) fn of_account_with(id: i64, mac: Mac) -> Arc<Self> {
        use crate::model::{Account, AccountId, AccountKind, ApiKey, KeyId, KeyOwner, State};
        use crate::store::{KeyVerifier, KeyVerifiers};

        let (id, created) = (AccountId::from_row(id), Timestamp::UNIX_EPOCH);
        let account = Account {
            id,
            name: Name::parse("ada").expect("a name").expect("not empty"),
            kind: AccountKind::User,
            description: None,
            state: State::Active,
            uuid: String::new(),
            created,
            removed: None,
        };
        let key = ApiKey {
            id: KeyId::from_row(1),
            access_key: "pca_0".parse().expect("an access key"),
            owner: KeyOwner::Account(id),
            name: None,
            description: None,
            state: State::Active,
            uuid: String::new(),
            expires: None,
            scope: None,
            secret_since: created,
            former: None,
            created,
            removed: None,
        };
        let principal = Principal { key, owner: Owner::Account { account, memberships: Vec::new() } };
        let current = KeyVerifier { phc: String::new(), fingerprint: None, inner: None };
        let verifiers = KeyVerifiers { current, former: None };
        let record = KeyRecord { principal, verifiers, as_of: ChangeNumber(1) };
        Arc::new(Self::new(record, (KeySecret::Current, false), mac, &UnsavedUses::new(1)))
    }
}

impl CacheEntry for Identity {
    fn state(&self) -> &EntryState {
        &self.state
    }

    fn bytes(&self) -> usize {
        /// [`Identity::header_block`], which may be made later.
        const HEADER_BLOCK: usize = 512;
        /// A membership: an id on the heap and its place in the list.
        const MEMBERSHIP: usize = 96;
        let length = |text: Option<&str>| text.map_or(0, str::len);
        let key = &self.principal.key;
        let owner = match &self.principal.owner {
            Owner::Account { account, memberships } => {
                account.name.as_str().len()
                    + length(account.description.as_ref().map(Description::as_str))
                    + memberships.len() * MEMBERSHIP
            }
            Owner::Environment(environment) => {
                length(environment.name.as_ref().map(Name::as_str))
                    + length(environment.description.as_ref().map(Description::as_str))
            }
        };
        size_of::<Self>()
            + HEADER_BLOCK
            + owner
            + key.access_key.as_str().len()
            + length(key.name.as_ref().map(Name::as_str))
            + length(key.description.as_ref().map(Description::as_str))
            + key.scope.as_ref().map_or(0, |scope| scope.bytes())
    }

    fn ends(&self) -> Option<Timestamp> {
        let key = &self.principal.key;
        let former_ends = key.former.filter(|_| self.secret == KeySecret::Former).map(|former| former.ends);
        key.expires.into_iter().chain(former_ends).min()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({} as of {})", self.principal.key.access_key, self.as_of)
    }
}

/// When and from where a key was last used, and how often since its uses were last saved.
///
/// Laid out so that `seconds` and `count`, all that most uses touch, are in one cache line.
#[repr(C, align(16))]
struct UseRecord {
    /// The second of the last use; 0 before the first.
    seconds: AtomicU64,
    /// [`ONE`](Self::ONE) for each use that was not taken, and [`QUEUED`](Self::QUEUED): in one word, so that both
    /// are taken at once and no use falls in between.
    count: AtomicU64,
    /// Requests never wait for this lock: a second writer in the same instant is dropped.
    at: Mutex<Option<(u64, IpAddr)>>,
    unsaved: SyncSender<Arc<Identity>>,
}

impl UseRecord {
    /// In `count`: the identity waits to be taken.
    const QUEUED: u64 = 1;
    /// In `count`: a use.
    const ONE: u64 = 2;

    fn new(unsaved: SyncSender<Arc<Identity>>) -> Self {
        Self { seconds: AtomicU64::new(0), count: AtomicU64::new(0), at: Mutex::new(None), unsaved }
    }

    fn set_last(&self, unix_seconds: u64, source: IpAddr) {
        match self.at.try_lock() {
            Ok(mut at) => *at = Some((unix_seconds, source)),
            Err(TryLockError::Poisoned(at)) => *at.into_inner() = Some((unix_seconds, source)),
            Err(TryLockError::WouldBlock) => return,
        }
        self.seconds.store(unix_seconds, Ordering::Relaxed);
    }
}

/// Queues of keys whose uses are not saved yet.
pub(super) struct UnsavedUses {
    one_secret: UseQueue,
    /// Keys that were rotated, apart: how long a secret is unused must be known on time.
    two_secrets: UseQueue,
}

struct UseQueue {
    unsaved: SyncSender<Arc<Identity>>,
    queue: Mutex<Receiver<Arc<Identity>>>,
}

impl UseQueue {
    fn new(capacity: usize) -> Self {
        let (unsaved, queue) = sync_channel(capacity);
        Self { unsaved, queue: Mutex::new(queue) }
    }

    fn take(&self, most: usize) -> Vec<KeyUse> {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue
            .try_iter()
            .take(most)
            .filter_map(|identity| {
                let last = &identity.use_record;
                // before the time is read: a use that comes after it queues the key again
                let count = last.count.swap(0, Ordering::Relaxed) / UseRecord::ONE;
                let (seconds, address) = (*last.at.lock().unwrap_or_else(PoisonError::into_inner))?;
                let at = Timestamp::from_second(i64::try_from(seconds).ok()?).ok()?;
                let secret = identity.has_two_secrets.then_some(identity.secret_since);
                Some(KeyUse { key: identity.principal.key.id, secret, at, address, count })
            })
            .collect()
    }
}

impl UnsavedUses {
    /// Keys that may wait to be saved; further ones wait for a later use.
    pub(super) const CAPACITY: usize = 16_384;

    /// Queues for so many keys each.
    pub(super) fn new(capacity: usize) -> Self {
        Self { one_secret: UseQueue::new(capacity), two_secrets: UseQueue::new(capacity) }
    }

    fn queue_of(&self, has_two_secrets: bool) -> SyncSender<Arc<Identity>> {
        let queue = if has_two_secrets { &self.two_secrets } else { &self.one_secret };
        queue.unsaved.clone()
    }

    /// Takes the uses of all keys with two secrets, and of at most `most` others, each key once, and no more than the queues
    /// hold: they fill meanwhile.
    pub(super) fn take(&self, most: usize) -> Vec<KeyUse> {
        let mut uses = self.two_secrets.take(Self::CAPACITY);
        uses.extend(self.one_secret.take(most.min(Self::CAPACITY)));
        uses
    }
}

impl Identity {
    /// That the former secret of a key is in use now, by a request that is under way: a long stream is a use too. `None` for
    /// other secrets, and where nothing but the cache holds the identity.
    pub(super) fn running_use(self: &Arc<Self>, now: Timestamp) -> Option<KeyUse> {
        // one is the cache's, one the caller's
        if self.secret != KeySecret::Former || Arc::strong_count(self) <= 2 {
            return None;
        }
        let (_, address) = (*self.use_record.at.lock().unwrap_or_else(PoisonError::into_inner))?;
        Some(KeyUse {
            key: self.principal.key.id,
            secret: Some(self.secret_since),
            at: now,
            address,
            count: 0,
        })
    }
}
