//! One schedule: everything that can go wrong in one world, and the promises that must hold all the same.

use std::time::Duration;

use portcullis::model::State;
use portcullis::store::{LeaseState, lost_revocation};

use crate::gateway::{CatchUp, Gateway, Need};
use crate::log::{KEYS, Log, Node};
use crate::random::Random;
use crate::record::{Answer, Question, Record};

/// How many gateways there are at most.
const MAX_GATEWAYS: usize = 5;

/// How many receipts are waited for at a time.
const PENDING_RECEIPTS: usize = 3;

/// How many steps have faults.
const STEPS: u32 = 1000;

/// States of the record that a late standby may have.
const STANDBY_STATES: usize = 8;

/// How long a request may be on its way after its gateway has looked at the lease. What is left of the margin is for
/// the clocks: 60 s at 200 millionths.
const MAX_REQUEST_DELAY: u64 = 1_950;

pub(crate) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).expect("a short time")
}

/// After that moment no gateway may let this key pass.
struct Claim {
    change: Node,
    key: usize,
    after: u64,
    /// Because the leases have ended; otherwise because every gateway has acknowledged it.
    by_lease: bool,
}

/// A change whose author waits for its receipt.
struct PendingReceipt {
    change: Node,
    key: usize,
}

/// A command on a gateway's machine, on its replica.
struct Command {
    gateway: usize,
    catch_up: CatchUp,
    key: usize,
    state: State,
}

pub(crate) struct World {
    random: Random,
    log: Log,
    record: Record,
    is_up: bool,
    now: u64,
    longest: u64,
    gateways: Vec<Gateway>,
    processes: u32,
    /// Sent, no longer waited for, and still on their way.
    strays: Vec<Question>,
    commands: Vec<Command>,
    asked: Vec<PendingReceipt>,
    claims: Vec<Claim>,
    /// Newest last.
    before: Vec<Record>,
    backup: Record,
    trace: bool,
}

macro_rules! tell {
    ($world:expr, $($what:tt)*) => {
        if $world.trace {
            println!("{:>8} {}", $world.now, format_args!($($what)*));
        }
    };
}

impl World {
    pub(crate) fn new(seed: u64, trace: bool) -> Self {
        let mut random = Random(seed);
        let now = 10_000_000;
        let length = [4, 10, 60][random.index(3)];
        let gateways: Vec<_> = (0..=random.index(MAX_GATEWAYS))
            .map(|_| {
                let ppm = random.below(401).cast_signed() - 200;
                Gateway::new(Duration::from_secs(length), now - random.below(5_000_000), ppm)
            })
            .collect();
        Self {
            random,
            log: Log::new(),
            record: Record::default(),
            is_up: true,
            now,
            longest: milliseconds(LeaseState::in_record(Duration::from_secs(length))),
            gateways,
            processes: 0,
            strays: Vec::new(),
            commands: Vec::new(),
            asked: Vec::new(),
            claims: Vec::new(),
            before: Vec::new(),
            backup: Record::default(),
            trace,
        }
    }

    /// Runs it; what was broken.
    pub(crate) fn run(mut self) -> Result<(), String> {
        for _ in 0..STEPS {
            self.pass_time();
            self.step()?;
        }
        self.recover_and_check()
    }

    fn pass_time(&mut self) {
        self.now += match self.random.below(100) {
            0..70 => self.random.below(5),
            70..90 => self.random.below(300),
            90..98 => self.random.below(3_000),
            _ => self.random.below(self.longest),
        };
    }

    fn step(&mut self) -> Result<(), String> {
        let at = self.random.index(self.gateways.len());
        match self.random.below(100) {
            0..46 => self.step_lease(at)?,
            46..60 => self.step_follower(at)?,
            60..72 => self.request(at),
            72..80 => self.step_command()?,
            80..86 => self.operator(at),
            86..92 => return self.ask(),
            92..94 => self.deliver_stray(),
            _ => self.fault(at),
        }
        self.probe(at)
    }

    fn is_paused(&self, at: usize) -> bool {
        self.gateways[at].process.as_ref().is_some_and(|process| process.paused_until > self.now)
    }

