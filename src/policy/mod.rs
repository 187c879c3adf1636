//! Paths, routes, decisions: pure rules, without I/O and without a clock.
//!
//! In the order of a request: [`admit_target`] checks the bytes of the request target. [`RouteTable::classify`] finds the
//! route, and what the path is under it. [`apply_selectors`] reads the query parameters and headers by which a client can
//! choose an environment. [`decide`] says who may pass. What passes is a [`Grant`], which only this module can make.
//!
//! [`authorize`] says who may manage keys, accounts and environments. [`is_trusted_proxy`] says which peers are believed
//! about where a request came from.
//!
//! The rule behind the paths: the gateway and the upstream must not read one path differently. If a laxer reading
//! (decoding, dropping `;…`, folding case, …) could change the route, the class or the environment, the answer is 400.

mod decide;
mod lax_form;
mod management_actions;
mod methods;
mod path;
mod route;
mod route_description;
mod route_tree;
mod selector;
#[cfg(test)]
mod test_fixtures;
mod trusted_proxies;
mod unicode_fold;
mod work_counter;

pub use decide::{
    DecisionInput, Denial, DenialStatus, EnvironmentStatus, Grant, Rule, WebDavDestination, decide,
};
pub use management_actions::{ManagementAction, Verdict, authorize};
pub use methods::{DestinationHeader, destination_header, is_safe};
pub use path::{PathRefusal, RequestTarget, admit_target};
pub use route::{ClassReason, EnvironmentName, PathClass, RouteTable, Routed, RoutingError};
pub use route_description::{describe_access, route_warnings};
pub use route_tree::{RouteProblem, RouteProblemKind};
pub use selector::{HeaderValues, SelectorRefusal, apply_selectors};
pub use trusted_proxies::{is_trusted_proxy, source_address};
#[cfg(any(test, feature = "count_work"))]
pub use work_counter::count_work;
