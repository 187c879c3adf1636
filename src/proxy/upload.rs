//! The request's body on its way to the upstream.

use std::task::{Context, Poll};

use super::exchange::{Exchange, ExchangeEnd, ExchangeFailure, WaitingFor};
use super::refusal::Refusal;
use super::upstream_response::UpstreamAttempt;
use crate::wire::{BodyCopy, CopyError, Peer, PeerError};

/// A request's body on its way.
pub(super) struct Upload<'a> {
    pub(super) copy: BodyCopy<'a>,
    pub(super) state: UploadState,
    /// The client was told to send its body.
    pub(super) is_continued: bool,
}

#[derive(PartialEq, Eq)]
pub(super) enum UploadState {
    Running,
    /// Done, or the upstream takes no more.
    Stopped,
}

impl Exchange<'_> {
    /// Moves the client's body on, and sets the deadline for the side that it waits for.
    pub(super) fn poll_upload(
        &self,
        cx: &mut Context<'_>,
        client: &mut Peer,
        upstream: &mut UpstreamAttempt,
        upload: &mut Upload<'_>,
    ) -> Result<(), ExchangeFailure> {
        if upload.state != UploadState::Running {
            return Ok(());
        }
        let before = upload.copy.bytes;
        let answering =
            matches!(self.progress.waiting_for.get(), WaitingFor::ResponseBody | WaitingFor::Client);
        match upload.copy.poll(cx, client, upstream.peer_mut()) {
            // an upstream that takes no more may still say why
            Poll::Ready(
                Ok(()) | Err(CopyError::To(PeerError::Io(_) | PeerError::Http2(_) | PeerError::Closed)),
            ) => {
                upload.state = UploadState::Stopped;
                if !answering {
                    self.wait_for(WaitingFor::Upstream, self.timeouts.upstream_response);
                }
            }
            Poll::Ready(Err(error)) => return Err(ExchangeFailure::Ended(upload_failed(&error))),
            Poll::Pending if answering => {}
            Poll::Pending => {
                let waits_for_client = client.received().is_empty()
                    && upload.copy.held() == 0
                    && upstream.peer_mut().unsent() == 0;
                let waiting_for =
                    if waits_for_client { WaitingFor::ClientBody } else { WaitingFor::Upstream };
                if before != upload.copy.bytes || waiting_for != self.progress.waiting_for.get() {
                    self.wait_for(waiting_for, self.timeouts.body);
                }
            }
        }
        self.progress.received.set(upload.copy.bytes);
        Ok(())
    }
}

fn upload_failed(error: &CopyError) -> ExchangeEnd {
    match error {
        CopyError::TooLarge { .. } => ExchangeEnd::Refused(Refusal::BodyTooLarge),
        CopyError::From(PeerError::Body(error)) => ExchangeEnd::Refused(Refusal::Framing(*error)),
        CopyError::From(_) => ExchangeEnd::ClientGone("the client is gone"),
        CopyError::To(_) => ExchangeEnd::Refused(Refusal::UpstreamBroken("the request could not be sent on")),
    }
}
