//! Keeps what has been sent of a request's body, to send it again: an HTTP/2 upstream may say that it has not looked at a
//! request (RFC 9113 §8.7).

use std::cell::Cell;
use std::task::{Context, Poll, ready};

use super::exchange_peer::Peer;
use super::peer_result::PeerError;

/// The most that is kept of one body. Of what is longer nothing is.
const BODY_BYTES: usize = 64 * 1024;
/// The most that one worker keeps of all together. Where there is more, requests are not sent again.
const WORKER_BYTES: usize = 16 << 20;

/// How many bytes one worker's replay buffers hold together.
#[derive(Default)]
pub struct ReplayBudget {
    bytes: Cell<usize>,
}

/// What has been sent of one body, as long as it is little.
pub(super) struct ReplayBuffer<'a> {
    worker: &'a ReplayBudget,
    bytes: Vec<u8>,
    /// How much of it has been sent this time.
    sent: usize,
    is_whole: bool,
}

impl<'a> ReplayBuffer<'a> {
    pub(super) fn new(worker: &'a ReplayBudget) -> Self {
        Self { worker, bytes: Vec::new(), sent: 0, is_whole: true }
    }

    /// Keeps what was sent next.
    pub(super) fn keep(&mut self, sent: &[u8]) {
        if !self.is_whole {
            return;
        }
        let of_all = self.worker.bytes.get() + sent.len();
        if self.bytes.len() + sent.len() > BODY_BYTES || of_all > WORKER_BYTES {
            self.forget();
            return;
        }
        self.worker.bytes.set(of_all);
        self.bytes.extend_from_slice(sent);
        self.sent += sent.len();
    }

    /// Frees it: it will not be needed again.
    pub(super) fn forget(&mut self) {
        self.worker.bytes.set(self.worker.bytes.get() - self.bytes.len());
        self.bytes = Vec::new();
        self.sent = 0;
        self.is_whole = false;
    }

    /// Whether all that was sent is here.
    pub(super) fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Sends it from the beginning, by [`poll_send`](Self::poll_send).
    pub(super) fn restart(&mut self) {
        self.sent = 0;
    }

    /// Whether some of it is still to be sent.
    pub(super) fn is_behind(&self) -> bool {
        self.sent < self.bytes.len()
    }

    /// Sends some of it.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>, to: &mut Peer) -> Poll<Result<(), PeerError>> {
        self.sent += ready!(to.poll_send(cx, &self.bytes[self.sent..]))?;
        Poll::Ready(Ok(()))
    }
}

impl Drop for ReplayBuffer<'_> {
    fn drop(&mut self) {
        self.forget();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_111_replay_buffers_are_bounded() {
        let worker = ReplayBudget::default();
        let mut one = ReplayBuffer::new(&worker);
        one.keep(&vec![1; BODY_BYTES]);
        assert!(one.is_whole() && worker.bytes.get() == BODY_BYTES);
        one.keep(&[1]);
        assert!(!one.is_whole() && worker.bytes.get() == 0, "a longer one is not kept");
        let many: Vec<_> = (0..2 * WORKER_BYTES / BODY_BYTES)
            .map(|_| {
                let mut body = ReplayBuffer::new(&worker);
                body.keep(&vec![1; BODY_BYTES]);
                body
            })
            .collect();
        assert_eq!(worker.bytes.get(), WORKER_BYTES);
        assert!(many[0].is_whole() && !many[many.len() - 1].is_whole());
        drop(many);
        assert_eq!(worker.bytes.get(), 0);
    }
}
