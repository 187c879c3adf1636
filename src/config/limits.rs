//! `limits:` and `timeouts:`: what a client or an upstream may cost.

use std::time::Duration;

use super::reader::Reader;
use super::yaml::Node;

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
            connections: 20_000,
            connections_per_source: 10_000,
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
            upstream_response: Duration::from_mins(1),
            upstream_body: Duration::from_hours(1),
            upstream_idle: Duration::from_mins(1),
            tunnel_idle: Duration::from_hours(1),
            drain: Duration::from_secs(30),
        }
    }
}

/// Reads `limits:`.
pub(super) fn read_limits(reader: &mut Reader<'_>, node: &Node) -> Option<Limits> {
    let section = reader.section(
        node,
        &[
            "header_count",
            "header_bytes",
            "uri_bytes",
            "body_bytes",
            "connections",
            "connections_per_source",
            "requests_per_connection",
            "http2_streams",
            "http2_resets",
            "response_header_bytes",
            "informational_responses",
        ],
    )?;
    let mut limits = Limits::default();
    reader.set(&mut limits.header_count, section.get("header_count"), |r, n| r.number(n, 1..=10_000));
    reader.set(&mut limits.header_bytes, section.get("header_bytes"), header_size);
    reader.set(&mut limits.uri_bytes, section.get("uri_bytes"), header_size);
    reader.set(&mut limits.body_bytes, section.get("body_bytes"), body_size);
    reader.set(&mut limits.connections, section.get("connections"), |r, n| r.number(n, 1..=10_000_000));
    reader.set(&mut limits.connections_per_source, section.get("connections_per_source"), |r, n| {
        r.number(n, 1..=10_000_000)
    });
    reader.set(&mut limits.requests_per_connection, section.get("requests_per_connection"), |r, n| {
        r.number(n, 1..=1_000_000_000_000)
    });
    reader.set(&mut limits.http2_streams, section.get("http2_streams"), |r, n| r.number(n, 1..=10_000));
    reader.set(&mut limits.http2_resets, section.get("http2_resets"), |r, n| r.number(n, 1..=10_000));
    reader.set(&mut limits.response_header_bytes, section.get("response_header_bytes"), header_size);
    reader.set(&mut limits.informational_responses, section.get("informational_responses"), |r, n| {
        r.number(n, 0..=1_000)
    });
    Some(limits)
}

fn header_size(reader: &mut Reader<'_>, node: &Node) -> Option<usize> {
    usize::try_from(reader.size(node, 256..=16 << 20)?).ok()
}

/// Reads the size of a body, here or at a route; 0 allows none.
pub(super) fn body_size(reader: &mut Reader<'_>, node: &Node) -> Option<u64> {
    reader.size(node, 0..=1 << 50)
}

/// Reads `timeouts:`; `drain_timeout:` stands at the top of the document.
pub(super) fn read_timeouts(reader: &mut Reader<'_>, node: &Node) -> Option<Timeouts> {
    let section = reader.section(
        node,
        &[
            "tls_handshake",
            "header",
            "idle",
            "body",
            "write",
            "upstream_connect",
            "upstream_response",
            "upstream_body",
            "upstream_idle",
            "tunnel_idle",
        ],
    )?;
    let mut timeouts = Timeouts::default();
    for (slot, key) in [
        (&mut timeouts.tls_handshake, "tls_handshake"),
        (&mut timeouts.header, "header"),
        (&mut timeouts.idle, "idle"),
        (&mut timeouts.body, "body"),
        (&mut timeouts.write, "write"),
        (&mut timeouts.upstream_connect, "upstream_connect"),
        (&mut timeouts.upstream_response, "upstream_response"),
        (&mut timeouts.upstream_body, "upstream_body"),
        (&mut timeouts.upstream_idle, "upstream_idle"),
        (&mut timeouts.tunnel_idle, "tunnel_idle"),
    ] {
        reader.set(slot, section.get(key), |reader, node| {
            reader.duration(node, Duration::from_millis(1)..=Duration::from_hours(7 * 24))
        });
    }
    Some(timeouts)
}

/// Reads `drain_timeout:`; 0s drops what runs at once.
pub(super) fn read_drain(reader: &mut Reader<'_>, node: &Node) -> Option<Duration> {
    reader.duration(node, Duration::ZERO..=Duration::from_hours(24))
}
