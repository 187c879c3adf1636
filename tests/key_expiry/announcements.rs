//! Nobody is surprised: clients, operators and people on the page are told before a key ends.

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::endings::{IN_E1, ending_key, in_seconds, set_end};
use crate::remote_machine::RemoteMachine;
use crate::support::api::Api;
use crate::support::cli::Key;
use crate::support::http1::{Request, Response};
use crate::support::http2;
use crate::support::stage::Stage;
use crate::support::upstream::Answer;
use crate::visitor::{Visitor, row_of};

const HEADER: &str = "X-API-Key-Expires";

fn in_days(days: i64) -> Timestamp {
    in_seconds(days * 86_400)
}

/// What an upstream says that would like to speak for the gateway, in every spelling that somebody takes for the name.
const CLAIMS: &str = "HTTP/1.1 200 OK\nX-API-Key-Expires: upstream\nx-api-key-expires: upstream\n\
    X_API_Key_Expires: upstream\nX-API_Key.Expires: upstream\nX-API-Key-Expires-At: kept\nX-API-Other: kept";

#[track_caller]
fn ask(stage: &Stage, path: &str, key: &Key) -> Response {
    let answer = stage.gateway.exchange(Request::get(path).key(key).end());
    assert_eq!(answer.status, 200, "{answer:?}");
    answer
}

fn over_http2(stage: &Stage, path: &str, key: &Key) -> http2::Answer {
    let request = http::Request::get(format!("https://gw.test{path}"));
    let request = request.header("authorization", key.authorization()).body(()).unwrap();
    http2::exchange(stage.gateway.https(), request, b"").unwrap()
}

#[test]
fn clients_are_told_within_the_notice_and_by_nobody_but_the_gateway() {
    let stage = Stage::with(|plan| plan.top("keys: { notice: [3d, 10m] }"));
    let gateway = &stage.gateway;
    for path in [IN_E1, "/healthz"] {
        stage.upstream.answer(path, Answer::with(CLAIMS, b"body"));
    }
    let soon = in_days(2);
    let [ending, later] = [soon, in_days(4)].map(|end| ending_key(gateway, end));
    let told = |key: &Key| {
        let answer = ask(&stage, IN_E1, key);
        assert!(!format!("{answer:?}").contains("upstream"), "{answer:?}");
        assert_eq!(answer.all("X-API-Key-Expires-At"), ["kept"], "{answer:?}");
        assert_eq!(answer.all("X-API-Other"), ["kept"], "{answer:?}");
        let second = over_http2(&stage, IN_E1, key);
        let named = format!("{:?}", second.headers);
        assert!(!named.contains("upstream") && named.contains("kept"), "{named}");
        let values: Vec<String> =
            second.headers.get_all(HEADER).iter().map(|value| value.to_str().unwrap().to_owned()).collect();
        assert_eq!(answer.all(HEADER), values);
        values
    };
    assert_eq!(told(&ending), [soon.to_string()]);
    assert!(told(&later).is_empty() && told(&stage.e1).is_empty());
    // on refusals that are made for the key it says nothing, and to nobody where no key is looked at
    let refused = gateway.exchange(Request::get("/v1/projects/e2/x").key(&ending).end());
    assert_eq!((refused.status, refused.all(HEADER).len()), (403, 0));
    let public = ask(&stage, "/healthz", &ending);
    assert!(public.all(HEADER).is_empty() && !format!("{public:?}").contains("upstream"), "{public:?}");
    // an edit is heard at once, both ways
    set_end(gateway, &later, Some(soon));
    assert_eq!(told(&later), [soon.to_string()]);
    set_end(gateway, &later, None);
    assert!(told(&later).is_empty());
}

#[test]
fn no_other_part_of_an_answer_speaks_for_the_gateway() {
    let stage = Stage::start();
    let key = ending_key(&stage.gateway, in_days(1));
    // trailers, and a head before the head
    let chunked = "HTTP/1.1 103 Early Hints\r\nX-API-Key-Expires: upstream\r\nLink: </x>\r\n\r\n\
        HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-API-Key-Expires, X-Sum\r\n\r\n\
        4\r\nbody\r\n0\r\nX-API-Key-Expires: upstream\r\nx_api_key_expires: upstream\r\nX-Sum: 4\r\n\r\n";
    stage.upstream.answer(IN_E1, Answer::Bytes(chunked.into()));
    let mut client = stage.gateway.connect();
    client.send(Request::get(IN_E1).key(&key).header("TE", "trailers").end());
    let bytes = client.take_until(b"X-Sum: 4\r\n\r\n", crate::support::PATIENCE).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    assert!(!text.contains("upstream"), "{text}");
    assert_eq!(text.to_ascii_lowercase().matches("\r\nx-api-key-expires:").count(), 1, "{text}");
    // and what a client says of itself never reaches the upstream
    let sent = Request::get("/v1/projects/e1/echo").key(&key).header(HEADER, "2099-01-01T00:00:00Z");
    assert!(stage.passes(sent).all(HEADER).is_empty());
}

