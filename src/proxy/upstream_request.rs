//! The request as it goes to the upstream, in the upstream's protocol.

use std::sync::Arc;

use http::Method;

use super::client_response;
use super::exchange::Exchange;
use super::headers::{Fields, RequestFields};
use super::refusal::Refusal;
use crate::wire::{BodyLength, FieldBlock, Http1Peer};

impl Exchange<'_> {
    /// Writes the request's head into an HTTP/1.1 upstream's output.
    pub(super) fn write_http1_head(&self, peer: &mut Http1Peer) {
        let admitted = self.permitted.admitted;
        peer.begin_body(admitted.body);
        peer.socket.begin_exchange();
        let output = peer.socket.output();
        output.extend_from_slice(admitted.method.as_str().as_bytes());
        output.push(b' ');
        output.extend_from_slice(admitted.origin_form);
        output.extend_from_slice(b" HTTP/1.1\r\n");
        let own_key = self.permitted.websocket_key.as_deref();
        self.fields().each(|fields| match fields {
            // where the gateway shakes hands for an HTTP/2 client, there is one key, and it is the gateway's
            Fields::One(name, _) if own_key.is_some() && name.eq_ignore_ascii_case(b"Sec-WebSocket-Key") => {}
            Fields::One(name, value) => client_response::push_field(output, name, value),
            Fields::Lines(lines) => output.extend_from_slice(lines),
        });
        match admitted.body {
            // a method that usually has a body says that it has none (RFC 9110 §8.6)
            BodyLength::Exact(0)
                if !matches!(admitted.method, Method::POST | Method::PUT | Method::PATCH) => {}
            BodyLength::Exact(length) => client_response::push_number(output, b"Content-Length", length),
            BodyLength::Chunked | BodyLength::UntilClose => {
                client_response::push_field(output, b"Transfer-Encoding", b"chunked");
            }
        }
        if admitted.expects_continue {
            client_response::push_field(output, b"Expect", b"100-continue");
        }
        if let Some(protocol) = admitted.upgrade {
            client_response::push_field(output, b"Connection", b"Upgrade");
            client_response::push_field(output, b"Upgrade", protocol);
            if let Some(key) = own_key {
                client_response::push_field(output, b"Sec-WebSocket-Key", key.as_bytes());
            }
        } else if admitted.accepts_trailers() {
            client_response::push_field(output, b"Connection", b"TE");
            client_response::push_field(output, b"TE", b"trailers");
        }
        output.extend_from_slice(b"\r\n");
    }

    /// The request for an HTTP/2 upstream.
    pub(super) fn http2_request(&self) -> Result<http::Request<()>, Refusal> {
        let admitted = self.permitted.admitted;
        let unfit = || Refusal::Malformed("the request target cannot be sent by HTTP/2");
        let path = http::uri::PathAndQuery::try_from(admitted.origin_form).map_err(|_| unfit())?;
        // the gateway forwards the exact bytes that it authorized
        if path.as_str().as_bytes() != admitted.origin_form {
            return Err(unfit());
        }
        let mut host = Vec::new();
        let mut block = FieldBlock::default();
        self.fields().each(|fields| {
            fields.each(|name, value| {
                if name.eq_ignore_ascii_case(b"host") {
                    host = value.to_vec();
                } else {
                    block.push(name, value);
                }
            });
        });
        if admitted.accepts_trailers() {
            block.push(b"te", b"trailers");
        }
        if let BodyLength::Exact(length @ 1..) = admitted.body {
            block.push(b"content-length", length.to_string().as_bytes());
        }
        let uri = http::Uri::builder()
            .scheme(if self.pool.upstream().is_tls() { "https" } else { "http" })
            .authority(host.as_slice())
            .path_and_query(path)
            .build()
            .map_err(|_| unfit())?;
        let mut request = http::Request::new(());
        *request.method_mut() = admitted.method.clone();
        *request.uri_mut() = uri;
        *request.version_mut() = http::Version::HTTP_2;
        *request.headers_mut() = block.to_header_map();
        Ok(request)
    }

    fn fields(&self) -> RequestFields<'_> {
        let permitted = self.permitted;
        RequestFields {
            admitted: permitted.admitted,
            client: permitted.client,
            identity: permitted.identity.map(Arc::as_ref),
            grant: &permitted.grant,
            upstream: self.pool.upstream(),
            stripped: permitted.stripped,
            request_id: permitted.request_id,
            trace: permitted.trace,
            attempt: self.attempt_number(),
        }
    }
}
