//! The record: the log, the gateways' rows, its clock. And what can be asked of it, as the SQL in
//! `src/store/postgres` answers it.

use jiff::Timestamp;
use portcullis::model::State;
use portcullis::store::{ChangeHead, ChangeNumber, GatewayEntry, Gateways};

use crate::log::{KEYS, Log, Node};

#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    pub(crate) gateway: u32,
    pub(crate) applied: u64,
    /// By the record's clock, which is the world's.
    pub(crate) lease_until: u64,
}

/// What the record holds: all of it goes back together when it is put back.
#[derive(Debug, Clone, Default)]
pub(crate) struct Record {
    pub(crate) head: Node,
    pub(crate) rows: Vec<Row>,
    /// It was put back: until then there may be leases that it lacks.
    pub(crate) unsure_until: u64,
}

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Question {
    Renew {
        gateway: u32,
        lease: u64,
    },
    Acknowledge {
        gateway: u32,
        head: ChangeHead,
    },
    Leave {
        gateway: u32,
    },
    /// How a replica at `since` stands.
    Compare {
        since: Option<Node>,
    },
    Copy,
    /// By the gateway itself, after a rebuild.
    WriteBack {
        since: Node,
        key: usize,
        state: State,
    },
    /// By an operator, on a replica that is there.
    Change {
        since: Node,
        key: usize,
        state: State,
    },
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Answer {
    Done,
    Current,
    Behind { since: Node, to: Node },
    Ahead,
    Copied(Node),
    Written(Node),
    Refused,
}

impl Record {
    /// How a replica at `since` stands to it; `None`: it must be made anew.
    fn compare(&self, log: &Log, since: Node) -> Option<Answer> {
        let known = log.head(since);
        if since == self.head {
            Some(Answer::Current)
        } else if known.is_in(log.hash_of(self.head, known.number.0)) {
            Some(Answer::Behind { since, to: self.head })
        } else {
            None
        }
    }

    pub(crate) fn answer(&mut self, log: &mut Log, now: u64, question: Question) -> Answer {
        match question {
            Question::Renew { gateway, lease } => {
                let lease_until = now + lease;
                match self.rows.iter_mut().find(|row| row.gateway == gateway) {
                    Some(row) => row.lease_until = lease_until,
                    None => self.rows.push(Row { gateway, applied: 0, lease_until }),
                }
            }
            Question::Acknowledge { gateway, head } => {
                if head.is_in(log.hash_of(self.head, head.number.0))
                    && let Some(row) = self.rows.iter_mut().find(|row| row.gateway == gateway)
                {
                    row.applied = head.number.0;
                }
            }
            Question::Leave { gateway } => self.rows.retain(|row| row.gateway != gateway),
            Question::Compare { since } => {
                return since.and_then(|since| self.compare(log, since)).unwrap_or(Answer::Ahead);
            }
            Question::Copy => return Answer::Copied(self.head),
            Question::WriteBack { since, key, state } => {
                if self.compare(log, since).is_none() {
                    return Answer::Refused;
                }
                // from active to removed leads by inactive
                for step in [State::Inactive, State::Removed] {
                    let is = log.states(self.head)[key];
                    if is != step && is != State::Removed && (step == State::Inactive || state == step) {
                        self.head = log.append(self.head, now, key, step, false);
                    }
                }
                return Answer::Written(self.head);
            }
            Question::Change { since, key, state } => {
                let is = log.states(self.head)[key];
                let is_allowed = match (is, state) {
                    (State::Removed, _) | (State::Active, State::Removed) => false,
                    _ => is != state,
                };
                if self.compare(log, since).is_none() || !is_allowed {
                    return Answer::Refused;
                }
                self.head = log.append(self.head, now, key, state, true);
                return Answer::Written(self.head);
            }
        }
        Answer::Done
    }

    pub(crate) fn gateways(&self, log: &Log, now: u64) -> Gateways {
        let time = |at: u64| Timestamp::from_millisecond(at.cast_signed()).expect("a time within centuries");
        let entry = |row: &Row| GatewayEntry {
            id: String::new(),
            name: String::new(),
            started: Timestamp::UNIX_EPOCH,
            applied: ChangeNumber(row.applied),
            lease_until: time(row.lease_until),
            is_live: row.lease_until >= now,
            uses_saved: Timestamp::UNIX_EPOCH,
        };
        Gateways {
            at: time(now),
            head: log.head(self.head).number,
            unsure_until: (self.unsure_until > now).then(|| time(self.unsure_until)),
            entries: self.rows.iter().map(entry).collect(),
        }
    }

    pub(crate) fn states<'a>(&self, log: &'a Log) -> &'a [State; KEYS] {
        log.states(self.head)
    }
}
