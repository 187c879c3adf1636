//! One gateway with an embedded store: the machine's clock decides, so a clock that is set wrong ends keys, and one that is
//! set right again lets them work again.

use jiff::SignedDuration;

use crate::endings::{IN_E1, ending_key, in_seconds, status};
use crate::support::clock::WallClock;
use crate::support::gateway::Plan;
use crate::support::http1::Request;
use crate::support::upstream::{Answer, Upstream};
use crate::support::{PATIENCE, stays, wait_for};

const HOUR: SignedDuration = SignedDuration::from_hours(1);

#[test]
fn case_131_a_clock_that_is_set_ends_keys_and_brings_them_back() {
    let upstream = Upstream::start();
    let site = Plan::new(&upstream).prepare();
    site.create_environment("e1");
    let always = site.create_environment_key("e1");
    let clock = WallClock::in_directory(site.directory());
    let gateway = site.environment(clock.environment()).start();
    let end = in_seconds(3_600);
    let key = ending_key(&gateway, end);
    let open = |key| {
        let mut client = gateway.connect();
        client.send(Request::get("/v1/projects/e1/stream").key(key).end());
        assert_eq!(client.take(12, PATIENCE).expect("the answer begins"), b"HTTP/1.1 200");
        client
    };
    let events = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\ndata: x\n\r\n";
    upstream.answer(
        "/v1/projects/e1/stream",
        Answer::after_head(move |_, conversation| {
            conversation.send(events).ok();
            while !conversation.ends_within(PATIENCE) {}
            false
        }),
    );
    for _ in 0..2 {
        let (mut stream, mut other) = (open(&key), open(&always));
        assert_eq!(status(&gateway, &key), 200);
        clock.set_ahead(HOUR * 3);
        wait_for(PATIENCE, "the end", || status(&gateway, &key) == 401);
        assert!(stream.ends_within(PATIENCE), "its stream goes on");
        assert!(!other.ends_within(std::time::Duration::from_millis(100)), "another key's stream has ended");
        assert_eq!(status(&gateway, &always), 200);
        // a correction by less than a second past the end would bring nothing back; hours do
        clock.set_ahead(SignedDuration::ZERO);
        wait_for(PATIENCE, "the key works again", || status(&gateway, &key) == 200);
    }
    // just before the end, and then it comes by itself
    let near = end - SignedDuration::from_secs(2);
    clock.set(near);
    stays(std::time::Duration::from_millis(500), "the key works", || status(&gateway, &key) == 200);
    wait_for(PATIENCE, "the end", || status(&gateway, &key) == 401);
    // back by less than a second: corrections of a clock do not bring a key back for a moment
    clock.set(end - SignedDuration::from_millis(300));
    stays(std::time::Duration::from_millis(200), "the key is refused", || status(&gateway, &key) == 401);
    assert_eq!(gateway.exchange(Request::get(IN_E1).key(&always).end()).status, 200);
}