    fn step_lease(&mut self, at: usize) -> Result<(), String> {
        if self.is_paused(at) {
            return Ok(());
        }
        let Some(process) = &self.gateways[at].process else {
            if self.random.percent(30) {
                self.start(at);
            }
            return Ok(());
        };
        let Some(question) = process.waits else { return self.gateways[at].step_lease(self.now, &self.log) };
        let answer = self.send(at, question);
        self.gateways[at].take(answer, &self.log);
        Ok(())
    }

    fn start(&mut self, at: usize) {
        // tells the gateway too
        self.processes += u32::try_from(MAX_GATEWAYS).expect("a few");
        tell!(self, "gateway {at} starts");
        let id = self.processes + u32::try_from(at).expect("a few");
        self.gateways[at].start(id, &self.log);
    }

    fn step_follower(&mut self, at: usize) -> Result<(), String> {
        if self.is_paused(at) { Ok(()) } else { self.gateways[at].step_follower(&self.log) }
    }

    /// A question to the record, over a network that may lose it, or its answer, or keep it for later.
    fn send(&mut self, at: usize, question: Question) -> Option<Answer> {
        if !self.is_up || self.gateways[at].is_cut_off {
            return None;
        }
        match self.random.below(100) {
            0..4 => None,
            4..8 => {
                self.strays.push(question);
                None
            }
            8..12 => {
                self.execute(question);
                None
            }
            12..15 => {
                self.strays.push(question);
                Some(self.execute(question))
            }
            _ => Some(self.execute(question)),
        }
    }

    fn deliver_stray(&mut self) {
        if self.is_up && !self.strays.is_empty() {
            let question = self.strays.swap_remove(self.random.index(self.strays.len()));
            // what was done twice is harmless but for a change, and a connection that broke has taken its lock with it
            if !matches!(question, Question::Change { .. } | Question::WriteBack { .. }) {
                self.execute(question);
            }
        }
    }

    fn execute(&mut self, question: Question) -> Answer {
        let writes = !matches!(question, Question::Compare { .. } | Question::Copy);
        if writes {
            if self.before.len() == STANDBY_STATES {
                self.before.remove(0);
            }
            self.before.push(self.record.clone());
        }
        let answer = self.record.answer(&mut self.log, self.now, question);
        tell!(self, "record: {question:?}: {answer:?}");
        if let (Question::Change { key, state: State::Active, .. }, Answer::Written(_)) = (question, answer) {
            // from here on it may work again
            self.claims.retain(|claim| claim.key != key);
            self.asked.retain(|asked| asked.key != key);
        }
        answer
    }

    /// Somebody at a gateway, or on its machine, changes something.
    fn operator(&mut self, at: usize) {
        let key = self.random.index(KEYS);
        let state = match self.random.below(10) {
            0..5 => State::Inactive,
            5..9 => State::Active,
            _ => State::Removed,
        };
        if self.is_up && self.random.percent(30) {
            // on a machine without a gateway, on a replica of its own
            let since = self.record.head;
            if let Answer::Written(change) = self.execute(Question::Change { since, key, state }) {
                self.keep_asking(change, key, state);
            }
        } else if self.commands.len() < 3 {
            self.commands.push(Command { gateway: at, catch_up: CatchUp::Begin, key, state });
        }
    }

    fn keep_asking(&mut self, change: Node, key: usize, state: State) {
        if state != State::Active {
            if self.asked.len() == PENDING_RECEIPTS {
                self.asked.remove(0);
            }
            self.asked.push(PendingReceipt { change, key });
        }
    }

