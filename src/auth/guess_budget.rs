//! How many wrong guesses at chosen secrets are answered: a budget for each source, for each access key, and for each
//! source and the key that it is known to use.
//!
//! A budget is a token bucket, kept as one time: when it will be full again (the generic cell rate algorithm).

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::config;
use crate::model::Source;

/// The hash of an access key under a key of this process. Two access keys share one by chance in 2^64.
pub(super) type KeyHash = u64;

/// Whose guesses are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Guesser {
    Source(Source),
    /// Everybody who guesses at this access key.
    AccessKey(KeyHash),
    /// A source that has used this access key before.
    KnownSource(Source, KeyHash),
}

struct Budget {
    full_at: Instant,
    /// The number of the turn that was given to it last.
    last_turn: u64,
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
    budgets: HashMap<Guesser, Budget>,
    of_source: Rate,
    of_access_key: Rate,
    most: usize,
    /// Full ones are taken out when there are so many.
    sweep_at: usize,
}

/// Not worth a sweep.
const FEW: usize = 1024;

impl GuessBudgets {
    pub(super) fn new(settings: &config::Throttle) -> Self {
        Self {
            budgets: HashMap::new(),
            of_source: Rate::new(settings.failures, settings.window),
            of_access_key: Rate::new(settings.key_failures, settings.window),
            most: settings.sources.max(FEW),
            sweep_at: FEW,
        }
    }

    fn rate(&self, guesser: Guesser) -> Rate {
        match guesser {
            Guesser::Source(_) | Guesser::KnownSource(..) => self.of_source,
            Guesser::AccessKey(_) => self.of_access_key,
        }
    }

    /// How long until a guess may be answered when `ahead` others come first.
    pub(super) fn wait(&self, guesser: Guesser, ahead: usize, now: Instant) -> Duration {
        let Rate { interval, window } = self.rate(guesser);
        let spent = self
            .budgets
            .get(&guesser)
            .map_or(Duration::ZERO, |budget| budget.full_at.saturating_duration_since(now));
        let more = interval.saturating_mul(u32::try_from(ahead).unwrap_or(u32::MAX).saturating_add(1));
        spent.saturating_add(more).saturating_sub(window)
    }

    /// Whether half of the budget is left.
    pub(super) fn is_half_full(&self, guesser: Guesser, now: Instant) -> bool {
        let spent = self.budgets.get(&guesser).map(|budget| budget.full_at.saturating_duration_since(now));
        spent.is_none_or(|spent| spent <= self.rate(guesser).window / 2)
    }

    /// Takes one guess out of the budget.
    pub(super) fn spend(&mut self, guesser: Guesser, turn: u64, now: Instant) {
        if self.budgets.len() >= self.sweep_at {
            self.sweep(now);
        }
        let interval = self.rate(guesser).interval;
        let budget = self.budgets.entry(guesser).or_insert(Budget { full_at: now, last_turn: 0 });
        budget.full_at = budget.full_at.max(now) + interval;
        budget.last_turn = turn;
    }

    /// Puts one guess back: it was right, or nobody could say.
    pub(super) fn give_back(&mut self, guesser: Guesser) {
        let interval = self.rate(guesser).interval;
        if let Some(budget) = self.budgets.get_mut(&guesser) {
            budget.full_at = budget.full_at.checked_sub(interval).unwrap_or(budget.full_at);
        }
    }

    pub(super) fn last_turn(&self, guesser: Guesser) -> u64 {
        self.budgets.get(&guesser).map_or(0, |budget| budget.last_turn)
    }

    /// Takes out what is full. Where too many are left, those go that will be full first: a flood from very many
    /// sources forgets some guesses, and that is all it does.
    fn sweep(&mut self, now: Instant) {
        self.budgets.retain(|_, budget| budget.full_at > now);
        if self.budgets.len() >= self.most {
            let mut times: Vec<Instant> = self.budgets.values().map(|budget| budget.full_at).collect();
            let quarter = times.len() / 4;
            let (_, border, _) = times.select_nth_unstable(quarter);
            let border = *border;
            self.budgets.retain(|_, budget| budget.full_at > border);
        }
        self.sweep_at = (self.budgets.len() * 2).clamp(FEW, self.most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budgets(failures: u32, key_failures: u32) -> GuessBudgets {
        let window = Duration::from_mins(1);
        GuessBudgets::new(&config::Throttle { failures, key_failures, window, ..config::Throttle::default() })
    }

    fn guesser(last: u8) -> Guesser {
        Guesser::Source(Source::of([192, 0, 2, last].into()))
    }

    #[test]
    fn a_budget_is_spent_at_once_and_comes_back_at_its_rate() {
        let (mut budgets, now) = (budgets(60, 600), Instant::now());
        for turn in 0..60 {
            assert_eq!(budgets.wait(guesser(1), 0, now), Duration::ZERO, "{turn}");
            budgets.spend(guesser(1), turn, now);
        }
        assert_eq!(budgets.wait(guesser(1), 0, now), Duration::from_secs(1));
        assert_eq!(budgets.wait(guesser(1), 4, now), Duration::from_secs(5), "four come first");
        assert_eq!(budgets.wait(guesser(2), 0, now), Duration::ZERO, "another has its own");
        let later = now + Duration::from_secs(10);
        assert_eq!(budgets.wait(guesser(1), 9, later), Duration::ZERO);
        assert_eq!(budgets.wait(guesser(1), 10, later), Duration::from_secs(1));
        assert!(!budgets.is_half_full(guesser(1), later));
        assert!(budgets.is_half_full(guesser(1), now + Duration::from_secs(30)));
    }

    #[test]
    fn what_is_given_back_was_never_spent() {
        let (mut budgets, now) = (budgets(1, 600), Instant::now());
        budgets.spend(guesser(1), 1, now);
        assert!(budgets.wait(guesser(1), 0, now) > Duration::ZERO);
        budgets.give_back(guesser(1));
        assert_eq!(budgets.wait(guesser(1), 0, now), Duration::ZERO);
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
            budgets.spend(Guesser::AccessKey(key), key, now + Duration::from_millis(key));
            assert!(budgets.budgets.len() <= 4096);
        }
        assert!(budgets.wait(Guesser::AccessKey(99_999), 599, now) > Duration::ZERO, "the newest is there");
    }
}
