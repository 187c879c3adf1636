//! Responses to the client, in its protocol: heads that come from the upstream, and the gateway's own responses whole.

use http::StatusCode;
use jiff::Timestamp;

use super::cors::CorsGrant;
use super::credential_places::CredentialPlaces;
use super::headers::{KEY_EXPIRES, is_named_by_connection, pass_response_fields};
use super::http_date::HttpDate;
use super::refusal::Refusal;
use crate::wire::{BodyLength, HeaderRule, Peer, PeerError, ResponseHead, Version};

/// The upstream's answer, as it goes to the client.
pub(super) struct ForwardedResponse<'a> {
    pub(super) head: &'a ResponseHead,
    /// Of the body that follows.
    pub(super) length: BodyLength,
    pub(super) to_head: bool,
    /// Whether the connection may stay open.
    pub(super) keep_alive: bool,
    /// The client's version.
    pub(super) version: Version,
    /// What the gateway's own CORS policy lets a script of the request's origin do with the answer.
    pub(super) cors: Option<CorsGrant<'a>>,
    /// The gateway has a CORS policy here, and the upstream's own does not count.
    pub(super) has_cors_policy: bool,
    /// For an upstream that sends none.
    pub(super) date: HttpDate,
    /// When the request's key ends, if that is before long.
    pub(super) key_expires: Option<Timestamp>,
}

/// Writes the answer's head. Tells whether the client's connection can carry a next request after this answer.
pub(super) fn send_upstream_head(
    client: &mut Peer,
    answer: &ForwardedResponse<'_>,
) -> Result<bool, PeerError> {
    let head = answer.head;
    // RFC 9110 §8.6: what HEAD and 304 announce is the length of a body that is not sent; 204 announces nothing
    let announced = head.fields.values(HeaderRule::ContentLength).next().filter(|_| head.status != 204);
    let has_no_body = answer.to_head || head.status == 304;
    match client {
        Peer::Http1(peer) => {
            let length = match answer.length {
                BodyLength::Exact(length) => BodyLength::Exact(length),
                BodyLength::Chunked | BodyLength::UntilClose if answer.version == Version::Http11 => {
                    BodyLength::Chunked
                }
                // HTTP/1.0 knows no chunks
                BodyLength::Chunked | BodyLength::UntilClose => BodyLength::UntilClose,
            };
            let keep_alive = answer.keep_alive && length != BodyLength::UntilClose;
            peer.begin_body(length);
            peer.socket.begin_exchange();
            let output = peer.socket.output();
            status_line(output, head.status, head.reason());
            let cors = answer.has_cors_policy;
            if !pass_response_fields(head, cors, |name, value| push_field(output, name, value)) {
                push_field(output, b"Date", answer.date.text());
            }
            if let Some(grant) = answer.cors {
                grant.each(|name, value| push_field(output, name, value));
            }
            if let Some(expires) = answer.key_expires {
                push_field(output, KEY_EXPIRES, expires.to_string().as_bytes());
            }
            match length {
                _ if has_no_body => {
                    if let Some(announced) = announced {
                        push_field(output, b"Content-Length", announced);
                    }
                }
                BodyLength::Exact(_) if head.status == 204 => {}
                BodyLength::Exact(length) => push_number(output, b"Content-Length", length),
                BodyLength::Chunked => push_field(output, b"Transfer-Encoding", b"chunked"),
                BodyLength::UntilClose => {}
            }
            push_connection(output, keep_alive, answer.version);
            output.extend_from_slice(b"\r\n");
            Ok(keep_alive)
        }
        Peer::Http2(peer) => {
            peer.respond(head.status, answer.length == BodyLength::NONE, |block| {
                let cors = answer.has_cors_policy;
                if !pass_response_fields(head, cors, |name, value| block.field(name, value)) {
                    block.field(b"date", answer.date.text());
                }
                if let Some(grant) = answer.cors {
                    grant.each(|name, value| block.field(name, value));
                }
                if let Some(expires) = answer.key_expires {
                    block.field(&KEY_EXPIRES.to_ascii_lowercase(), expires.to_string().as_bytes());
                }
                match (has_no_body, answer.length) {
                    (true, _) => {
                        if let Some(announced) = announced {
                            block.field(b"content-length", announced);
                        }
                    }
                    (false, BodyLength::Exact(length)) if head.status != 204 => {
                        block.field(b"content-length", itoa::Buffer::new().format(length).as_bytes());
                    }
                    _ => {}
                }
            })?;
            Ok(true)
        }
        Peer::Http2Upstream(_) => Err(PeerError::Closed),
    }
}

