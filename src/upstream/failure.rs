//! Why a request failed at an endpoint.

use std::fmt;

/// What makes an endpoint look ill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// No connection could be made.
    Connect,
    /// The connection or stream ended without an answer.
    Reset,
    /// No answer in time.
    Timeout,
    /// An answer that cannot be passed on.
    Broken,
    /// It answered 502, 503 or 504.
    Status(u16),
}

impl Failure {
    /// What the status of an answer says about the endpoint that sent it.
    pub fn of_status(status: u16) -> Option<Self> {
        matches!(status, 502..=504).then_some(Self::Status(status))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect => f.write_str("no connection"),
            Self::Reset => f.write_str("closed without an answer"),
            Self::Timeout => f.write_str("no answer in time"),
            Self::Broken => f.write_str("a broken answer"),
            Self::Status(status) => write!(f, "status {status}"),
        }
    }
}
