//! Bytes on the wire: sockets, HTTP/1.1 heads and bodies, HTTP/2 streams.
//!
//! Both sides of a proxied request, the client and the upstream, are a [`Peer`]: [`BodyCopy`] sends to one what it
//! receives from the other, whatever protocol each speaks. HTTP/1.1 is parsed here, not by a library,
//! because the gateway must judge a request on the bytes as they came (a URI type cuts them at `#`), and because
//! what is unclear has to be refused rather than mended. HTTP/2 towards clients is in `http2`, for what it
//! costs; towards upstreams it is the `h2` crate's. `docs/decisions/0011-hyper-as-oracle.md` has the reasons and the
//! figures. `tests/http_oracle` has hyper and h2 read what is accepted here, and they must read it alike.

mod body_copy;
mod body_framing;
mod buffer_pool;
mod buffered_socket;
mod chunked;
mod error_document;
mod exchange_peer;
mod field;
mod field_block;
mod field_name_set;
mod field_syntax;
mod head;
mod header_rule;
mod header_rule_hash_table;
mod header_rule_list;
mod http1_peer;
mod http2;
mod http2_upstream_peer;
mod peer_result;
mod proxy_protocol;
mod read_limit;
mod replay_buffer;
mod send_progress;
mod socket;
mod splice;
mod spoofable_headers;
mod stall_detector;
mod stream_socket;
mod tls_accept;
mod watched_socket;
mod websocket_frames;

pub use body_copy::{BodyCopy, CopyError};
pub use body_framing::{BodyDecoder, BodyEncoder, BodyError, BodyLength};
pub use buffered_socket::BufferedSocket;
pub use chunked::{ChunkError, Decoded};
pub use error_document::{BASIC_CHALLENGE, error_document};
pub use exchange_peer::Peer;
pub use field_block::FieldBlock;
pub use field_name_set::{FieldNameSet, same_field_name};
pub use head::{HeadError, HeadLimits, RequestHead, ResponseHead, Version};
pub use header_rule::HeaderRule;
pub use http1_peer::Http1Peer;
pub use http2::{
    HTTP2_PREFACE, HeaderBlockWriter, Http2Connection, Http2ErrorCode, Http2Limits, Http2Peer, Http2Request,
};
pub use http2_upstream_peer::Http2UpstreamPeer;
pub use peer_result::{PeerError, Received};
pub use proxy_protocol::{ProxyHeader, ProxyHeaderError, read_proxy_header};
pub use read_limit::ReadLimit;
pub use replay_buffer::ReplayBudget;
pub use send_progress::SendProgress;
pub use socket::Socket;
pub use splice::PipePool;
pub use spoofable_headers::SPOOFABLE_HEADERS;
pub use stall_detector::StallDetector;
pub use stream_socket::StreamSocket;
pub use tls_accept::{TlsAcceptError, accept_tls, refuse_tls};
pub use watched_socket::{SocketWatch, WatchedSocket};
pub use websocket_frames::{WebSocketFrames, masked_websocket_close_frame, websocket_close_frame};
