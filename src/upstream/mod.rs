//! Connections to upstreams: to which endpoint, what becomes of those that fail, how many at once, kept for how long.
//!
//! An *endpoint* is what the configuration names. A *destination* is one address of it, as one worker sees it.
//!
//! | file | what it does |
//! |---|---|
//! | `prepared_upstream`, `tls`, `setup_error` | an upstream of the configuration, made ready for requests |
//! | `monitor`, `health_check`, `observed_addresses` | for the whole process: looks names up, checks health, and tells the workers |
//! | `balancer`, `destination`, `destination_state`, `failure` | in each worker: which address a request goes to, and which are ejected |
//! | `retry_budget`, `concurrency_limit` | how many requests are sent again, and how many are sent at once |
//! | `pool`, `connect`, `happy_eyeballs`, `http2_connections` | in each worker: connections that are kept, and new ones |

mod balancer;
mod concurrency_limit;
mod connect;
mod destination;
mod destination_state;
mod failure;
mod happy_eyeballs;
mod health_check;
mod http2_connections;
mod monitor;
mod observed_addresses;
mod pool;
mod prepared_upstream;
mod retry_budget;
mod setup_error;
mod tls;

pub use concurrency_limit::{
    ConcurrencyLimit, ConcurrencyLimits, Permit, PermitRequest, QueuedRequest, Requester,
};
pub use connect::ConnectError;
pub use destination::{FailedDestinations, InFlight};
pub use destination_state::{DestinationStates, EndpointAddress, EndpointCount, EndpointCounts};
pub use failure::Failure;
pub use http2_connections::{ConnectionId, StreamSlot};
pub use monitor::monitor;
pub use pool::{AcquiredConnection, Connection, ExcludedConnections, Pool};
pub use prepared_upstream::Upstream;
pub use setup_error::UpstreamSetupError;
