//! Puts the parts together: start, follow the store, reload, drain.

mod control;
mod follow;
mod gateway;
mod lease;
mod metrics;
mod open_files;
mod serve;

pub use gateway::{Addresses, Gateway, ReloadError, StartError, missing_peppers};
pub use serve::{ServeError, serve};
