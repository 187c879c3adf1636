//! Puts the parts together: start, follow the store, reload, drain.

mod background_changes;
mod control_plane;
mod embedded_lease;
mod follower_thread;
mod gateway;
mod metrics;
mod open_files;
mod record_lease;
mod serve;

pub use gateway::{Addresses, Gateway, ReloadError, StartError, missing_peppers};
pub use serve::{ServeError, serve};
