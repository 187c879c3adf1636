//! The data plane, in the order of a request.
//!
//! | file | what it does |
//! |---|---|
//! | `worker` | one thread: runtime, listeners, everything that is open on it |
//! | `listener`, `tls` | sockets; certificates by SNI |
//! | `http1`, `http2` | one client connection |
//! | `linger` | clients that still send when they have been answered |
//! | `pipeline` | admit → route → authenticate → decide → forward → record, each step visible |
//! | `admit` | what is refused before anything is looked up |
//! | `preflight` | CORS preflights, answered here |
//! | `forward` | one exchange: the request to the upstream, the answer back, tunnels |
//! | `request`, `headers`, `answer`, `respond`, `upgrade` | the request as it goes out; the upstream's answer; heads to the client; changes of protocol |
//! | `stall` | whether a slow side still takes bytes |
//! | `streams` | what is open, so that it can be ended |
//! | `request_id` | what a request is called |
//! | `record` | counters, access log |
//! | `refusal` | every refusal, and where it becomes an answer |

mod admit;
mod answer;
mod date;
mod destination;
mod forward;
mod headers;
mod http1;
mod http2;
mod linger;
mod listener;
mod pipeline;
mod preflight;
mod record;
mod refusal;
mod request;
mod request_id;
mod respond;
mod snapshot;
mod stall;
mod streams;
mod tls;
mod upgrade;
mod worker;

pub use headers::pass_request_fields;
pub use listener::{BindError, BoundListener};
pub use refusal::CAUSES;
pub use snapshot::{Snapshot, SnapshotError, WorkerFiles, selectors_not_forwarded};
pub use tls::{TlsError, server_config};
pub use worker::{Command, Shared, WorkerHandle, spawn};
