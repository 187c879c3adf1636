//! The web page in headless Chromium: what it looks like, who can use it, and the whole life of a key.
//!
//! Pictures of every page are kept in `target/screenshots`. With `PORTCULLIS_DOC_PICTURES=1` the tests also make the
//! pictures of `docs/images` again.

#![allow(clippy::unwrap_used, reason = "helpers of tests stop the test where something is not as it must be")]

#[path = "../support/mod.rs"]
mod support;

mod expiry;
mod keyboard;
mod life;
mod lists;
mod looks;
mod page_checks;
mod person;
mod pictures;
mod rotation;
mod sessions;
mod without_scripts;
