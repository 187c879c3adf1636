//! The management plane: its own listener, never reachable through the proxy.
//!
//! A request goes through these steps: admit → identify → read → operate → render. A module uses only modules of the
//! layers below its own (`tests/layers.rs` holds this):
//!
//! | layer | modules | what they hold |
//! |---|---|---|
//! | 1 | `listener` | accepts connections |
//! | 2 | `service` | takes one request through the steps |
//! | 3 | `api`, `ui` | the REST API; the web page |
//! | 4 | `admit`, `identify` | host, origin, body; the caller |
//! | 5 | `state` | [`Management`]: what every request needs |
//! | 6 | `health`, `operations`, `session` | health checks; what a caller can do; who has signed in on the page |
//! | 7 | `answer`, `scope`, `settings` | whole responses; what a narrowed key may do; the configuration, as far as it is used here |
//! | 8 | `refusal`, `request`, `resource_json` | why a request fails; one admitted request; objects as JSON |
//! | 9 | `applied_changes`, `connection_slots`, `flash`, `keys_expiring`, `metrics_token`, `readable_paths`, `write_timeout` | small parts, one job each |

mod admit;
mod answer;
mod api;
mod applied_changes;
mod connection_slots;
mod flash;
mod health;
mod identify;
mod keys_expiring;
mod listener;
mod metrics_token;
mod operations;
mod readable_paths;
mod refusal;
mod request;
pub mod resource_json;
mod scope;
mod service;
mod session;
mod settings;
mod state;
mod ui;
mod write_timeout;

pub use applied_changes::AppliedChanges;
pub use health::Health;
pub use keys_expiring::KeysExpiring;
pub use listener::serve;
pub use metrics_token::MetricsToken;
pub use operations::Operations;
pub use settings::Settings;
pub use state::Management;
