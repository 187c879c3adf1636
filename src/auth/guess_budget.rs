//! How many wrong guesses at chosen secrets are answered: a budget for each source, for each access key, and for each
//! known source with the key that it uses.
//!
//! A budget is a token bucket, kept as one time: when it will be full again (the generic cell rate algorithm).

use std::collections::HashMap;
use std::num::NonZero;
use std::time::{Duration, Instant};

use crate::config;
use crate::model::ClientSource;

/// The hash of an access key under a key of this process. Two access keys share one by chance in 2^64.
pub(super) type AccessKeyHash = u64;

/// Who spends the guesses of a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum BudgetOwner {
    Source(ClientSource),
    /// Everybody who guesses at this access key.
    AccessKey(AccessKeyHash),
    /// A source that has used this access key before.
    KnownSource(ClientSource, AccessKeyHash),
}

struct Budget {
    full_at: Instant,
    /// The number of the last turn that it had.
    last_served_turn: u64,
}

/// So many guesses at once, and one more for each interval.
#[derive(Clone, Copy)]
struct Rate {
    interval: Duration,
    window: Duration,
}

impl Rate {
    fn new(guesses: u32, window: Duration) -> Self {
        Self { interval: window / guesses.max(1), window }
    }
}

/// All budgets that are not full. What is not here is full.
pub(super) struct GuessBudgets {
    budgets: HashMap<BudgetOwner, Budget>,
    of_source: Rate,
    of_access_key: Rate,
    most: usize,
    /// Full budgets are taken out when there are so many.
    sweep_at: usize,
}

/// Below this many budgets the full ones are not taken out.
const SWEEP_MINIMUM: usize = 1024;

impl GuessBudgets {
    pub(super) fn new(settings: &config::Throttle) -> Self {
        Self {
            budgets: HashMap::new(),
            of_source: Rate::new(settings.failures, settings.window),
            of_access_key: Rate::new(settings.key_failures, settings.window),
            most: settings.sources.max(SWEEP_MINIMUM),
            sweep_at: SWEEP_MINIMUM,
        }
    }

    fn rate(&self, owner: BudgetOwner) -> Rate {
        match owner {
            BudgetOwner::Source(_) | BudgetOwner::KnownSource(..) => self.of_source,
            BudgetOwner::AccessKey(_) => self.of_access_key,
        }
    }

    /// How long until a guess may be answered when `ahead` others come first.
    pub(super) fn wait(&self, owner: BudgetOwner, ahead: usize, now: Instant) -> Duration {
        let Rate { interval, window } = self.rate(owner);
        let spent = self
            .budgets
            .get(&owner)
            .map_or(Duration::ZERO, |budget| budget.full_at.saturating_duration_since(now));
        let more = interval.saturating_mul(u32::try_from(ahead).unwrap_or(u32::MAX).saturating_add(1));
        spent.saturating_add(more).saturating_sub(window)
    }

    /// Whether half of the budget is left.
    pub(super) fn is_half_full(&self, owner: BudgetOwner, now: Instant) -> bool {
        let spent = self.budgets.get(&owner).map(|budget| budget.full_at.saturating_duration_since(now));
        spent.is_none_or(|spent| spent <= self.rate(owner).window / 2)
    }

    /// Takes one guess out of the budget.
    pub(super) fn spend(&mut self, owner: BudgetOwner, turn: u64, now: Instant) {
        self.spend_many(owner, NonZero::<u32>::MIN, turn, now);
    }

    /// Takes so many guesses out of the budget, though it may not have as many left.
    pub(super) fn spend_many(&mut self, owner: BudgetOwner, guesses: NonZero<u32>, turn: u64, now: Instant) {
        if self.budgets.len() >= self.sweep_at {
            self.sweep(now);
        }
        let interval = self.rate(owner).interval;
        let budget = self.budgets.entry(owner).or_insert(Budget { full_at: now, last_served_turn: 0 });
        budget.full_at = budget.full_at.max(now) + interval * guesses.get();
        budget.last_served_turn = turn;
    }

