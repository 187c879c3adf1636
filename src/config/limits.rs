//! `limits:` and `timeouts:`: what a client or an upstream may cost.

use std::time::Duration;

/// `limits:`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Header lines of a request.
    pub header_count: usize,
    /// Bytes of a request's header lines together.
    pub header_bytes: usize,
    /// Bytes of a request target.
    pub uri_bytes: usize,
    /// Bytes of a request body; a route may say otherwise.
    pub body_bytes: u64,
    /// Client connections of the whole gateway.
    pub connections: usize,
    /// Client connections from one address.
    pub connections_per_source: usize,
    /// Requests on one client connection, which is then closed in an orderly way.
    pub requests_per_connection: u64,
    /// HTTP/2 streams open at once on one connection.
    pub http2_streams: u32,
    /// HTTP/2 streams reset by the client before they were accepted.
    pub http2_resets: usize,
    /// Bytes of an answer's header lines together.
    pub response_header_bytes: usize,
    /// 1xx answers before the final one.
    pub informational_responses: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_count: 100,
            header_bytes: 32 << 10,
            uri_bytes: 8 << 10,
            body_bytes: 64 << 30,
            connections: 10_000,
            connections_per_source: 1_000,
            requests_per_connection: 100_000,
            http2_streams: 128,
            http2_resets: 20,
            response_header_bytes: 64 << 10,
            informational_responses: 16,
        }
    }
}

/// `timeouts:` and `drain_timeout:`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeouts {
    /// For a TLS handshake.
    pub tls_handshake: Duration,
    /// From a request's first byte (or the connection's start) to the end of its head.
    pub header: Duration,
    /// Between two requests of a client connection.
    pub idle: Duration,
    /// Without progress of a request body.
    pub body: Duration,
    /// Without the client taking a byte of the answer.
    pub write: Duration,
    /// For a connection to an upstream.
    pub upstream_connect: Duration,
    /// From the end of the request to the head of the upstream's answer.
    pub upstream_response: Duration,
    /// Without progress of the upstream's answer; event streams are quiet for long.
    pub upstream_body: Duration,
    /// How long an idle connection to an upstream is kept.
    pub upstream_idle: Duration,
    /// Without a byte in either direction of a tunnel.
    pub tunnel_idle: Duration,
    /// `drain_timeout`: what running requests are given when the gateway stops.
    pub drain: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            tls_handshake: Duration::from_secs(10),
            header: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            body: Duration::from_secs(30),
            write: Duration::from_secs(30),
            upstream_connect: Duration::from_secs(5),
            upstream_response: Duration::from_secs(60),
            upstream_body: Duration::from_secs(3600),
            upstream_idle: Duration::from_secs(60),
            tunnel_idle: Duration::from_secs(3600),
            drain: Duration::from_secs(30),
        }
    }
}