#[test]
fn a_websocket_is_told_at_its_beginning() {
    let stage = Stage::start();
    let end = in_days(1);
    let key = ending_key(&stage.gateway, end);
    stage.upstream.answer(IN_E1, Answer::Bytes(SWITCH.into()));
    let mut client = stage.gateway.connect();
    let request =
        Request::get(IN_E1).key(&key).header("Connection", "Upgrade").header("Upgrade", "websocket");
    let request =
        request.header("Sec-WebSocket-Version", "13").header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
    client.send(request.end());
    let answer = client.read();
    assert_eq!((answer.status, answer.header(HEADER)), (101, Some(end.to_string())), "{answer:?}");
}

const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

#[test]
fn operators_and_people_find_the_keys_that_end_soon() {
    let stage = Stage::with(|plan| plan.top("keys: { notice: [14d, 3d, 1h] }"));
    let gateway = &stage.gateway;
    let api = Api::admin(gateway);
    let made = [10, 2, 30].map(|days| ending_key(gateway, in_days(days)));
    let [ten, two, thirty] = made.each_ref().map(|key| key.id.clone());
    let stopped = ending_key(gateway, in_days(1));
    api.act(&format!("/v2-beta/apikeys/{}", stopped.id), "deactivate");

    let remote = RemoteMachine::admin(gateway);
    let ids = |document: &serde_json::Value| crate::support::api::ids(document);
    for (within, expected) in
        [("1d", vec![]), ("3d", vec![&two]), ("14d", vec![&two, &ten]), ("365d", vec![&two, &ten, &thirty])]
    {
        let arguments = ["key", "list", "--expiring", within];
        let found = ids(&gateway.json(&arguments));
        assert_eq!(found.iter().collect::<Vec<_>>(), expected, "within {within}, the first to end first");
        assert_eq!(ids(&remote.json(&arguments)), found, "by the API");
        let of_another = [&arguments[..], &["--environment", "e2"]].concat();
        assert!(ids(&gateway.json(&of_another)).is_empty() && ids(&remote.json(&of_another)).is_empty());
    }
    let metrics = gateway.metrics();
    for (within, count) in [("14d", 2), ("3d", 1), ("1h", 0)] {
        let line = format!("portcullis_keys_expiring{{within=\"{within}\"}} {count}");
        assert!(metrics.lines().any(|found| found == line), "{line} is not in\n{metrics}");
    }

    let visitor = Visitor::signed_in(gateway, &gateway.admin);
    let page = visitor.page("/keys?environment=e1");
    assert!(page.contains("Several keys end within 14d"), "{page}");
    let row = |id: &str| row_of(&page, id).unwrap();
    assert!(row(&two).contains("in 2 days") && row(&two).contains("soon"), "{}", row(&two));
    assert!(!row(&thirty).contains("soon"), "{}", row(&thirty));
    assert!(!visitor.page("/keys?environment=e2").contains("end within"));
    let overview = visitor.page("/");
    assert!(overview.contains("Keys that end soon"), "{overview}");
    let (_, table) = overview.split_once("Keys that end soon").unwrap();
    let at = |id: &str| table.find(&format!("/keys/{id}\"")).unwrap_or(usize::MAX);
    assert!(at(&two) < at(&ten), "the first to end comes first");
    // with one of them left, the page names it
    set_end(gateway, &made[0], None);
    let rename = api.put(&format!("/v2-beta/apikeys/{two}"), &json!({ "name": "nightly" }));
    assert_eq!(rename.status, 200);
    let page = visitor.page("/keys?environment=e1");
    assert!(page.contains("The key “nightly” ends in 2 days. Edit it"), "{page}");
    set_end(gateway, &made[1], Some(Timestamp::now() + SignedDuration::from_hours(24 * 60)));
    assert!(!visitor.page("/").contains("Keys that end soon"));
}
