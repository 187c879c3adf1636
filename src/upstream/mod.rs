//! Connections to upstreams: which endpoint, over which socket, kept for how long.

mod connect;
mod endpoint;
mod pool;
mod shared;
mod tls;

pub use connect::ConnectError;
pub use endpoint::{BuildError, Upstream};
pub use pool::{Acquired, Pool};
pub use shared::Place;
