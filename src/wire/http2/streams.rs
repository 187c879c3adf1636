//! The streams of a connection that somebody works on.

use std::collections::VecDeque;
use std::task::{Context, Waker};

use slab::Slab;

use super::super::field::FieldBlock;
use super::super::spare;
use super::closed::Closed;
use super::frame::MAX_WINDOW;

/// What a client may send ahead of what is taken, on one stream.
pub(super) const STREAM_WINDOW_BYTES: u32 = 256 << 10;
/// A buffer for received bytes that has grown beyond this is not kept for others.
pub(super) const SPARE_BYTES: usize = 32 * 1024;

/// One stream, for as long as its [`Http2Peer`](super::Http2Peer) lives.
pub(super) struct Stream {
    pub(super) id: u32,
    /// Of the one task that works on it.
    waker: Option<Waker>,
    /// What has come and was not taken yet.
    pub(super) received: Vec<u8>,
    /// The other side has said all.
    pub(super) is_received: bool,
    pub(super) trailers: FieldBlock,
    /// What is still to come, where it was announced.
    pub(super) announced: Option<u64>,
    /// How much the other side may still send.
    pub(super) receive_window: u32,
    /// What was taken, and the other side has not been told of yet.
    pub(super) taken: u32,
    /// How much may be sent; less than nothing after the other side has made its windows smaller.
    pub(super) send_window: i64,
    /// This side has said all.
    pub(super) is_sent: bool,
    /// Why it ended before its time.
    pub(super) ended: Option<Ended>,
    pub(super) turn: Turn,
}

/// A stream's place among those that want to send a part of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// It has none.
    None,
    /// It waits for room on the connection.
    Waits,
    /// It was the first of those that wait, and has not sent anything since.
    Next,
}

/// Why a stream ended before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// The other side has reset it; `early`: before anybody could begin with it.
    Theirs { early: bool },
    /// This side has.
    Ours,
    /// The connection is over.
    Connection,
}

impl Stream {
    /// Has the task that polls now woken when anything about the stream changes.
    pub(super) fn wake_with(&mut self, cx: &Context<'_>) {
        if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.waker = Some(cx.waker().clone());
        }
    }

    pub(super) fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }

    pub(super) fn end(&mut self, why: Ended) {
        self.ended.get_or_insert(why);
        self.wake();
    }

    /// Whether something may still come from the other side that this stream is about.
    pub(super) fn receives(&self) -> bool {
        !self.is_received && self.ended.is_none()
    }

    /// How it has ended, where nothing more may come for it. Where the client has said all and this side has not, it has
    /// not ended.
    pub(super) fn closed(&self) -> Option<Closed> {
        match self.ended {
            Some(Ended::Theirs { .. }) => Some(Closed::Reset),
            Some(_) => Some(Closed::Early),
            None => (self.is_sent && self.is_received).then_some(Closed::Whole),
        }
    }

    /// `false`: more than there can be.
    pub(super) fn widen(&mut self, by: i64) -> bool {
        self.send_window += by;
        if self.send_window > 0 {
            self.wake();
        }
        self.send_window <= MAX_WINDOW
    }
}

/// All of them, by the number that their peers know them by, and by their identifiers.
#[derive(Default)]
pub(super) struct Streams {
    slots: Slab<Stream>,
    /// Identifiers and numbers. Identifiers only rise, so they are in order.
    ids: VecDeque<(u32, usize)>,
    /// How many of them the other side has reset, and how many of those before anybody could begin with them.
    pub(super) given_up: usize,
    pub(super) given_up_early: usize,
    /// Those that wait for room on the connection, in turn.
    pub(super) waiting: VecDeque<usize>,
}

impl Streams {
    pub(super) fn open(
        &mut self,
        id: u32,
        send_window: i64,
        announced: Option<u64>,
        is_received: bool,
    ) -> usize {
        let stream = Stream {
            id,
            waker: None,
            received: Vec::new(),
            is_received,
            trailers: FieldBlock::default(),
            announced,
            receive_window: STREAM_WINDOW_BYTES,
            taken: 0,
            send_window,
            is_sent: false,
            ended: None,
            turn: Turn::None,
        };
        let number = self.slots.insert(stream);
        self.ids.push_back((id, number));
        number
    }

    pub(super) fn close(&mut self, number: usize) -> Stream {
        let stream = self.slots.remove(number);
        if let Ok(at) = self.ids.binary_search_by_key(&stream.id, |(id, _)| *id) {
            self.ids.remove(at);
        }
        if stream.turn == Turn::Waits {
            self.waiting.retain(|waiting| *waiting != number);
        }
        if let Some(Ended::Theirs { early }) = stream.ended {
            self.given_up -= 1;
            self.given_up_early -= usize::from(early);
        }
        stream
    }

    /// The other side has reset a stream.
    pub(super) fn give_up(&mut self, number: usize) {
        let stream = &mut self.slots[number];
        if stream.ended.is_none() {
            let early = stream.waker.is_none();
            self.given_up += 1;
            self.given_up_early += usize::from(early);
            stream.end(Ended::Theirs { early });
        }
    }

    pub(super) fn find(&self, id: u32) -> Option<usize> {
        let at = self.ids.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        Some(self.ids[at].1)
    }

    pub(super) fn get(&mut self, number: usize) -> &mut Stream {
        &mut self.slots[number]
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn each(&mut self) -> impl Iterator<Item = &mut Stream> {
        self.slots.iter_mut().map(|(_, stream)| stream)
    }

    /// Puts a stream among those that wait for room, unless it is there. One whose room was taken by others before it
    /// came stays the first: behind a stream that always takes all, it would never be served.
    pub(super) fn wait(&mut self, number: usize) {
        match std::mem::replace(&mut self.slots[number].turn, Turn::Waits) {
            Turn::None => self.waiting.push_back(number),
            Turn::Next => self.waiting.push_front(number),
            Turn::Waits => {}
        }
    }

    /// Wakes the next of those that wait for room.
    pub(super) fn wake_next(&mut self) -> bool {
        let Some(number) = self.waiting.pop_front() else { return false };
        let stream = &mut self.slots[number];
        stream.turn = Turn::Next;
        stream.wake();
        true
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        spare::give_output(std::mem::take(&mut self.received), SPARE_BYTES);
    }
}
