//! Puts the parts together: start, follow the store, reload, hand over, drain.

mod background_changes;
mod certificate_watch;
mod config_status;
mod control_plane;
mod control_socket;
mod embedded_lease;
mod follower_thread;
mod gateway;
mod handed_sockets;
mod metrics;
mod open_files;
mod record_lease;
mod serve;
mod service_manager;
mod upgrade;
mod upstream_monitor;

pub use control_socket::{ControlError, ControlRequest, ask};
pub use gateway::{Addresses, Gateway, ReloadError, StartError, missing_peppers};
pub use serve::{ServeError, serve};
