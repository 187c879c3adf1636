//! Connections to upstreams: which endpoint, over which socket, how many at once, kept for how long.

mod connect;
mod endpoint;
mod limit;
mod pool;
mod shared;
mod tls;

pub use connect::ConnectError;
pub use endpoint::{BuildError, Upstream};
pub use limit::{Asked, Limit, Limits, Permit, Queued, Requester};
pub use pool::{Acquired, Avoid, Pool};
pub use shared::{Connection, Place};
