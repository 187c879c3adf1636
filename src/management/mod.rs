//! The management plane: its own listener, never reachable through the proxy.
//!
//! A request goes through `app`: its host is judged, its body read, its caller verified. Then `api` or `ui` reads what
//! it asks for and has `desk` do it: the one set of operations, which judges the caller and waits until a change is in
//! force.

mod api;
mod app;
mod connections;
mod desk;
pub mod document;
mod health;
mod in_force;
mod listener;
mod pocket;
mod refusal;
mod request;
mod session;
mod site;
mod ui;
mod write_timeout;

pub use app::Management;
pub use desk::Desk;
pub use health::Health;
pub use in_force::InForce;
pub use listener::{Timeouts, bind, serve};
pub use site::Site;
