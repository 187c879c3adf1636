//! A gateway: its process, its machine's clock, and the replica on its disk. Each call of a step does as little as can
//! happen before the process is paused or killed, a file is swapped, or a message is lost.

use std::time::Duration;

use portcullis::model::State;
use portcullis::store::{
    BootInstant, ChangeNumber, FileId, LeaseAction, LeaseState, StorePosition, lost_revocation,
};

use crate::log::{KEYS, Log, Node};
use crate::record::{Answer, Question};
use crate::world::milliseconds;

/// What is on the disk under the replica's name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk {
    pub(crate) file: u64,
    /// Without one there is no file, or a damaged one.
    pub(crate) node: Option<Node>,
    /// The lease that is saved in it, and the start of the machine that it belongs to.
    lease: (usize, BootInstant),
    /// How many files there have been, so that each has a number of its own.
    files: u64,
}

/// Words for the starts of a machine.
const BOOTS: [&str; 6] = ["", "a", "b", "c", "d", "e"];

/// A replica's file, and the newest change in it.
type ReplicaFile = (u64, Option<Node>);

/// Brings the replica up to the record, step by step: in a gateway's thread, or in a command on the same machine.
#[derive(Debug, Clone, Default)]
pub(crate) enum CatchUp {
    #[default]
    Begin,
    Compared(Answer),
    /// In place of the file that was there when it began.
    Rebuild(ReplicaFile),
    /// A new file, not in its place yet, and the revocations that are reapplied first.
    Made {
        old: ReplicaFile,
        node: Node,
        lost: Vec<(usize, State)>,
        /// The newest change when it was made.
        copied: u64,
    },
    /// The replica is as new as the record was.
    End,
}

/// What a step needs before it can be done.
pub(crate) enum Need {
    /// The record's answer.
    Ask(Question),
    Nothing,
}

impl CatchUp {
    /// Does what needs no answer.
    pub(crate) fn step(&mut self, disk: &mut Disk, log: &Log) -> Result<Need, String> {
        match self {
            Self::Begin => return Ok(Need::Ask(Question::Compare { since: disk.node })),
            Self::Compared(answer) => {
                match *answer {
                    Answer::Current => *self = Self::End,
                    Answer::Behind { since, to } => {
                        // another may have applied it meanwhile: either way the next look tells
                        if disk.node == Some(since) {
                            disk.node = Some(to);
                        }
                        *self = Self::Begin;
                    }
                    _ => *self = Self::Rebuild((disk.file, disk.node)),
                }
            }
            Self::Rebuild(_) => return Ok(Need::Ask(Question::Copy)),
            Self::Made { node, lost, .. } if let Some((key, state)) = lost.last() => {
                return Ok(Need::Ask(Question::WriteBack { since: *node, key: *key, state: *state }));
            }
            // another has made it anew meanwhile, or gone on with the old one
            Self::Made { old, .. } if *old != (disk.file, disk.node) => *self = Self::Begin,
            Self::Made { node, copied, .. } => {
                let (node, copied) = (*node, *copied);
                if let Some(old) = disk.node {
                    for key in 0..KEYS {
                        let (was, is) = (log.states(old)[key], log.states(node)[key]);
                        if lost_revocation(was, is).is_some() && !log.was_meant(node, key, copied) {
                            let common = log.common(old, node);
                            if log.changed(old, common)[key] {
                                return Err(format!("key {key} is {is} in a new replica, and was {was}"));
                            }
                        }
                    }
                }
                disk.files += 1;
                *disk = Disk {
                    file: disk.files,
                    node: Some(node),
                    lease: (0, BootInstant(0)),
                    files: disk.files,
                };
                *self = Self::Begin;
            }
            Self::End => {}
        }
        Ok(Need::Nothing)
    }

    /// Takes the answer to what was asked; `false`: it failed.
    pub(crate) fn take(&mut self, answer: Answer, log: &Log) -> bool {
        match (&mut *self, answer) {
            (Self::Begin, answer) => *self = Self::Compared(answer),
            (Self::Rebuild(old), Answer::Copied(node)) => {
                let mut lost = Vec::new();
                if let Some(old) = old.1 {
                    let changed = log.changed(old, log.common(old, node));
                    for key in (0..KEYS).filter(|key| changed[*key]) {
                        let (was, is) = (log.states(old)[key], log.states(node)[key]);
                        lost.extend(lost_revocation(was, is).map(|state| (key, state)));
                    }
                }
                *self = Self::Made { old: *old, node, lost, copied: log.number(node) };
            }
            (Self::Made { node, lost, .. }, Answer::Written(to)) => {
                lost.pop();
                *node = to;
            }
            _ => return false,
        }
        true
    }
}

