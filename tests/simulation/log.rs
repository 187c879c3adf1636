//! Every change that was ever made, on whatever branch: a record, a replica and a backup are each a place in it.

use portcullis::model::State;
use portcullis::store::{ChangeHash, ChangeHead, last_common_change};

pub(crate) const KEYS: usize = 4;

/// Changes in a schedule, at most.
const SERIALS: u64 = 4096;

/// A place in the log.
pub(crate) type Node = usize;

#[derive(Debug)]
struct Change {
    before: Node,
    head: ChangeHead,
    at: u64,
    key: usize,
    /// The keys as they are after it.
    states: [State; KEYS],
    by_operator: bool,
}

pub(crate) struct Log(Vec<Change>);

impl Log {
    pub(crate) fn new() -> Self {
        let beginning = Change {
            before: 0,
            head: ChangeHead::BEGINNING,
            at: 0,
            key: 0,
            states: [State::Active; KEYS],
            by_operator: false,
        };
        Self(vec![beginning])
    }

    fn hashed(before: ChangeHead, at: u64, key: usize, state: State) -> ChangeHead {
        let object = ["1c1 a", "1c2 b", "1c3 c", "1c4 d"][key];
        before.followed_by(at.cast_signed(), ["key", object, state.as_str(), "{}"])
    }

    pub(crate) fn append(
        &mut self,
        after: Node,
        at: u64,
        key: usize,
        state: State,
        by_operator: bool,
    ) -> Node {
        // no two are alike: not even where the same is done again in the same millisecond
        let at = at * SERIALS + self.0.len() as u64;
        let head = Self::hashed(self.head(after), at, key, state);
        let mut states = *self.states(after);
        assert_ne!(states[key], State::Removed, "nothing leaves the state 'removed'");
        states[key] = state;
        self.0.push(Change { before: after, head, at, key, states, by_operator });
        self.0.len() - 1
    }

    pub(crate) fn head(&self, node: Node) -> ChangeHead {
        self.0[node].head
    }

    pub(crate) fn number(&self, node: Node) -> u64 {
        self.0[node].head.number.0
    }

    pub(crate) fn states(&self, node: Node) -> &[State; KEYS] {
        &self.0[node].states
    }

    /// The change with this number in the log that ends at `node`.
    pub(crate) fn find(&self, mut node: Node, number: u64) -> Option<Node> {
        if number > self.number(node) {
            return None;
        }
        while self.number(node) > number {
            node = self.0[node].before;
        }
        Some(node)
    }

    pub(crate) fn hash_of(&self, node: Node, number: u64) -> Option<ChangeHash> {
        self.find(node, number).map(|found| self.head(found).hash)
    }

    /// Whether the log that ends at `node` holds what ended at `other`.
    pub(crate) fn holds(&self, node: Node, other: Node) -> bool {
        self.find(node, self.number(other)) == Some(other)
    }

    /// Which keys the changes after `common` are about, up to `node`.
    pub(crate) fn changed(&self, mut node: Node, common: u64) -> [bool; KEYS] {
        let mut changed = [false; KEYS];
        while self.number(node) > common {
            changed[self.0[node].key] = true;
            node = self.0[node].before;
        }
        changed
    }

    /// Whether an operator has changed `key` after `common`, in the log that ends at `node`.
    pub(crate) fn was_meant(&self, mut node: Node, key: usize, common: u64) -> bool {
        while self.number(node) > common {
            if self.0[node].key == key && self.0[node].by_operator {
                return true;
            }
            node = self.0[node].before;
        }
        false
    }

    pub(crate) fn common(&self, old: Node, new: Node) -> u64 {
        let newest = self.head(old).number.min(self.head(new).number);
        let same = |number| Ok::<_, ()>(self.hash_of(old, number) == self.hash_of(new, number));
        last_common_change(newest, same).unwrap_or(0)
    }

    /// Numbers and hashes follow from one another, down to the first.
    pub(crate) fn check(&self, mut node: Node) -> Result<(), String> {
        while node != 0 {
            let change = &self.0[node];
            let before = self.head(change.before);
            if Self::hashed(before, change.at, change.key, change.states[change.key]) != change.head {
                return Err(format!("change {} does not follow from the one before", change.head.number));
            }
            node = change.before;
        }
        Ok(())
    }
}
