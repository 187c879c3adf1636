//! Header fields on their way through: what goes, what passes, what the gateway adds (`docs/headers.md`).

mod forwarded;
mod identity;
mod request;
mod response;

pub(super) use forwarded::{Client, source_address};
pub(super) use request::RequestFields;
pub use request::pass_request_fields;
pub(super) use response::pass_response_fields;
