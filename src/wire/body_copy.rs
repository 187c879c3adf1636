//! Copies a body from one peer to the other, as it comes, with back-pressure.

use std::cell::Cell;
use std::task::{Context, Poll, ready};

use super::exchange_peer::Peer;
use super::header_rule::HeaderRule;
use super::http1_peer::Http1Peer;
use super::peer_result::{PeerError, Received};
use super::replay_buffer::{ReplayBudget, ReplayBuffer};
use super::splice::{Pipe, PipePool};
use super::websocket_frames::WebSocketFrames;

/// A body of which less is to come is copied: a pipe takes system calls of its own.
const SPLICE_BYTES: u64 = 64 * 1024;

/// Why a body did not get through.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The side it comes from.
    #[error("receiving failed: {0}")]
    From(#[source] PeerError),
    /// The side it goes to.
    #[error("sending failed: {0}")]
    To(#[source] PeerError),
    /// More bytes than allowed.
    #[error("the body is larger than {limit} bytes")]
    TooLarge {
        /// the limit, in bytes
        limit: u64,
    },
}

/// Whether a trailer of this name passes.
pub type TrailerRule<'a> = dyn Fn(HeaderRule, &[u8]) -> bool + 'a;

/// A body on its way, and how far it has come.
pub struct BodyCopy<'a> {
    /// Bytes passed on so far.
    pub bytes: u64,
    limit: u64,
    trailer_passes: &'a TrailerRule<'a>,
    state: State,
    /// The state after [`BodyCopy::restart`].
    restart_state: State,
    kind: Kind,
    /// For a WebSocket: where its frames begin and end.
    frames: Option<&'a Cell<WebSocketFrames>>,
    /// Asked before bytes move; if it says no, nothing moves.
    may_move: Option<&'a dyn Fn() -> bool>,
    /// Pipes from socket to socket, and the one that holds bytes now.
    pipe_pool: Option<&'a PipePool>,
    pipe: Option<Pipe<'a>>,
    /// If less than this is to come, it is copied.
    splice_at_least: u64,
    /// What has been passed on, if it may have to be sent again.
    replay: Option<ReplayBuffer<'a>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Moving,
    Finishing,
    Done,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Message,
    Tunnel,
}

impl<'a> BodyCopy<'a> {
    /// A message's body of at most `limit` bytes, and its trailers that `trailer_passes` lets through.
    pub fn message(limit: u64, trailer_passes: &'a TrailerRule<'a>) -> Self {
        Self {
            bytes: 0,
            limit,
            trailer_passes,
            state: State::Moving,
            restart_state: State::Moving,
            kind: Kind::Message,
            frames: None,
            may_move: None,
            pipe_pool: None,
            pipe: None,
            splice_at_least: SPLICE_BYTES,
            replay: None,
        }
    }

    /// No body, because a tunnel may follow: what the client sends next stays unread for it.
    pub fn before_tunnel() -> Self {
        Self { state: State::Finishing, restart_state: State::Finishing, ..Self::message(0, &|_, _| false) }
    }

    /// One direction of a tunnel. `frames`: of a WebSocket, to follow its frames.
    pub fn tunnel(frames: Option<&'a Cell<WebSocketFrames>>) -> Self {
        Self { kind: Kind::Tunnel, frames, ..Self::message(u64::MAX, &|_, _| false) }
    }

    /// Moves bytes only while `may_move` says so. One call of [`BodyCopy::poll`] moves what is ready, which may be
    /// megabytes, and the process may stand still in the middle of it. So it is asked before each move but the first,
    /// before which the caller asks.
    #[must_use]
    pub fn only_while(self, may_move: &'a dyn Fn() -> bool) -> Self {
        Self { may_move: Some(may_move), ..self }
    }

    /// Lets large parts of the body go from socket to socket through a pipe.
    #[must_use]
    pub fn through_pipes(self, pipe_pool: &'a PipePool) -> Self {
        Self { pipe_pool: Some(pipe_pool), ..self }
    }

    /// Keeps what is passed on, as long as it is little, so that the copy can [restart](BodyCopy::restart).
    #[must_use]
    pub fn replayable(self, replay: &'a ReplayBudget) -> Self {
        Self { replay: Some(ReplayBuffer::new(replay)), ..self }
    }

    /// Frees what was kept: the copy will not restart.
    pub fn stop_keeping(&mut self) {
        self.replay = None;
    }

    /// Whether the whole body can be sent once more, to another peer: nothing has been passed on, or all of that was kept.
    pub fn can_restart(&self) -> bool {
        (self.bytes == 0 && self.held() == 0) || self.replay.as_ref().is_some_and(ReplayBuffer::is_whole)
    }

