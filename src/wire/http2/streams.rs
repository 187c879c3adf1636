//! The open streams of a connection.

use std::collections::VecDeque;
use std::task::{Context, Waker};

use slab::Slab;

use super::super::buffer_pool;
use super::super::field_block::FieldBlock;
use super::closed_streams::ClosedState;
use super::frame::MAX_WINDOW;

/// The flow-control window of a stream: what a client may send before the gateway has taken any of it.
pub(super) const STREAM_WINDOW_BYTES: u32 = 256 << 10;
/// A buffer for received bytes that has grown beyond this is not kept for others.
pub(super) const MAX_POOLED_BYTES: usize = 32 * 1024;

/// One stream, for as long as its [`Http2Peer`](super::Http2Peer) lives.
pub(super) struct Stream {
    pub(super) id: u32,
    /// Of the one task that works on it.
    waker: Option<Waker>,
    /// What has come and was not taken yet.
    pub(super) received: Vec<u8>,
    /// The client has sent everything.
    pub(super) is_received: bool,
    pub(super) trailers: FieldBlock,
    /// What is still to come, where it was announced.
    pub(super) announced: Option<u64>,
    /// How much the client may still send.
    pub(super) receive_window: u32,
    /// What was taken, and the client has not been told of yet.
    pub(super) taken: u32,
    /// How much may be sent. Negative after the client has made its windows smaller.
    pub(super) send_window: i64,
    /// The gateway has sent everything.
    pub(super) is_sent: bool,
    /// Why it ended before its time.
    pub(super) ended: Option<EndReason>,
    pub(super) turn: SendTurn,
}

/// A stream's place among those that want to send a part of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SendTurn {
    /// It has none.
    None,
    /// It waits for room on the connection.
    Waiting,
    /// It was the first of those that wait, and has not sent anything since.
    Next,
}

/// Why a stream ended before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EndReason {
    /// The client has reset it; `early`: before work on it began.
    ResetByClient { early: bool },
    /// The gateway has.
    ResetHere,
    /// The connection is over.
    ConnectionClosed,
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

    pub(super) fn end(&mut self, why: EndReason) {
        self.ended.get_or_insert(why);
        self.wake();
    }

    /// Whether something may still come from the other side that this stream is about.
    pub(super) fn receives(&self) -> bool {
        !self.is_received && self.ended.is_none()
    }

    /// How it has ended, where nothing more may come for it. Where the client has said all and this side has not, it has
    /// not ended.
    pub(super) fn closed(&self) -> Option<ClosedState> {
        match self.ended {
            Some(EndReason::ResetByClient { .. }) => Some(ClosedState::Reset),
            Some(_) => Some(ClosedState::EndedHere),
            None => (self.is_sent && self.is_received).then_some(ClosedState::Complete),
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

/// All open streams, by the number that their peers know them by, and by their identifiers.
#[derive(Default)]
pub(super) struct Streams {
    slots: Slab<Stream>,
    /// Identifiers and numbers. Identifiers only rise, so they are in order.
    ids: VecDeque<(u32, usize)>,
    /// How many of them the client has reset, and how many of those before work on them began.
    pub(super) reset_by_client: usize,
    pub(super) reset_early: usize,
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
            turn: SendTurn::None,
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
        if stream.turn == SendTurn::Waiting {
            self.waiting.retain(|waiting| *waiting != number);
        }
        if let Some(EndReason::ResetByClient { early }) = stream.ended {
            self.reset_by_client -= 1;
            self.reset_early -= usize::from(early);
        }
        stream
    }

    /// The client has reset a stream.
    pub(super) fn client_reset(&mut self, number: usize) {
        let stream = &mut self.slots[number];
        if stream.ended.is_none() {
            let early = stream.waker.is_none();
            self.reset_by_client += 1;
            self.reset_early += usize::from(early);
            stream.end(EndReason::ResetByClient { early });
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

    /// Puts a stream among those that wait for room, unless it waits already. One that was next, but came after others had
    /// taken the room, stays first: otherwise a stream that always takes everything could starve it.
    pub(super) fn wait(&mut self, number: usize) {
        match std::mem::replace(&mut self.slots[number].turn, SendTurn::Waiting) {
            SendTurn::None => self.waiting.push_back(number),
            SendTurn::Next => self.waiting.push_front(number),
            SendTurn::Waiting => {}
        }
    }

    /// Wakes the next of those that wait for room.
    pub(super) fn wake_next(&mut self) -> bool {
        let Some(number) = self.waiting.pop_front() else { return false };
        let stream = &mut self.slots[number];
        stream.turn = SendTurn::Next;
        stream.wake();
        true
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        buffer_pool::return_output(std::mem::take(&mut self.received), MAX_POOLED_BYTES);
    }
}
