//! The header fields of the request to the upstream.

use std::borrow::Cow;

use super::client_info::{ClientInfo, port, scheme};
use super::identity;
use super::is_named_by_connection;
use crate::auth::Identity;
use crate::config::AuthorizationHeader;
use crate::policy::Grant;
use crate::proxy::admit::Admitted;
use crate::proxy::trace_context::TraceContext;
use crate::upstream::Upstream;
use crate::wire::{FieldNameSet, HeaderRule, RequestHead, Version};

/// All that the fields to the upstream are made from.
pub(in crate::proxy) struct RequestFields<'a> {
    pub(in crate::proxy) admitted: &'a Admitted<'a>,
    pub(in crate::proxy) client: &'a ClientInfo,
    pub(in crate::proxy) identity: Option<&'a Identity>,
    pub(in crate::proxy) grant: &'a Grant<'a>,
    pub(in crate::proxy) upstream: &'a Upstream,
    pub(in crate::proxy) stripped: &'a FieldNameSet,
    pub(in crate::proxy) request_id: &'a str,
    pub(in crate::proxy) trace: &'a TraceContext,
    /// How often the request was sent, if its trace is recorded.
    pub(in crate::proxy) attempt: usize,
}

impl RequestFields<'_> {
    /// Hands every field but the framing's to `take`, in the order of `docs/headers.md`: the client's that pass,
    /// the upstream's credential, then the gateway's own, exactly once each.
    pub(in crate::proxy) fn each(&self, mut take: impl FnMut(Fields<'_>)) {
        let head = self.admitted.head;
        let mut emit = |name: &[u8], value: &[u8]| take(Fields::One(name, value));
        match &self.upstream.host {
            Some(host) => emit(b"Host", host.as_bytes()),
            // HTTP/1.0 may come without one, HTTP/1.1 may not go without
            None if self.admitted.host.is_empty() => emit(b"Host", self.upstream.authority().as_bytes()),
            None => emit(b"Host", self.admitted.host),
        }
        let own_credential = self.upstream.credential.is_some();
        let authorization = !own_credential && self.upstream.authorization == AuthorizationHeader::Pass;
        pass_request_fields(head, authorization, self.stripped, &mut emit);
        if let Some(credential) = &self.upstream.credential {
            emit(b"Authorization", credential.as_bytes());
        }
        self.gateway_fields(take);
    }

    fn gateway_fields(&self, mut take: impl FnMut(Fields<'_>)) {
        let head = self.admitted.head;
        if let Some(identity) = self.identity {
            take(Fields::Lines(identity.header_block(identity::lines)));
        }
        if !self.client.is_trusted() {
            take(Fields::Lines(&self.client.lines));
        }
        let mut emit = |name: &[u8], value: &[u8]| take(Fields::One(name, value));
        if self.identity.is_some() {
            if let Some(environment) = self.grant.environment() {
                emit(b"X-API-Project-Id", environment.as_bytes());
            }
            if let Some(role) = self.grant.role() {
                emit(b"X-API-Roles", role.as_bytes());
            }
        }
        emit(b"X-Request-Id", self.request_id.as_bytes());
        if !self.stripped.contains(b"traceparent") {
            match self.attempt {
                0 => emit(b"traceparent", self.trace.traceparent()),
                number => emit(b"traceparent", &self.trace.traceparent_of_attempt(number)),
            }
        }
        if self.client.is_trusted() {
            self.forwarded(&mut emit);
        } else {
            let host = self.admitted.host;
            if !host.is_empty() {
                emit(b"X-Forwarded-Host", host);
            }
            emit(b"X-Forwarded-Port", port(host, scheme(self.client.tls).as_bytes()));
        }
        let via: &[u8] = match head.version {
            Version::Http10 => b"1.0 portcullis",
            Version::Http11 => b"1.1 portcullis",
            Version::Http2 => b"2.0 portcullis",
        };
        emit(b"Via", &joined(head.fields.values(HeaderRule::Via), via));
    }

    /// What a trusted proxy says of how the client came, and what is known where it says nothing.
    fn forwarded(&self, mut emit: impl FnMut(&[u8], &[u8])) {
        let ClientInfo { peer, tls, .. } = self.client;
        let fields = &self.admitted.head.fields;
        let said = |rule| fields.values(rule).next();
        let address = peer.ip().to_string();
        emit(b"X-Forwarded-For", &joined(fields.values(HeaderRule::ForwardedFor), address.as_bytes()));
        let scheme = said(HeaderRule::ForwardedProto).unwrap_or(scheme(*tls).as_bytes());
        emit(b"X-Forwarded-Proto", scheme);
        let host = said(HeaderRule::ForwardedHost).unwrap_or(self.admitted.host);
        if !host.is_empty() {
            emit(b"X-Forwarded-Host", host);
        }
        emit(b"X-Forwarded-Port", said(HeaderRule::ForwardedPort).unwrap_or(port(host, scheme)));
        let passes = |rule| match rule {
            HeaderRule::TrustedProxyOnly => true,
            HeaderRule::TraceState => self.trace.is_continued(),
            _ => false,
        };
        for (_, name, value) in fields.iter().filter(|(rule, ..)| passes(*rule)) {
            if !self.stripped.contains(name) && !is_named_by_connection(fields, name) {
                emit(name, value);
            }
        }
    }
}

/// The values that stand before `last` and it, as one list. Allocates only where there are some.
fn joined<'v>(before: impl Iterator<Item = &'v [u8]>, last: &'v [u8]) -> Cow<'v, [u8]> {
    let mut whole = Cow::Borrowed(&[][..]);
    for value in before {
        whole.to_mut().extend_from_slice(value);
        whole.to_mut().extend_from_slice(b", ");
    }
    if whole.is_empty() {
        return Cow::Borrowed(last);
    }
    whole.to_mut().extend_from_slice(last);
    whole
}

/// Hands to `emit` the client's fields that pass to the upstream: none that belongs to the client's connection,
/// frames the message, tells who is calling or carries credentials (`authorization`: but for `Authorization`), none
/// that `Connection` names, none of `stripped`.
pub fn pass_request_fields(
    head: &RequestHead,
    authorization: bool,
    stripped: &FieldNameSet,
    mut emit: impl FnMut(&[u8], &[u8]),
) {
    let has_options = head.fields.values(HeaderRule::Connection).next().is_some();
    for (rule, name, value) in head.fields.iter() {
        let passes = match rule {
            HeaderRule::Other
            | HeaderRule::ContentType
            | HeaderRule::Origin
            | HeaderRule::Destination
            | HeaderRule::WebSocket
            | HeaderRule::AccessControl
            | HeaderRule::AccessControlRequestMethod
            | HeaderRule::NoChallenge => true,
            HeaderRule::Authorization => authorization,
            _ => false,
        };
        if passes && !stripped.contains(name) && !(has_options && is_named_by_connection(&head.fields, name))
        {
            emit(name, value);
        }
    }
}

/// Fields to be sent: one by name and value, or several as lines of HTTP/1.1 that this module wrote.
#[derive(Clone, Copy)]
pub(in crate::proxy) enum Fields<'a> {
    One(&'a [u8], &'a [u8]),
    Lines(&'a [u8]),
}

impl Fields<'_> {
    /// Hands them to `emit` one by one.
    pub(in crate::proxy) fn each(self, mut emit: impl FnMut(&[u8], &[u8])) {
        match self {
            Self::One(name, value) => emit(name, value),
            Self::Lines(lines) => {
                for line in lines.split(|&byte| byte == b'\n').filter_map(|line| line.strip_suffix(b"\r")) {
                    if let Some(colon) = memchr::memchr(b':', line) {
                        emit(&line[..colon], &line[colon + 2..]);
                    }
                }
            }
        }
    }
}