/// Writes an interim answer. HTTP/1.0 knows none.
pub(super) fn send_interim(
    client: &mut Peer,
    status: u16,
    head: Option<&ResponseHead>,
) -> Result<(), PeerError> {
    match client {
        Peer::Http1(peer) => {
            let output = peer.socket.output();
            status_line(output, status, head.map_or(&b"Continue"[..], ResponseHead::reason));
            if let Some(head) = head {
                pass_response_fields(head, false, |name, value| push_field(output, name, value));
            }
            output.extend_from_slice(b"\r\n");
            Ok(())
        }
        Peer::Http2(peer) => peer.respond(status, false, |block| {
            if let Some(head) = head {
                pass_response_fields(head, false, |name, value| block.field(name, value));
            }
        }),
        Peer::Http2Upstream(_) => Err(PeerError::Closed),
    }
}

/// What the request and its connection say about how it is answered, whatever the answer is.
#[derive(Debug, Clone, Copy)]
pub(super) struct ResponseOptions<'a> {
    /// The client's version.
    pub(super) version: Version,
    /// The request was HEAD: no body is sent.
    pub(super) to_head: bool,
    /// Whether the connection may stay open.
    pub(super) keep_alive: bool,
    /// What a script of the request's origin may do with the answer.
    pub(super) cors: Option<CorsGrant<'a>>,
    pub(super) date: HttpDate,
}

/// Writes a refusal whole. Tells whether the connection can stay open, and the body's bytes.
pub(super) fn send_refusal(
    client: &mut Peer,
    refusal: &Refusal,
    request_id: &str,
    places: &CredentialPlaces,
    challenge: bool,
    options: ResponseOptions<'_>,
) -> Result<(bool, u64), PeerError> {
    let (fields, body) = refusal.render(request_id, places, challenge);
    let fields = fields.iter().flatten().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    let keep_alive = send_own_response(client, refusal.response().status, fields, &body, options)?;
    Ok((keep_alive, if options.to_head { 0 } else { body.len() as u64 }))
}

/// Writes an answer of the gateway's own. Tells whether the connection can stay open.
pub(super) fn send_own_response<'f>(
    client: &mut Peer,
    status: u16,
    fields: impl Iterator<Item = (&'f [u8], &'f [u8])>,
    body: &[u8],
    options: ResponseOptions<'_>,
) -> Result<bool, PeerError> {
    let ResponseOptions { version, to_head, keep_alive, cors, date } = options;
    match client {
        Peer::Http1(peer) => {
            let output = peer.socket.output();
            let reason = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
            status_line(output, status, reason.unwrap_or_default().as_bytes());
            push_field(output, b"Date", date.text());
            for (name, value) in fields {
                push_field(output, name, value);
            }
            if let Some(grant) = cors {
                grant.each(|name, value| push_field(output, name, value));
            }
            if status != 204 {
                push_number(output, b"Content-Length", body.len() as u64);
            }
            push_connection(output, keep_alive, version);
            output.extend_from_slice(b"\r\n");
            if !to_head {
                output.extend_from_slice(body);
            }
            Ok(keep_alive)
        }
        Peer::Http2(peer) => {
            let ends = to_head || body.is_empty();
            peer.respond(status, ends, |block| {
                block.field(b"date", date.text());
                for (name, value) in fields {
                    block.field(name, value);
                }
                if let Some(grant) = cors {
                    grant.each(|name, value| block.field(name, value));
                }
                if status != 204 {
                    block.field(b"content-length", itoa::Buffer::new().format(body.len()).as_bytes());
                }
            })?;
            if !ends {
                peer.send_whole_body(body);
            }
            Ok(true)
        }
        Peer::Http2Upstream(_) => Err(PeerError::Closed),
    }
}

/// Whether the upstream closes its connection after this answer.
pub(super) fn closes_connection(head: &ResponseHead) -> bool {
    is_named_by_connection(&head.fields, b"close")
}

pub(super) fn status_line(output: &mut Vec<u8>, status: u16, reason: &[u8]) {
    output.extend_from_slice(b"HTTP/1.1 ");
    output.extend_from_slice(itoa::Buffer::new().format(status).as_bytes());
    output.push(b' ');
    output.extend_from_slice(reason);
    output.extend_from_slice(b"\r\n");
}

pub(super) fn push_field(output: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    output.extend_from_slice(name);
    output.extend_from_slice(b": ");
    output.extend_from_slice(value);
    output.extend_from_slice(b"\r\n");
}

pub(super) fn push_number(output: &mut Vec<u8>, name: &[u8], value: u64) {
    output.extend_from_slice(name);
    output.extend_from_slice(b": ");
    output.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    output.extend_from_slice(b"\r\n");
}

fn push_connection(output: &mut Vec<u8>, keep_alive: bool, version: Version) {
    match (keep_alive, version) {
        (false, _) => push_field(output, b"Connection", b"close"),
        (true, Version::Http10) => push_field(output, b"Connection", b"keep-alive"),
        (true, _) => {}
    }
}
