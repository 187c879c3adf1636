//! What comes of receiving from a peer, or of sending to it.

use std::io;

use super::body_framing::BodyError;

/// Why a message could not be received or sent.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// The socket failed or was closed.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// The message's framing is broken.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// The HTTP/2 stream failed or was reset.
    #[error("the HTTP/2 stream failed: {0}")]
    Http2(#[from] h2::Error),
    /// The HTTP/2 stream was closed by the other side.
    #[error("the HTTP/2 stream was closed")]
    Closed,
}

/// What a peer has sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// There are body bytes to take, see [`Peer::received`](super::Peer::received).
    Data,
    /// The body is complete, see [`Peer::trailers`](super::Peer::trailers).
    End,
}
