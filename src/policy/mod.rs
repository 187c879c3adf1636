//! Paths, routes, decisions: pure rules, without I/O and without a clock.
//!
//! Read in the order of a request: [`admit`] judges the bytes of the request target, [`RouteTable::classify`] says
//! what the path is under which route, [`select`] lets the upstream's other ways to choose an environment have their
//! say, and [`decide`] says who may pass. What passes is a [`Grant`], which only this room can make.
//!
//! [`judge`] says who may manage keys, accounts and environments, [`is_trusted`] whose word counts about how a request
//! came.
//!
//! The rule behind the paths: the gateway and the upstream must not read one path differently. Where a laxer reading
//! (decoding, dropping `;…`, folding case, …) could change the route, the class or the environment, the answer is 400.

mod decide;
mod describe;
#[cfg(test)]
mod fixture;
mod fold;
mod forwarded;
mod lax;
mod manage;
mod methods;
mod path;
mod route;
mod selector;
mod steps;
mod tree;

pub use decide::{Denial, DenialStatus, Destination, EnvironmentFacts, Grant, Inquiry, Rule, decide};
pub use describe::{reach, weakenings};
pub use forwarded::{is_trusted, source_address};
pub use manage::{Act, Verdict, judge};
pub use methods::{DestinationUse, destination_use, is_safe};
pub use path::{PathRefusal, Target, admit};
pub use route::{Basis, Class, EnvironmentName, RouteTable, Routed, Unrouted};
pub use selector::{HeaderValues, SelectorRefusal, select};
#[cfg(any(test, feature = "count_steps"))]
pub use steps::count_steps;
pub use tree::{Problem, RouteProblem};
