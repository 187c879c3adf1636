//! Bytes on the wire: sockets, HTTP/1.1 heads and bodies, HTTP/2 streams.
//!
//! Both planes of a proxied request, the client's and the upstream's, are a [`Peer`]: what is received from one is
//! sent to the other by [`BodyCopy`], whatever protocol each speaks. HTTP/1.1 is parsed here, not by a library,
//! because the gateway must judge a request on the bytes as they came (a URI type cuts them at `#`), and because
//! what is unclear has to be refused rather than mended. HTTP/2 towards clients is in `http2`, for what it
//! costs; towards upstreams it is the `h2` crate's. `docs/decisions/0011-hyper-as-oracle.md` has the reasons and the
//! figures. `tests/http_oracle` has hyper and h2 read what is accepted here, and they must read it alike.

mod answer;
mod body;
mod buffer;
mod chunked;
mod copy;
mod field;
mod field_name;
mod head;
mod http2;
mod http2_upstream;
mod kept_body;
mod name_table;
mod peer;
mod pipe;
mod server_names;
mod shared_stream;
mod spare;
mod stream;
mod tcp_progress;
mod websocket;

pub use answer::{CHALLENGE, error_document};
pub use body::{BodyDecoder, BodyEncoder, BodyError, Decoded, Length};
pub use buffer::Wire;
pub use chunked::ChunkError;
pub use copy::{BodyCopy, CopyError};
pub use field::FieldBlock;
pub use field_name::{FieldName, NameList, same_name};
pub use head::{HeadError, HeadLimits, RequestHead, ResponseHead, Version};
pub use http2::{HTTP2_PREFACE, HeadBlock, Http2Connection, Http2Limits, Http2Peer, Http2Request, Reason};
pub use http2_upstream::Http2Upstream;
pub use kept_body::KeptBodies;
pub use peer::{Http1Peer, Peer, PeerError, Received};
pub use pipe::Pipes;
pub use server_names::READ_BY_SERVERS;
pub use shared_stream::{SharedStream, StreamWatch};
pub use stream::Stream;
pub use tcp_progress::TcpProgress;
pub use websocket::{Frames, close_frame, masked_close_frame};
