//! HTTP/2 as a server (RFC 9113): one client connection, and the streams on it.
//!
//! ```text
//!          bytes                                     a request
//!  Wire ──────────▶ receive (frame, decode, request) ──────────▶ proxy::http2
//!    ▲                     │ bodies, resets, windows
//!    │                     ▼
//!    └── send (encode) ◀── streams ◀──────▶ peer: one stream, as its exchange sees it
//! ```
//!
//! One task reads and writes the connection ([`Http2Connection`]); each stream is worked on by a task of its own, which
//! holds its [`Http2Peer`]. Both are on one thread and meet in a `RefCell`: nobody waits for anybody. What streams send
//! is put behind what already waits to be written, and leaves when the connection's task has its turn: all answers of
//! one round of the event loop in one system call.
//!
//! `docs/decisions/0010-own-http2.md` says why this is not a library.

mod closed;
mod connection;
mod decode;
mod encode;
mod frame;
mod huffman;
mod peer;
mod receive;
mod request;
mod send;
mod streams;
mod table;
#[cfg(test)]
mod tests;

pub use connection::{Http2Connection, Http2Limits, Http2Request};
pub use encode::HeadBlock;
pub use frame::{PREFACE as HTTP2_PREFACE, Reason};
pub use peer::Http2Peer;
pub(super) use request::body_length;