    /// A command brings the replica up to the record, changes the record, and applies that to the replica.
    fn step_command(&mut self) -> Result<(), String> {
        if self.commands.is_empty() {
            return Ok(());
        }
        let which = self.random.index(self.commands.len());
        if self.random.percent(3) {
            // killed
            self.commands.swap_remove(which);
            return Ok(());
        }
        let Command { gateway: at, key, state, .. } = self.commands[which];
        if let CatchUp::End = self.commands[which].catch_up {
            self.commands.swap_remove(which);
            let Some(since) = self.gateways[at].disk.node else { return Ok(()) };
            if let Some(Answer::Written(change)) = self.send(at, Question::Change { since, key, state }) {
                // the lock was held: nothing has come between
                if self.random.percent(80) && self.gateways[at].disk.node == Some(since) {
                    self.gateways[at].disk.node = Some(change);
                }
                self.keep_asking(change, key, state);
            }
            return Ok(());
        }
        let disk = &mut self.gateways[at].disk;
        if let Need::Ask(question) = self.commands[which].catch_up.step(disk, &self.log)? {
            let answer = self.send(at, question);
            let catch_up = &mut self.commands[which].catch_up;
            if !answer.is_some_and(|answer| catch_up.take(answer, &self.log)) {
                self.commands.swap_remove(which);
            }
        }
        Ok(())
    }

    /// Where a change is in force.
    fn ask(&mut self) -> Result<(), String> {
        if !self.is_up || self.asked.is_empty() {
            return Ok(());
        }
        let which = self.random.index(self.asked.len());
        let PendingReceipt { change, key } = self.asked[which];
        let receipt = self.record.gateways(&self.log, self.now).receipt(self.log.head(change).number);
        if !self.log.holds(self.record.head, change) {
            return Ok(());
        }
        let after = match receipt.not_after() {
            None if receipt.is_complete() => self.now,
            None => return Ok(()),
            Some(time) => time.as_millisecond().cast_unsigned(),
        };
        tell!(self, "receipt of change {}: key {key} is dead after {after}", self.log.number(change));
        let by_lease = !receipt.is_complete();
        self.claims.retain(|claim| claim.change != change || claim.by_lease != by_lease);
        self.claims.push(Claim { change, key, after, by_lease });
        if receipt.is_complete() {
            self.asked.swap_remove(which);
        }
        self.now += 1;
        (0..self.gateways.len()).try_for_each(|at| self.probe(at))
    }

    /// A request comes in, which fills the cache.
    fn request(&mut self, at: usize) {
        let key = self.random.index(KEYS);
        let passes = self.gateways[at].answer(key, self.now, &self.log);
        tell!(self, "gateway {at} is asked with key {key}: {passes}");
    }

    /// Whether a gateway would let a key pass that is dead.
    fn probe(&mut self, at: usize) -> Result<(), String> {
        // an order of its own ends what it forbids, a lease does not: that leaves what is on its way
        let leaves = self.now + self.random.below(MAX_REQUEST_DELAY);
        let (now, log) = (self.now, &self.log);
        for claim in &self.claims {
            let is_dead = claim.after < if claim.by_lease { leaves } else { now };
            if is_dead && self.gateways[at].lets_pass(claim.key, now, log) {
                return Err(format!(
                    "gateway {at} lets key {} pass, which was said to be dead after {} ms by change {}",
                    claim.key,
                    claim.after,
                    log.number(claim.change)
                ));
            }
        }
        Ok(())
    }

    fn fault(&mut self, at: usize) {
        let now = self.now;
        match self.random.below(100) {
            0..20 => {
                let length = self.random.below(self.longest * 2);
                tell!(self, "gateway {at} is paused for {length}");
                if let Some(process) = &mut self.gateways[at].process {
                    process.paused_until = now + length;
                }
            }
            20..35 => {
                tell!(self, "gateway {at} is killed");
                self.gateways[at].process = None;
            }
            // in order: it gives its lease up where the record answers, and else keeps it as one that was killed does
            35..50 => {
                let answers = self.is_up && !self.gateways[at].is_cut_off && self.random.percent(90);
                if !answers {
                    tell!(self, "gateway {at} stops without the record");
                    self.gateways[at].process = None;
                } else if let Some(question) = self.gateways[at].stop() {
                    tell!(self, "gateway {at} stops");
                    self.send(at, question);
                }
            }
            50..56 if self.gateways[at].can_reboot() => {
                let mut node = self.gateways[at].disk.node;
                if let Some(whole) = node.filter(|_| self.random.percent(50)) {
                    // power failed: the newest of what SQLite wrote is not on the disk
                    let number = self.log.number(whole).saturating_sub(self.random.below(3));
                    node = self.log.find(whole, number);
                }
                tell!(self, "gateway {at}'s machine starts anew");
                self.gateways[at].reboot(now, node);
                self.commands.retain(|command| command.gateway != at);
            }
            56..58 => {
                tell!(self, "gateway {at}'s replica is damaged");
                self.gateways[at].disk.node = None;
            }
            58..74 => self.gateways[at].is_cut_off ^= true,
            74..82 => self.is_up ^= true,
            82..88 => self.backup = self.record.clone(),
            88..94 => {
                let record = std::mem::take(&mut self.backup);
                self.backup = record.clone();
                self.roll_back_to(record, "an old backup");
                self.operator(at);
            }
            _ => {
                if !self.before.is_empty() {
                    let which = self.random.index(self.before.len());
                    let record = self.before[which].clone();
                    self.roll_back_to(record, "a late standby");
                    self.operator(at);
                }
            }
        }
    }