/// What the follower does.
#[derive(Debug, Clone, Copy, Default)]
enum Follow {
    #[default]
    Poll,
    /// Drop this of the caches.
    Drop(StorePosition, [bool; KEYS]),
    /// Every worker has done so.
    Confirm(StorePosition),
}

/// A process.
pub(crate) struct Process {
    pub(crate) id: u32,
    lease: LeaseState,
    next: Option<LeaseAction>,
    catch_up: CatchUp,
    /// How often it was looked in vain whether all is in force.
    patience: u32,
    reached: Node,
    pub(crate) waits: Option<Question>,
    pub(crate) paused_until: u64,
    /// The authenticator's.
    fresh_until: BootInstant,
    cached: [Option<State>; KEYS],
    follow: Follow,
    /// What the follower has open, and how far it has read.
    file: u64,
    read: Option<Node>,
    in_force: StorePosition,
}

pub(crate) struct Gateway {
    pub(crate) process: Option<Process>,
    pub(crate) disk: Disk,
    pub(crate) length: Duration,
    pub(crate) is_cut_off: bool,
    boot: usize,
    booted: u64,
    /// By how many millionths its clock is too fast.
    ppm: i64,
}

fn position(log: &Log, file: u64, node: Node) -> StorePosition {
    StorePosition { file: FileId(file, 0), number: ChangeNumber(log.number(node)) }
}

impl Gateway {
    pub(crate) fn new(length: Duration, booted: u64, ppm: i64) -> Self {
        Self { process: None, disk: Disk::default(), length, is_cut_off: false, boot: 1, booted, ppm }
    }

    fn clock(&self, now: u64) -> BootInstant {
        let since = (now - self.booted).cast_signed();
        BootInstant((since + since * self.ppm / 1_000_000).cast_unsigned())
    }

    pub(crate) fn start(&mut self, id: u32, log: &Log) {
        let until = LeaseState::saved(self.disk.lease.1, BOOTS[self.disk.lease.0], BOOTS[self.boot]);
        self.process = Some(Process {
            id,
            lease: LeaseState::new(self.length, until),
            next: None,
            catch_up: CatchUp::Begin,
            patience: 0,
            reached: 0,
            waits: None,
            paused_until: 0,
            fresh_until: until,
            cached: [None; KEYS],
            follow: Follow::Poll,
            file: self.disk.file,
            read: self.disk.node,
            in_force: self.disk.node.map(|node| position(log, self.disk.file, node)).unwrap_or_default(),
        });
    }

    /// In order; what is to be told to the record.
    pub(crate) fn stop(&mut self) -> Option<Question> {
        let process = self.process.take()?;
        self.disk.lease = (0, BootInstant(0));
        Some(Question::Leave { gateway: process.id })
    }

    /// The machine starts anew. What was not on the disk yet is not there.
    pub(crate) fn reboot(&mut self, now: u64, node: Option<Node>) {
        self.process = None;
        self.boot = (self.boot + 1).min(BOOTS.len() - 1);
        self.booted = now;
        self.disk.node = node;
    }

    pub(crate) fn can_reboot(&self) -> bool {
        self.boot + 1 < BOOTS.len()
    }

