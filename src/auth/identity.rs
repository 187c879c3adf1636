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
    /// What the secret was verified against.
    pub(super) phc: String,
}

impl Identity {
    pub(super) fn new(record: KeyRecord, mac: Mac, uses: &UnsavedUses) -> Self {
        Self {
            principal: record.principal,
            as_of: record.as_of,
            state: EntryState::default(),
            phc: record.verifier.phc,
            mac,
            shared_cache_period: AtomicU64::new(u64::MAX),
            header_block: OnceLock::new(),
            use_record: UseRecord::new(uses.unsaved.clone()),
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
        use crate::store::KeyVerifier;

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
            created,
            removed: None,
        };
        let principal = Principal { key, owner: Owner::Account { account, memberships: Vec::new() } };
        let verifier = KeyVerifier { phc: String::new(), fingerprint: None };
        let record = KeyRecord { principal, verifier, as_of: ChangeNumber(1) };
        Arc::new(Self::new(record, mac, &UnsavedUses::new(1)))
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
            + self.phc.len()
            + key.access_key.as_str().len()
            + length(key.name.as_ref().map(Name::as_str))
            + length(key.description.as_ref().map(Description::as_str))
            + key.scope.as_ref().map_or(0, |scope| scope.bytes())
    }

    fn ends(&self) -> Option<Timestamp> {
        self.principal.key.expires
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

/// A queue of keys whose uses are not saved yet.
pub(super) struct UnsavedUses {
    unsaved: SyncSender<Arc<Identity>>,
    queue: Mutex<Receiver<Arc<Identity>>>,
}

impl UnsavedUses {
    /// Keys that may wait to be saved; further ones wait for a later use.
    pub(super) const CAPACITY: usize = 16_384;

    /// A queue for so many keys.
    pub(super) fn new(capacity: usize) -> Self {
        let (unsaved, queue) = sync_channel(capacity);
        Self { unsaved, queue: Mutex::new(queue) }
    }

    /// Takes the uses of at most `most` keys, each key once, and no more than the queue holds: it fills meanwhile.
    pub(super) fn take(&self, most: usize) -> Vec<KeyUse> {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue
            .try_iter()
            .take(most.min(Self::CAPACITY))
            .filter_map(|identity| {
                let last = &identity.use_record;
                // before the time is read: a use that comes after it queues the key again
                let count = last.count.swap(0, Ordering::Relaxed) / UseRecord::ONE;
                let (seconds, address) = (*last.at.lock().unwrap_or_else(PoisonError::into_inner))?;
                let at = Timestamp::from_second(i64::try_from(seconds).ok()?).ok()?;
                Some(KeyUse { key: identity.principal.key.id, at, address, count })
            })
            .collect()
    }
}
