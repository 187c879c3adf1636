//! Keys that end in a few seconds, and when they were used for the last time.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::support::PATIENCE;
use crate::support::api::Api;
use crate::support::cli::Key;
use crate::support::gateway::Gateway;
use crate::support::http1::{Client, Request};
use crate::visitor::{Visitor, value_of};

pub const IN_E1: &str = "/v1/projects/e1/x";

/// How late a key may end, as the documents promise it.
pub const PROMISED: SignedDuration = SignedDuration::from_millis(100);

/// How late it may end on a machine that is busy with other tests.
pub const BUSY: SignedDuration = SignedDuration::from_millis(700);

/// By how much a gateway may be mistaken about the record's clock: half the time that an answer of the record takes.
const TOO_EARLY: SignedDuration = SignedDuration::from_millis(50);

/// A whole second that is at least so many seconds away. Ends are whole seconds.
pub fn in_seconds(seconds: i64) -> Timestamp {
    Timestamp::from_second(Timestamp::now().as_second() + seconds + 1).unwrap()
}

/// Makes a key of `e1` that ends then.
#[track_caller]
pub fn ending_key(gateway: &Gateway, end: Timestamp) -> Key {
    let body = json!({ "expires": end.to_string() });
    Api::admin(gateway).create_key("/v2-beta/projects/e1/apikeys", &body)
}

/// Gives a key another end, which must succeed.
#[track_caller]
pub fn set_end(gateway: &Gateway, key: &Key, end: Option<Timestamp>) {
    let body = json!({ "expires": end.map(|end| end.to_string()) });
    let answer = Api::admin(gateway).put(&format!("/v2-beta/apikeys/{}", key.id), &body);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["receipt"]["complete"], true, "{answer:?}");
}

/// Uses a key again and again until it is refused, which must not be before its end. How long after its end the last
/// request was sent that succeeded; negative where that was before.
#[track_caller]
pub fn last_success(gateway: &Gateway, key: &Key, end: Timestamp) -> SignedDuration {
    last_success_before(401, gateway, key, end)
}

/// [`last_success`] where the refusal has this status.
#[track_caller]
pub fn last_success_before(refusal: u16, gateway: &Gateway, key: &Key, end: Timestamp) -> SignedDuration {
    let mut client = Client::connect(gateway.http());
    let mut last = None;
    loop {
        let sent = Timestamp::now();
        client.send(Request::get(IN_E1).key(key).end());
        let answer = client.read();
        if answer.status == refusal {
            let early = end.duration_since(Timestamp::now());
            assert!(early < TOO_EARLY, "it was refused {early:#} before its end");
            return last.expect("it worked before its end");
        }
        assert_eq!(answer.status, 200, "{answer:?}");
        last = Some(sent.duration_since(end));
        assert!(sent.duration_since(end) < SignedDuration::try_from(PATIENCE).unwrap(), "it goes on");
        std::thread::sleep(Duration::from_millis(3));
    }
}

/// Waits until a key is refused.
#[track_caller]
pub fn wait_for_end(gateway: &Gateway, key: &Key, end: Timestamp) {
    let late = last_success(gateway, key, end);
    assert!(late < BUSY, "used {late:#} after its end");
}

/// What a gateway answers to a key now.
#[track_caller]
pub fn status(gateway: &Gateway, key: &Key) -> u16 {
    gateway.exchange(Request::get(IN_E1).key(key).end()).status
}

/// Sends the form that changes a key, as its page has it but for name, description and end.
#[track_caller]
pub fn edit_on_the_page(visitor: &Visitor<'_>, id: &str, [name, description, expires]: [&str; 3]) {
    let path = format!("/keys/{id}/edit");
    let revision = value_of(&visitor.page(&path), "revision").unwrap();
    let fields = [
        ("name", name),
        ("description", description),
        ("expires", expires),
        ("revision", &revision),
        ("to", "/keys"),
    ];
    let answer = visitor.post(&path, &fields);
    assert_eq!(answer.status, 303, "{answer:?}");
}