    /// Begins to send the body once more. Only if it [can](BodyCopy::can_restart).
    pub fn restart(&mut self) {
        self.state = self.restart_state;
        if let Some(replay) = &mut self.replay {
            replay.restart();
        }
    }

    /// Bytes that were received, and wait in a pipe for the other side to take them.
    pub fn held(&self) -> usize {
        self.pipe.as_ref().map_or(0, Pipe::held)
    }

    /// Whether everything has been passed on.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Moves what can be moved. Nothing is read that cannot be written; nothing read waits for more.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Peer,
        to: &mut Peer,
    ) -> Poll<Result<(), CopyError>> {
        let mut has_moved = false;
        while self.state == State::Moving {
            if let Some(replay) = self.replay.as_mut().filter(|replay| replay.is_behind()) {
                if !may_move(self.may_move, &mut has_moved) {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                ready!(replay.poll_send(cx, to)).map_err(CopyError::To)?;
                continue;
            }
            if let (Peer::Http1(from), Peer::Http1(to)) = (&mut *from, &mut *to) {
                ready!(self.poll_through_pipe(cx, from, to, &mut has_moved))?;
            }
            let Poll::Ready(received) = from.poll_receive(cx) else {
                // what was taken leaves now: the source may be silent for long
                if let Poll::Ready(Err(error)) = to.poll_flush(cx) {
                    return Poll::Ready(Err(CopyError::To(error)));
                }
                return Poll::Pending;
            };
            match received.map_err(CopyError::From)? {
                Received::Data => {
                    if self.bytes + from.received().len() as u64 > self.limit {
                        return Poll::Ready(Err(CopyError::TooLarge { limit: self.limit }));
                    }
                    if !may_move(self.may_move, &mut has_moved) {
                        // polled again at once by a caller that checks first, and then ends it
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    let sent = ready!(to.poll_send(cx, from.received())).map_err(CopyError::To)?;
                    if let Some(frames) = self.frames {
                        let mut seen = frames.get();
                        seen.pass(&from.received()[..sent]);
                        frames.set(seen);
                    }
                    if let Some(replay) = &mut self.replay {
                        replay.keep(&from.received()[..sent]);
                    }
                    from.consume(sent);
                    self.bytes += sent as u64;
                }
                Received::End if self.kind == Kind::Tunnel => self.state = State::Finishing,
                Received::End => {
                    let trailers = from.trailers();
                    trailers.retain(self.trailer_passes);
                    to.finish(trailers).map_err(CopyError::To)?;
                    self.state = State::Finishing;
                }
            }
        }
        if self.state == State::Finishing {
            match self.kind {
                Kind::Message => ready!(to.poll_flush(cx)),
                Kind::Tunnel => ready!(to.poll_close(cx)),
            }
            .map_err(CopyError::To)?;
            self.state = State::Done;
        }
        Poll::Ready(Ok(()))
    }

    /// Moves what can go through a pipe; ready when the rest, if there is any, has to be copied.
    fn poll_through_pipe(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Http1Peer,
        to: &mut Http1Peer,
        has_moved: &mut bool,
    ) -> Poll<Result<(), CopyError>> {
        loop {
            let Some(pipe) = &mut self.pipe else {
                let Some(pipe_pool) = self.pipe_pool.filter(|_| from.may_splice(to, self.splice_at_least))
                else {
                    return Poll::Ready(Ok(()));
                };
                // nothing overtakes what was written before
                ready!(to.socket.poll_flush(cx)).map_err(|error| CopyError::To(error.into()))?;
                let Some(mut pipe) = pipe_pool.take() else { return Poll::Ready(Ok(())) };
                let taken = ready!(from.poll_receive_into(cx, &mut pipe)).map_err(CopyError::From)?;
                if taken == 0 {
                    return Poll::Ready(Ok(()));
                }
                self.pipe = Some(pipe);
                // what goes through it is not seen, and cannot be kept
                self.replay = None;
                continue;
            };
            if self.bytes + pipe.held() as u64 > self.limit {
                return Poll::Ready(Err(CopyError::TooLarge { limit: self.limit }));
            }
            if !may_move(self.may_move, has_moved) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            self.bytes += ready!(to.poll_send_from(cx, pipe)).map_err(CopyError::To)? as u64;
            if pipe.held() == 0 {
                self.pipe = None;
                // what is left of it goes the same way
                self.splice_at_least = 1;
            }
        }
    }
}

/// Whether the next move may be made.
fn may_move(asked: Option<&dyn Fn() -> bool>, has_moved: &mut bool) -> bool {
    !std::mem::replace(has_moved, true) || asked.is_none_or(|may_move| may_move())
}