    /// Puts one guess back: it was right, or could not be verified.
    pub(super) fn give_back(&mut self, owner: BudgetOwner) {
        let interval = self.rate(owner).interval;
        if let Some(budget) = self.budgets.get_mut(&owner) {
            budget.full_at = budget.full_at.checked_sub(interval).unwrap_or(budget.full_at);
        }
    }

    pub(super) fn last_served_turn(&self, owner: BudgetOwner) -> u64 {
        self.budgets.get(&owner).map_or(0, |budget| budget.last_served_turn)
    }

    /// Takes out the full budgets. If too many are left, those go that will be full first: a flood from very many sources
    /// makes the gateway forget some guesses, and nothing else.
    fn sweep(&mut self, now: Instant) {
        self.budgets.retain(|_, budget| budget.full_at > now);
        if self.budgets.len() >= self.most {
            let mut times: Vec<Instant> = self.budgets.values().map(|budget| budget.full_at).collect();
            let quarter = times.len() / 4;
            let (_, border, _) = times.select_nth_unstable(quarter);
            let border = *border;
            self.budgets.retain(|_, budget| budget.full_at > border);
        }
        self.sweep_at = (self.budgets.len() * 2).clamp(SWEEP_MINIMUM, self.most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budgets(failures: u32, key_failures: u32) -> GuessBudgets {
        let window = Duration::from_mins(1);
        GuessBudgets::new(&config::Throttle { failures, key_failures, window, ..config::Throttle::default() })
    }

    fn owner(last: u8) -> BudgetOwner {
        BudgetOwner::Source(ClientSource::of([192, 0, 2, last].into()))
    }

    #[test]
    fn a_budget_is_spent_at_once_and_comes_back_at_its_rate() {
        let (mut budgets, now) = (budgets(60, 600), Instant::now());
        for turn in 0..60 {
            assert_eq!(budgets.wait(owner(1), 0, now), Duration::ZERO, "{turn}");
            budgets.spend(owner(1), turn, now);
        }
        assert_eq!(budgets.wait(owner(1), 0, now), Duration::from_secs(1));
        assert_eq!(budgets.wait(owner(1), 4, now), Duration::from_secs(5), "four come first");
        assert_eq!(budgets.wait(owner(2), 0, now), Duration::ZERO, "another has its own");
        let later = now + Duration::from_secs(10);
        assert_eq!(budgets.wait(owner(1), 9, later), Duration::ZERO);
        assert_eq!(budgets.wait(owner(1), 10, later), Duration::from_secs(1));
        assert!(!budgets.is_half_full(owner(1), later));
        assert!(budgets.is_half_full(owner(1), now + Duration::from_secs(30)));
    }

    #[test]
    fn what_is_given_back_was_never_spent() {
        let (mut budgets, now) = (budgets(1, 600), Instant::now());
        budgets.spend(owner(1), 1, now);
        assert!(budgets.wait(owner(1), 0, now) > Duration::ZERO);
        budgets.give_back(owner(1));
        assert_eq!(budgets.wait(owner(1), 0, now), Duration::ZERO);
    }

    #[test]
    fn memory_is_bounded_whoever_guesses() {
        // one guess a day: no budget becomes full again while this runs
        let settings = config::Throttle {
            failures: 1,
            window: Duration::from_hours(24),
            sources: 4096,
            ..config::Throttle::default()
        };
        let (mut budgets, now) = (GuessBudgets::new(&settings), Instant::now());
        for key in 0..100_000 {
            budgets.spend(BudgetOwner::AccessKey(key), key, now + Duration::from_millis(key));
            assert!(budgets.budgets.len() <= 4096);
        }
        assert!(
            budgets.wait(BudgetOwner::AccessKey(99_999), 599, now) > Duration::ZERO,
            "the newest is there"
        );
    }
}
