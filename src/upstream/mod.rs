//! Connections to upstreams: to which endpoint, what becomes of those that are ill, how many at once, kept for how long.

mod balancer;
mod concurrency_limit;
mod connect;
mod destination;
mod destination_state;
mod endpoint;
mod failure;
mod health_check;
mod http2_connections;
mod monitor;
mod observed;
mod opening;
mod pool;
mod retry_budget;
mod tls;
mod upstream_error;

pub use concurrency_limit::{
    ConcurrencyLimit, ConcurrencyLimits, Permit, PermitRequest, QueuedRequest, Requester,
};
pub use connect::ConnectError;
pub use destination::{FailedDestinations, InFlight};
pub use destination_state::{DestinationStates, EndpointAddress, EndpointCount, EndpointCounts};
pub use endpoint::Upstream;
pub use failure::Failure;
pub use http2_connections::{ConnectionId, StreamSlot};
pub use monitor::monitor;
pub use pool::{AcquiredConnection, Connection, ExcludedConnections, Pool};
pub use upstream_error::UpstreamError;
