//! Connections to upstreams: to which endpoint, how many at once, kept for how long.

mod concurrency_limit;
mod connect;
mod endpoint;
mod endpoint_rotation;
mod http2_connections;
mod pool;
mod tls;
mod upstream_error;

pub use concurrency_limit::{
    ConcurrencyLimit, ConcurrencyLimits, Permit, PermitRequest, QueuedRequest, Requester,
};
pub use connect::ConnectError;
pub use endpoint::Upstream;
pub use http2_connections::{ConnectionId, StreamSlot};
pub use pool::{AcquiredConnection, ExcludedConnections, Pool};
pub use upstream_error::UpstreamError;