    fn roll_back_to(&mut self, record: Record, what: &str) {
        tell!(self, "the record is {what}: change {} is its newest", self.log.number(record.head));
        self.record = record;
        // as a new timeline, or a gateway that is ahead, makes the record do: with what it lost may have gone leases
        self.record.unsure_until = self.now + self.longest;
        self.before.clear();
        self.is_up = true;
        // what was on its way was on its way to the other
        self.strays.clear();
        let (log, head) = (&self.log, self.record.head);
        self.claims.retain(|claim| log.holds(head, claim.change));
    }

    /// The deactivations and removals that replicas have and the record has lost.
    fn lost(&self) -> [Option<State>; KEYS] {
        let (log, head) = (&self.log, self.record.head);
        let mut lost = [None; KEYS];
        for gateway in self.gateways.iter().filter(|gateway| !gateway.is_applying()) {
            let Some(node) = gateway.disk.node else { continue };
            let common = log.common(node, head);
            let changed = log.changed(node, common);
            // an operator's later change counts
            for key in (0..KEYS).filter(|key| changed[*key] && !log.was_meant(head, *key, common)) {
                let was = lost_revocation(log.states(node)[key], self.record.states(log)[key]);
                lost[key] = lost[key].or(was);
            }
        }
        lost
    }

    /// Without further faults, everything must be well again in time.
    fn recover_and_check(mut self) -> Result<(), String> {
        tell!(self, "nothing goes wrong any more");
        self.is_up = true;
        self.commands.clear();
        for at in 0..self.gateways.len() {
            self.gateways[at].is_cut_off = false;
            match &mut self.gateways[at].process {
                Some(process) => process.paused_until = 0,
                None => self.start(at),
            }
        }
        let lost = self.lost();
        let deadline = self.now + self.longest;
        loop {
            self.now += 20;
            for at in 0..self.gateways.len() {
                for _ in 0..3 {
                    let waits = self.gateways[at].process.as_ref().and_then(|process| process.waits);
                    if let Some(question) = waits {
                        let answer = Some(self.execute(question));
                        self.gateways[at].take(answer, &self.log);
                    } else {
                        self.gateways[at].step_lease(self.now, &self.log)?;
                    }
                }
                self.gateways[at].step_follower(&self.log)?;
                self.probe(at)?;
            }
            let head = self.record.head;
            let is_well = |gateway: &Gateway| {
                let id = gateway.process.as_ref().map(|process| process.id);
                let row = self.record.rows.iter().find(|row| Some(row.gateway) == id);
                row.is_some_and(|row| row.applied == self.log.number(head) && row.lease_until > self.now)
                    && gateway.is_current(head, self.now, &self.log)
            };
            if self.gateways.iter().all(is_well) {
                break;
            }
            if self.now > deadline {
                return Err(format!("after {} ms not every gateway is up to date", self.longest));
            }
        }
        self.log.check(self.record.head)?;
        let states = self.record.states(&self.log);
        for (key, (is, was)) in states.iter().zip(lost).enumerate() {
            if let Some(was) = was.and_then(|was| lost_revocation(was, *is)) {
                return Err(format!("key {key} is {is}, and a replica knew that it was {was}"));
            }
        }
        Ok(())
    }
}
