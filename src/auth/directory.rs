//! Which environments there are: asked by every request whose path names one.

use super::authenticate::{AuthRefusal, Authenticator};
use super::cache::{ChangeCache, Entry, Life};
use crate::model::{EnvironmentId, State};
use crate::policy::EnvironmentFacts;

/// Environments as the store had them. Those that are not there have a cache of their own, so that asking for many
/// that do not exist pushes out none that do.
pub(super) struct Directory {
    known: ChangeCache<EnvironmentId, Listed>,
    unknown: ChangeCache<EnvironmentId, Listed>,
}

struct Listed {
    facts: EnvironmentFacts,
    life: Life,
}

impl Entry for Listed {
    fn life(&self) -> &Life {
        &self.life
    }

    fn bytes(&self) -> usize {
        size_of::<Self>()
    }
}

impl Directory {
    pub(super) fn new(capacity: u64) -> Self {
        Self { known: ChangeCache::of_entries(capacity), unknown: ChangeCache::of_entries(capacity) }
    }

    fn get(&self, id: &str) -> Option<EnvironmentFacts> {
        self.known.get(id).or_else(|| self.unknown.get(id)).map(|listed| listed.facts)
    }
}

impl Authenticator {
    /// What is known of the environment with exactly this id. Answered at once when it is in memory.
    ///
    /// A request that compares [`Authenticator::settled`] before this and right before it is forwarded, and finds the
    /// same, has used nothing that a change has ended.
    pub async fn environment(&self, id: &str) -> Result<EnvironmentFacts, AuthRefusal> {
        if let Some(facts) = self.directory.get(id) {
            return Ok(facts);
        }
        let Ok(id) = id.parse::<EnvironmentId>() else { return Ok(EnvironmentFacts::default()) };
        for _ in 0..Self::READS {
            let stamp = self.progress.stamp();
            self.tally.environment_reads.add_one();
            let read = self.reader.environment(id.as_str()).await.map_err(|error| self.unreadable(&error))?;
            let facts = read.environment.map_or_else(EnvironmentFacts::default, |environment| {
                EnvironmentFacts { known: true, active: environment.state == State::Active }
            });
            let list = if facts.known { &self.directory.known } else { &self.directory.unknown };
            let listed = Listed { facts, life: Life::default() };
            if let Some(kept) = list.fill(&id, listed, read.as_of, &self.progress, stamp) {
                return Ok(kept.facts);
            }
            self.tally.raced_fills.add_one();
        }
        Err(self.unavailable())
    }

    pub(super) fn end_environment(&self, id: &EnvironmentId) {
        self.directory.known.end(id);
        self.directory.unknown.end(id);
    }

    pub(super) fn end_all_environments(&self) {
        self.directory.known.end_all();
        self.directory.unknown.end_all();
    }
}
