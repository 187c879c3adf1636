//! HTTP/2 as a server (RFC 9113): one client connection, and the streams on it.
//!
//! ```text
//!                    bytes                                                 a request
//!  BufferedSocket ──────────▶ receive (frame, hpack_decoder, request_head) ──────────▶ proxy::http2_connection
//!    ▲                               │ bodies, resets, windows
//!    │                               ▼
//!    └── send (hpack_encoder) ◀── streams ◀──────▶ peer: one stream, as its exchange sees it
//! ```
//!
//! One task reads and writes the connection ([`Http2Connection`]); each stream is worked on by a task of its own, which
//! holds its [`Http2Peer`]. Both are on one thread and share a `RefCell`, so there is no lock. What streams send is
//! appended to what waits to be written, and leaves when the connection's task runs: all responses of one round of the
//! event loop in one system call.
//!
//! `docs/decisions/0010-own-http2.md` says why this is not a library.

mod closed_streams;
mod connection;
mod frame;
mod frame_outcome;
mod hpack_decoder;
mod hpack_encoder;
mod hpack_huffman;
mod hpack_table;
mod peer;
mod receive;
mod request_head;
mod send;
mod server;
mod streams;
#[cfg(test)]
mod tests;

pub use connection::Http2Limits;
pub use frame::{Http2ErrorCode, PREFACE as HTTP2_PREFACE};
pub use hpack_encoder::HeaderBlockWriter;
pub use peer::Http2Peer;
pub(super) use request_head::body_length;
pub use server::{Http2Connection, Http2Request};
