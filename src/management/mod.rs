//! The control plane's listener: health and metrics, never reachable through the proxy.

mod health;
mod listener;

pub use health::Health;
pub use listener::{bind, serve};
