//! Keys that end by themselves: on one gateway and on several, whatever the clocks do, and what people see of it.

#![allow(clippy::unwrap_used, reason = "helpers of tests stop the test where something is not as it must be")]

#[path = "../command_line_remote/remote_machine.rs"]
#[allow(dead_code, reason = "the tests of remote commands use more of it")]
mod remote_machine;
#[path = "../support/mod.rs"]
mod support;
#[path = "../web_page/visitor.rs"]
#[allow(dead_code, reason = "the page's own tests use more of it")]
mod visitor;

mod announcements;
mod clocks;
mod cluster;
mod endings;
mod lifetimes;
mod management;
mod measured;
mod moment;
mod several_gateways;
mod streams;
mod upgrades;
