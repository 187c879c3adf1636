//! From where a key may be used.

use serde_json::json;

use crate::support::cli::Key;
use crate::support::http1::{Client, Request, Response};
use crate::support::stage::Stage;
use crate::{narrow_key, set_scope};

const IN_E1: &str = "/v1/projects/e1/x";

fn ask_from(stage: &Stage, source: [u8; 4], key: &Key) -> Response {
    let mut client = Client::connect_from(source.into(), stage.gateway.http());
    client.send(Request::get(IN_E1).key(key).end());
    client.read()
}

#[test]
fn outside_its_networks_a_key_is_refused_as_one_with_a_wrong_secret() {
    let stage = Stage::start();
    let key = narrow_key(&stage.gateway, &json!({ "networks": ["127.7.0.0/16"] }));
    for _ in 0..3 {
        assert_eq!(ask_from(&stage, [127, 7, 1, 2], &key).status, 200);
        let outside = ask_from(&stage, [127, 8, 1, 2], &key);
        let wrong = ask_from(&stage, [127, 8, 1, 2], &stage.e1.with_wrong_secret());
        assert_eq!(outside.status, 401);
        assert_eq!(outside.without_id_and_date(), wrong.without_id_and_date());
    }
    let metrics = stage.gateway.metrics();
    assert!(metrics.contains("reason=\"network\"} 3"), "{metrics}");
    // narrowed to another network while it is used on one connection
    let mut client = Client::connect_from([127, 7, 1, 2].into(), stage.gateway.http());
    client.send(Request::get(IN_E1).key(&key).end());
    assert_eq!(client.read().status, 200);
    set_scope(&stage.gateway, &key, &json!({ "networks": ["127.8.0.0/16"] }));
    client.send(Request::get(IN_E1).key(&key).end());
    assert_eq!(client.read().status, 401);
    assert_eq!(ask_from(&stage, [127, 8, 1, 2], &key).status, 200);
}

#[test]
fn the_address_is_the_one_that_trusted_proxies_report() {
    let stage = Stage::with(|plan| plan.top("trusted_proxies: [127.7.0.0/16]"));
    let key = narrow_key(&stage.gateway, &json!({ "networks": ["10.0.0.0/8", "2001:db8:1::/48"] }));
    let status = |reported: &str| {
        let mut proxy = Client::connect_from([127, 7, 0, 1].into(), stage.gateway.http());
        proxy.send(Request::get(IN_E1).key(&key).header("X-Forwarded-For", reported).end());
        proxy.read().status
    };
    for inside in ["10.1.2.3", "::ffff:10.1.2.3", "2001:db8:1:2::3", "192.0.2.1, 10.1.2.3"] {
        assert_eq!(status(inside), 200, "{inside}");
    }
    for outside in ["11.1.2.3", "::ffff:11.1.2.3", "2001:db8:2::3", "10.1.2.3, 192.0.2.1", "127.0.0.1"] {
        assert_eq!(status(outside), 401, "{outside}");
    }
    // who is no trusted proxy says nothing
    let mut client = Client::connect_from([127, 8, 1, 2].into(), stage.gateway.http());
    client.send(Request::get(IN_E1).key(&key).header("X-Forwarded-For", "10.1.2.3").end());
    assert_eq!(client.read().status, 401);
}
