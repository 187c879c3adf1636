//! Responses of the gateway's own, and what becomes of the client's connection after them.

use std::cell::Cell;
use std::future::poll_fn;
use std::task::{Poll, ready};
use std::time::Duration;

use super::client_response::{self, ResponseOptions};
use super::flush_to_client::flush;
use super::refusal::Refusal;
use super::request_context::{AfterRequest, RequestContext};
use crate::wire::{BodyLength, Peer, PeerError, Received, Version};

/// How much of a refused request's body is read and dropped to keep the connection; beyond it is closed.
const DISCARD_BYTES: u64 = 64 * 1024;
/// How long that may take.
const DISCARD_TIME: Duration = Duration::from_secs(5);

impl RequestContext<'_> {
    /// Answers with a refusal. `body`: of the request. `challenge`: a client without a key is asked for one.
    pub(super) async fn refuse(
        &self,
        mut options: ResponseOptions<'_>,
        body: BodyLength,
        challenge: bool,
        refusal: &Refusal,
        bytes_sent: &Cell<u64>,
        client: &mut Peer,
    ) -> AfterRequest {
        // as with an upstream's response: the gateway may have begun to stop while this was being decided
        options.keep_alive &= !self.worker.is_draining();
        let reads_on = match refusal {
            Refusal::ClientTimeout | Refusal::Stopping => false,
            // the stream of requests itself is unclear
            refusal if refusal.is_ill_formed() => false,
            _ => can_discard_body(client, body),
        };
        options.keep_alive &= reads_on;
        let places = &self.active_config.snapshot.credential_places;
        let sent =
            client_response::send_refusal(client, refusal, self.request_id, places, challenge, options);
        let sent = sent.map(|(keep_alive, bytes)| {
            bytes_sent.set(bytes);
            keep_alive
        });
        self.after_own_response(options.version, body, sent, client).await
    }

    /// Brings the response out, and drops what is left of the request. `sent`: whether the connection may stay open.
    pub(super) async fn after_own_response(
        &self,
        version: Version,
        body: BodyLength,
        sent: Result<bool, PeerError>,
        client: &mut Peer,
    ) -> AfterRequest {
        let Ok(keep_alive) = sent else { return AfterRequest::Reset };
        if !flush(client, self.stream, DISCARD_TIME).await {
            return AfterRequest::Reset;
        }
        self.stream.set_deadline(DISCARD_TIME);
        // an HTTP/2 connection goes on whatever becomes of the rest of a request
        if !keep_alive || version == Version::Http2 {
            return AfterRequest::Close;
        }
        let discarded = body == BodyLength::NONE
            || client.is_received()
            || self.stream.run_ignoring_changes(discard_body(client)).await == Ok(true);
        if discarded { AfterRequest::KeepAlive } else { AfterRequest::Close }
    }
}

/// Whether what is left of a request's body is little enough to read and drop.
fn can_discard_body(client: &Peer, body: BodyLength) -> bool {
    client.is_received() || matches!(body, BodyLength::Exact(length) if length <= DISCARD_BYTES)
}

/// Reads and drops what is left of the client's body, so that the connection can carry a next request.
async fn discard_body(client: &mut Peer) -> bool {
    poll_fn(|cx| {
        loop {
            match ready!(client.poll_receive(cx)) {
                Ok(Received::Data) => {
                    let count = client.received().len();
                    client.consume(count);
                }
                Ok(Received::End) => return Poll::Ready(true),
                Err(_) => return Poll::Ready(false),
            }
        }
    })
    .await
}
