//! Lists that are made to cost as much as they can, and what must go on beside them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::json;

use super::api::Api;
use super::cli::Key;
use super::gateway::Gateway;
use super::http1::{Client, Response};
use super::{PATIENCE, wait_for};

/// An account with 100 keys whose descriptions are as long as they can be.
pub fn account_with_many_keys(gateway: &Gateway) -> Key {
    gateway.create_account("mallory", "user");
    let key = gateway.create_account_key("mallory");
    let next = AtomicUsize::new(1);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while next.fetch_add(1, Ordering::Relaxed) < 100 {
                    let body = json!({ "description": "a".repeat(1_024) });
                    Api::new(gateway, &key).create("/v2-beta/apikeys", &body);
                }
            });
        }
    });
    key
}

/// A list's target with 32 filters of the kind that costs the most.
pub fn costly_target(pattern: &str) -> String {
    let filters = vec![format!("description_notlike={pattern}"); 32];
    format!("/v2-beta/apikeys?{}", filters.join("&"))
}

/// Asks 30 times at once for a list that costs as much as it can; meanwhile an admin reads single objects and lists, and
/// takes a right away.
#[track_caller]
pub fn nothing_waits_for_lists(gateway: &Gateway) {
    let mallory = account_with_many_keys(gateway);
    let admin = Api::admin(gateway);
    for pattern in [
        format!("%25{}b", "a".repeat(1_000)),
        format!("{}b", "%25a".repeat(300)),
        format!("{}b", "%25_a".repeat(200)),
    ] {
        let target = costly_target(&pattern);
        let victim = admin.create("/v2-beta/projects/e1/apikeys", &json!({}));
        let resource = format!("/v2-beta/apikeys/{}", victim["id"].as_str().expect("an id"));
        let request = Api::new(gateway, &mallory).request("GET", &target).end();
        let mut asking: Vec<_> = (0..30).map(|_| Client::connect(gateway.management())).collect();
        for client in &mut asking {
            client.send(&request);
        }
        // each within the patience of a test, and there were minutes before
        assert_eq!(admin.get(&resource).status, 200);
        let answer = admin.act(&resource, "deactivate");
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.json()["receipt"]["waiting"], json!([]), "{answer:?}");
        assert_eq!(admin.get("/v2-beta/apikeys?limit=5").status, 200);
        assert_eq!(admin.get("/v2-beta/auditlogs?limit=5").status, 200);
        for (number, client) in asking.iter_mut().enumerate() {
            let answer = client.read();
            assert!(matches!(answer.status, 200 | 422 | 429 | 503), "{number}: {answer:?}");
            assert_says_what_to_do(&answer);
        }
        // clients that go away leave nothing behind
        for _ in 0..30 {
            let mut client = Client::connect(gateway.management());
            client.send(&request);
            client.reset();
        }
        wait_for(PATIENCE, "the caller's own next list", || {
            Api::new(gateway, &mallory).get("/v2-beta/apikeys?limit=1").status == 200
        });
        assert_eq!(admin.delete(&resource).status, 200);
    }
}

/// A refused list tells the caller what to do, and when.
#[track_caller]
pub fn assert_says_what_to_do(answer: &Response) {
    if answer.status == 200 {
        return;
    }
    assert!(answer.json()["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{answer:?}");
    let expected = if answer.status == 422 { None } else { Some("1".to_owned()) };
    assert_eq!(answer.header("Retry-After"), expected, "{answer:?}");
}
