//! What is known of a request beside its own bytes: its worker, its configuration, its client's connection.

use std::net::IpAddr;
use std::time::Instant;

use super::client_response::ResponseOptions;
use super::cors::CorsGrant;
use super::headers::{ClientInfo, source_address};
use super::open_streams::OpenStream;
use super::trace_context::TraceContext;
use super::worker_context::{ActiveConfig, WorkerContext};
use crate::config::AccessControl;
use crate::wire::RequestHead;

/// What each step of a request works with.
pub(super) struct RequestContext<'a> {
    pub(super) worker: &'a WorkerContext,
    pub(super) active_config: &'a ActiveConfig,
    pub(super) client: &'a ClientInfo,
    pub(super) stream: &'a OpenStream,
    /// Whether the listener wants a key.
    pub(super) access_control: AccessControl,
    pub(super) request_id: &'a str,
    pub(super) trace: TraceContext,
    /// When the request's head had arrived.
    pub(super) arrived: Instant,
    /// Whether the connection may stay open, as far as the connection itself is concerned.
    pub(super) keep_alive: bool,
}

impl RequestContext<'_> {
    /// The address that the request is counted under.
    pub(super) fn source(&self, head: &RequestHead) -> IpAddr {
        source_address(self.client, head, &self.active_config.snapshot.trusted_proxies)
    }

    /// How the gateway answers the request itself.
    pub(super) fn response_options<'a>(
        &self,
        head: &RequestHead,
        keep_alive: bool,
        cors: Option<CorsGrant<'a>>,
    ) -> ResponseOptions<'a> {
        let (version, to_head, date) = (head.version, head.method() == b"HEAD", self.worker.date());
        ResponseOptions { version, to_head, keep_alive, cors, date }
    }
}

/// What becomes of the client's connection after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AfterRequest {
    /// A next request may follow.
    KeepAlive,
    /// It is closed in order: the client is given time to read the response.
    Close,
    /// The response broke off: the client is given what came of it, and then sees that it is not whole.
    ResetWhenSent,
    /// It is reset: the client is gone, takes nothing, or may have nothing more.
    Reset,
}
