//! A verified key, as the store had it when it was read.

use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, TryLockError};

use jiff::Timestamp;

use super::cache::{Entry, Life};
use super::fingerprint::Mac;
use crate::model::{Description, Name, Owner, Principal};
use crate::store::{ChangeNumber, KeyRecord, KeyUse};

/// Who a right credential acts for. It stays what it is; when the store has changed, it is [stale](Self::is_stale).
///
/// In this order, so that what every request touches lies together, in the first two or three cache lines.
#[repr(C)]
pub struct Identity {
    /// When the shared cache was last asked for it, see `recent`.
    pub(super) asked_for: AtomicU64,
    /// The MAC of the pair under the key that only this process knows.
    pub(super) mac: Mac,
    life: Life,
    last_use: LastUse,
    rendered: OnceLock<Box<[u8]>>,
    /// The key, its owner, its owner's memberships.
    pub principal: Principal,
    /// The newest change when it was read.
    pub as_of: ChangeNumber,
    /// What the secret was proved against.
    pub(super) phc: String,
}

impl Identity {
    pub(super) fn new(record: KeyRecord, mac: Mac, uses: &Uses) -> Self {
        Self {
            principal: record.principal,
            as_of: record.as_of,
            life: Life::default(),
            phc: record.verifier.phc,
            mac,
            asked_for: AtomicU64::new(u64::MAX),
            rendered: OnceLock::new(),
            last_use: LastUse::new(uses.dirty.clone()),
        }
    }

    /// Whether something about the key may be different by now. A request compares this right before it is forwarded,
    /// an open stream when it moves bytes; [`Authenticator::reread`](super::Authenticator::reread) tells what is left
    /// of the key. One atomic load.
    pub fn is_stale(&self) -> bool {
        !self.life.is_live()
    }

    /// A block of bytes that is the same for every request of this identity, made when first asked for.
    pub fn rendered(&self, build: impl FnOnce(&Principal) -> Box<[u8]>) -> &[u8] {
        self.rendered.get_or_init(|| build(&self.principal))
    }

    /// Counts a use of the key, and notes its time and address. Waits for nobody: every use counts; of the times and
    /// addresses of uses within one second, or in the same instant, one is kept. Most uses cost one atomic addition.
    pub fn touch(self: &Arc<Self>, unix_seconds: u64, source: IpAddr) {
        let last = &self.last_use;
        if last.seconds.load(Ordering::Relaxed) != unix_seconds {
            last.note(unix_seconds, source);
        }
        // after the note: who takes this use finds it
        if last.count.fetch_add(LastUse::ONE, Ordering::Relaxed) & LastUse::QUEUED == 0 {
            self.queue();
        }
    }

    /// Has the uses taken, unless that is on its way. Where the queue is full they stay, and the next use tries again.
    #[cold]
    fn queue(self: &Arc<Self>) {
        let LastUse { count, dirty, .. } = &self.last_use;
        let is_queued = count.fetch_or(LastUse::QUEUED, Ordering::Relaxed) & LastUse::QUEUED != 0;
        if !is_queued && dirty.try_send(Arc::clone(self)).is_err() {
            count.fetch_and(!LastUse::QUEUED, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
impl Identity {
    /// A user account's key that no store knows, for the tests of other rooms.
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
            created,
            removed: None,
        };
        let principal = Principal { key, owner: Owner::Account { account, memberships: Vec::new() } };
        let verifier = KeyVerifier { phc: String::new(), fingerprint: None };
        let record = KeyRecord { principal, verifier, as_of: ChangeNumber(1) };
        Arc::new(Self::new(record, mac, &Uses::new(1)))
    }
}

impl Entry for Identity {
    fn life(&self) -> &Life {
        &self.life
    }

    fn bytes(&self) -> usize {
        /// The block that is rendered later.
        const RENDERED: usize = 512;
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
            + RENDERED
            + owner
            + self.phc.len()
            + key.access_key.as_str().len()
            + length(key.name.as_ref().map(Name::as_str))
            + length(key.description.as_ref().map(Description::as_str))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({} as of {})", self.principal.key.access_key, self.as_of)
    }
}

/// When and from where a key was last used, and how often since that was last taken.
///
/// Laid out so that `seconds` and `count`, all that most uses touch, are in one cache line.
#[repr(C, align(16))]
struct LastUse {
    /// The second of the last use; 0 before the first.
    seconds: AtomicU64,
    /// [`ONE`](Self::ONE) for each use that was not taken, and [`QUEUED`](Self::QUEUED): in one word, so that both
    /// are taken at once and no use falls in between.
    count: AtomicU64,
    /// Only ever tried by requests: a second writer in the same instant goes without.
    at: Mutex<Option<(u64, IpAddr)>>,
    dirty: SyncSender<Arc<Identity>>,
}

impl LastUse {
    /// In `count`: the identity waits to be taken.
    const QUEUED: u64 = 1;
    /// In `count`: a use.
    const ONE: u64 = 2;

    fn new(dirty: SyncSender<Arc<Identity>>) -> Self {
        Self { seconds: AtomicU64::new(0), count: AtomicU64::new(0), at: Mutex::new(None), dirty }
    }

    fn note(&self, unix_seconds: u64, source: IpAddr) {
        match self.at.try_lock() {
            Ok(mut at) => *at = Some((unix_seconds, source)),
            Err(TryLockError::Poisoned(at)) => *at.into_inner() = Some((unix_seconds, source)),
            Err(TryLockError::WouldBlock) => return,
        }
        self.seconds.store(unix_seconds, Ordering::Relaxed);
    }
}

/// Keys that were used and whose use is not saved yet.
pub(super) struct Uses {
    dirty: SyncSender<Arc<Identity>>,
    queue: Mutex<Receiver<Arc<Identity>>>,
}

impl Uses {
    /// Keys that may wait to be saved; further ones wait for a later use.
    pub(super) const CAPACITY: usize = 16_384;

    /// A queue for so many keys.
    pub(super) fn new(capacity: usize) -> Self {
        let (dirty, queue) = sync_channel(capacity);
        Self { dirty, queue: Mutex::new(queue) }
    }

    /// What waits to be saved, each key once, of `most` keys and no more than the queue holds: it fills meanwhile.
    pub(super) fn take(&self, most: usize) -> Vec<KeyUse> {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue
            .try_iter()
            .take(most.min(Self::CAPACITY))
            .filter_map(|identity| {
                let last = &identity.last_use;
                // before the time is read: a use that comes after it queues the key again
                let count = last.count.swap(0, Ordering::Relaxed) / LastUse::ONE;
                let (seconds, address) = (*last.at.lock().unwrap_or_else(PoisonError::into_inner))?;
                let at = Timestamp::from_second(i64::try_from(seconds).ok()?).ok()?;
                Some(KeyUse { key: identity.principal.key.id, at, address, count })
            })
            .collect()
    }
}
