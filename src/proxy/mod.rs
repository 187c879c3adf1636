//! The data plane, in the order of a request.
//!
//! | file | what it does |
//! |---|---|
//! | `worker`, `accept` | one thread and its listeners; TLS handshakes |
//! | `http1_connection`, `http2_connection`, `lingering_close` | one client connection, and its end |
//! | `pipeline` | all steps of a request, in one function |
//! | `admit` | step 1: what is refused before anything is looked up |
//! | `route`, `webdav_destination`, `cors` | step 2: the route, the second path of COPY and MOVE, CORS |
//! | `authenticate` | step 3: whose key it is |
//! | `decide` | step 4: whether the request may pass |
//! | `forward` | step 5: the exchange with the upstream, until it ends or is interrupted |
//! | `send_with_retries`, `exchange_attempt`, `upload`, `tunnel` | the exchange itself, in the order in which it happens |
//! | `record_outcome`, `request_spans` | step 6: counters, access log, spans |
//! | `upstream_request`, `upstream_response`, `headers`, `websocket` | what goes to the upstream, and what it answers |
//! | `client_response`, `own_response`, `refusal` | heads of responses to the client; the gateway's own responses; every refusal |
//! | `exchange`, `request_context`, `worker_context`, `shared_state` | what an exchange, a request, a worker, all workers work with |
//! | `open_streams`, `flush_to_client` | what is open, so that it can be ended; whether a slow side still takes bytes |
//! | `config_snapshot`, `listener`, `tls`, `certificate_time` | what a configuration becomes: routes, upstreams, sockets, certificates |
//! | `clock`, `http_date`, `random_numbers`, `request_id`, `trace_context` | times and identifiers |

mod accept;
mod admit;
mod authenticate;
mod certificate_time;
mod client_response;
mod clock;
mod config_snapshot;
mod connection_source;
mod cors;
mod credential_places;
mod decide;
mod exchange;
mod exchange_attempt;
mod flush_to_client;
mod forward;
mod headers;
mod http1_connection;
mod http2_connection;
mod http_date;
mod lingering_close;
mod listener;
mod open_streams;
mod own_response;
mod pipeline;
mod random_numbers;
mod record_outcome;
mod refusal;
mod request_context;
mod request_id;
mod request_spans;
mod route;
mod send_with_retries;
mod shared_state;
mod tls;
mod trace_context;
mod tunnel;
mod unix_socket_file;
mod upload;
mod upstream_request;
mod upstream_response;
mod webdav_destination;
mod websocket;
mod worker;
mod worker_context;

pub use certificate_time::time_warning;
pub use config_snapshot::{ConfigSnapshot, ConfigSnapshotError, WorkerFileLimits, selectors_not_forwarded};
pub use credential_places::{UNUSABLE as UNUSABLE_CREDENTIAL_HEADER, unusable_credential_headers};
pub use headers::pass_request_fields;
pub use listener::{BindError, BoundListener, PortUse, ensure_free, listen};
pub use refusal::REFUSAL_CAUSES;
pub use shared_state::SharedState;
pub use tls::{ServerTls, TlsError, WatchedCertificate, server_tls};
pub use unix_socket_file::UnixSocketFile;
pub use worker::{WorkerCommand, WorkerHandle, spawn_workers};