    /// One thing that the thread which keeps the lease does.
    pub(crate) fn step_lease(&mut self, now: u64, log: &Log) -> Result<(), String> {
        let clock = self.clock(now);
        let length = milliseconds(LeaseState::in_record(self.length));
        let Self { process: Some(process), disk, boot, .. } = self else { return Ok(()) };
        let gateway = process.id;
        match process.next {
            None | Some(LeaseAction::Done) => {
                process.catch_up = CatchUp::Begin;
                process.patience = 0;
                process.next = Some(process.lease.begin(clock));
            }
            Some(LeaseAction::Renew) => process.waits = Some(Question::Renew { gateway, lease: length }),
            Some(LeaseAction::CatchUp) => {
                if let (CatchUp::End, Some(node)) = (&process.catch_up, disk.node) {
                    process.reached = node;
                    process.next = Some(process.lease.caught_up(position(log, disk.file, node)));
                } else if let CatchUp::End = process.catch_up {
                    process.catch_up = CatchUp::Begin;
                } else if let Need::Ask(question) = process.catch_up.step(disk, log)? {
                    process.waits = Some(question);
                }
            }
            Some(LeaseAction::Confirm(reached)) => {
                process.patience += 1;
                if process.in_force.includes(reached) || process.patience > 3 {
                    process.next = Some(process.lease.confirmed(process.in_force, clock));
                }
            }
            Some(LeaseAction::Extend) if process.fresh_until == process.lease.until() => {
                // a replica that was made anew meanwhile remembers it as well
                disk.lease = (*boot, process.lease.until());
                process.next = Some(process.lease.extended());
            }
            Some(LeaseAction::Extend) => process.fresh_until = process.lease.until(),
            Some(LeaseAction::Acknowledge(_)) => {
                process.waits = Some(Question::Acknowledge { gateway, head: log.head(process.reached) });
            }
        }
        Ok(())
    }

    /// The record has answered, or `None`: that is not known.
    pub(crate) fn take(&mut self, answer: Option<Answer>, log: &Log) {
        let Some(process) = &mut self.process else { return };
        process.waits = None;
        process.next = match (answer, process.next) {
            (Some(Answer::Done), Some(LeaseAction::Renew)) => {
                // the record is asked anew: what was seen before the lease was in it does not count
                process.catch_up = CatchUp::Begin;
                process.patience = 0;
                Some(process.lease.renewed())
            }
            (Some(Answer::Done), Some(LeaseAction::Acknowledge(_))) => Some(process.lease.acknowledged()),
            (Some(answer), Some(LeaseAction::CatchUp)) if process.catch_up.take(answer, log) => process.next,
            _ => None,
        };
    }

    /// One thing that the follower does.
    pub(crate) fn step_follower(&mut self, log: &Log) -> Result<(), String> {
        let Self { process: Some(process), disk, .. } = self else { return Ok(()) };
        process.follow = match process.follow {
            Follow::Poll => {
                let Some(node) = disk.node else { return Ok(()) };
                let dropped = match process.read {
                    Some(read) if process.file == disk.file => {
                        if !log.holds(node, read) {
                            return Err("a file of a replica does not go on from where it was".to_owned());
                        }
                        log.changed(node, log.number(read))
                    }
                    _ => [true; KEYS],
                };
                let is_new = process.file != disk.file || process.read != disk.node;
                (process.file, process.read) = (disk.file, disk.node);
                if is_new { Follow::Drop(position(log, disk.file, node), dropped) } else { Follow::Poll }
            }
            Follow::Drop(position, dropped) => {
                for key in (0..KEYS).filter(|key| dropped[*key]) {
                    process.cached[key] = None;
                }
                Follow::Confirm(position)
            }
            Follow::Confirm(position) => {
                process.in_force = position;
                Follow::Poll
            }
        };
        Ok(())
    }

    /// Whether a request with this key passes.
    pub(crate) fn lets_pass(&self, key: usize, now: u64, log: &Log) -> bool {
        let Some(process) = &self.process else { return false };
        if process.paused_until > now || self.clock(now) >= process.fresh_until {
            return false;
        }
        let state = process.cached[key].or(self.disk.node.map(|node| log.states(node)[key]));
        state == Some(State::Active)
    }

    /// Answers a request; what the replica says is kept.
    pub(crate) fn answer(&mut self, key: usize, now: u64, log: &Log) -> bool {
        let passes = self.lets_pass(key, now, log);
        if let (true, Some(process), Some(node)) = (passes, &mut self.process, self.disk.node) {
            process.cached[key].get_or_insert(log.states(node)[key]);
        }
        passes
    }

    /// Whether the replica is about to go on: what it knows now may be undone by what follows.
    pub(crate) fn is_applying(&self) -> bool {
        let catch_up = self.process.as_ref().map(|process| &process.catch_up);
        matches!(catch_up, Some(CatchUp::Compared(Answer::Behind { .. })))
    }

    /// Whether everything up to the record's newest change is in force, within a lease.
    pub(crate) fn is_current(&self, head: Node, now: u64, log: &Log) -> bool {
        self.process.as_ref().is_some_and(|process| {
            process.in_force == position(log, self.disk.file, head)
                && self.disk.node == Some(head)
                && self.clock(now) < process.fresh_until
        })
    }
}
