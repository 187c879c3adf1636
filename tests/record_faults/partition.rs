//! A gateway that is cut off while a key is deactivated elsewhere; notifications that are lost.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::json;

use crate::cluster::{Cluster, LONG_LEASE, Node, SOON, names};
use crate::support::gateway::Plan;
use crate::support::{PATIENCE, wait_for};

#[test]
fn case_71_a_receipt_names_the_gateway_that_is_cut_off_and_when_it_ends() {
    let cluster = Cluster::start();
    let (one, two) = (cluster.node("one"), cluster.node_with_long_lease("two"));
    for node in [&one, &two] {
        node.soon(SOON, &cluster.key, 200);
    }
    let mut stream = two.stream(&cluster, &cluster.key);
    let other = cluster.new_key();
    two.relay.black_hole();
    let answer = one.api().act(&format!("/v2-beta/apikeys/{}", cluster.key.id), "deactivate");
    assert_eq!(answer.status, 202, "{answer:?}");
    let receipt = &answer.json()["receipt"];
    assert_eq!(names(&receipt["applied"]), ["one"], "{receipt}");
    assert_eq!(names(&receipt["waiting"]), ["two"], "{receipt}");
    let not_after: Timestamp = receipt["notAfter"].as_str().expect("a time").parse().expect("a time");
    assert_eq!(one.status(&cluster.key), 401, "where it is applied it is dead");
    // the last success of the one that was cut off is not after what the receipt says
    let mut last = None;
    wait_for(LONG_LEASE * 2, "the other one stops honouring the key", || {
        if two.status(&cluster.key) == 200 {
            last = Some(Timestamp::now());
        }
        Timestamp::now() > not_after
    });
    assert!(last.is_none_or(|last| last <= not_after));
    for _ in 0..50 {
        assert_eq!(two.status(&cluster.key), 503);
    }
    stream.ends(Duration::from_millis(100));
    // its lease is over: nobody waits for it any more
    let outcome = cluster.deactivate(&other);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    two.relay.mend();
    two.soon(PATIENCE, &cluster.key, 401);
}

#[test]
fn case_71_the_command_line_says_who_has_not_applied_a_change() {
    let cluster = Cluster::start();
    let (one, two) = (cluster.node("one"), cluster.node_with_long_lease("two"));
    two.soon(SOON, &cluster.key, 200);
    two.relay.cut();
    let outcome = cluster.deactivate(&cluster.key);
    assert_eq!(outcome.code, 3, "{outcome:?}");
    let said = format!("{}{}", outcome.stdout, outcome.stderr);
    assert!(said.contains("two") && !said.contains("one,"), "{outcome:?}");
    assert_eq!(one.status(&cluster.key), 401);
    two.soon(LONG_LEASE, &cluster.key, 503);
}

#[test]
fn case_71_the_last_success_is_before_the_receipt() {
    let cluster = Cluster::start();
    let nodes = [cluster.node("one"), cluster.node("two")];
    for round in 0..5 {
        let key = cluster.new_key();
        for node in &nodes {
            node.soon(SOON, &key, 200);
        }
        let over = AtomicBool::new(false);
        let asked = [const { AtomicU64::new(0) }; 2];
        std::thread::scope(|scope| {
            let askers: Vec<_> = nodes
                .iter()
                .zip(&asked)
                .map(|(node, asked)| {
                    let (key, over) = (&key, &over);
                    scope.spawn(move || {
                        let mut last = Instant::now();
                        while !over.load(Ordering::Acquire) {
                            let begun = Instant::now();
                            if node.status(key) == 200 {
                                last = begun;
                            }
                            asked.fetch_add(1, Ordering::AcqRel);
                        }
                        last
                    })
                })
                .collect();
            let outcome = cluster.deactivate(&key);
            let receipt = Instant::now();
            assert_eq!(outcome.code, 0, "{outcome:?}");
            let count = || asked.each_ref().map(|asked| asked.load(Ordering::Acquire));
            let before = count();
            wait_for(PATIENCE, "each is asked ten times more", || {
                count().iter().zip(before).all(|(now, before)| *now >= before + 10)
            });
            over.store(true, Ordering::Release);
            for asker in askers {
                let last = asker.join().expect("it asks");
                assert!(last <= receipt, "round {round}: a request begun {:?} later", last - receipt);
            }
        });
    }
}

#[test]
fn an_announcement_that_is_lost_is_made_up_for_by_the_poll() {
    let cluster = Cluster::start();
    let node = cluster.node("one");
    node.soon(SOON, &cluster.key, 200);
    node.relay.swallow_notices(true);
    for _ in 0..3 {
        let key = cluster.new_key();
        node.soon(SOON, &key, 200);
        let outcome = cluster.deactivate(&key);
        assert_eq!(outcome.code, 0, "{outcome:?}");
        assert_eq!(node.status(&key), 401);
    }
    assert!(node.relay.swallowed() > 0, "nothing was lost: this test proves nothing");
    // a listening connection that another one has taken the place of
    let listening = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%portcullis%'
        AND pid <> pg_backend_pid()";
    cluster.server.sql(&cluster.database, listening);
    node.relay.swallow_notices(false);
    let key = cluster.new_key();
    node.soon(SOON, &key, 200);
    let since = Instant::now();
    assert_eq!(cluster.deactivate(&key).code, 0);
    assert!(since.elapsed() < SOON, "{:?}", since.elapsed());
}

#[test]
fn a_change_by_one_gateways_api_is_in_force_on_the_other() {
    let cluster = Cluster::start();
    let (one, two) = (cluster.node("one"), cluster.node("two"));
    for round in 0..5 {
        let key =
            one.api().create_key("/v2-beta/projects/e1/apikeys", &json!({ "name": format!("k{round}") }));
        assert_eq!(two.status(&key), 200, "a receipt was given");
        let answer = two.api().act(&format!("/v2-beta/apikeys/{}", key.id), "deactivate");
        assert_eq!(answer.status, 200, "{answer:?}");
        let receipt = &answer.json()["receipt"];
        assert_eq!(names(&receipt["applied"]), ["one", "two"], "{receipt}");
        assert_eq!(one.status(&key), 401);
    }
}

#[test]
fn case_127_a_record_that_goes_silent_in_the_middle_of_an_answer_is_given_up_after_5_s() {
    let cluster = Cluster::start();
    let relay = cluster.server.relay();
    let plan = Plan::new(&cluster.upstream).postgres(&relay.url(&cluster.database), "one", "60s");
    let node = Node { gateway: plan.join(&cluster.operator_site).start(), relay };
    node.soon(SOON, &cluster.key, 200);
    node.relay.fall_silent_in_an_answer_of(4096);
    // many rows for the next fetch
    let many = "INSERT INTO portcullis.audit (id, at, via, actor, action, subject, object, outcome)
        SELECT audit + n, 0, 'api', '1a1', 'create', 'account', '-', 'refused'
        FROM portcullis.change_head, generate_series(1, 1000) AS n;
        UPDATE portcullis.change_head SET audit = audit + 1000";
    cluster.server.sql(&cluster.database, &format!("BEGIN; {many}; COMMIT"));
    wait_for(PATIENCE, "the record goes silent", || node.relay.has_swallowed());
    let since = Instant::now();
    let outcome = cluster.deactivate(&cluster.key);
    assert!(matches!(outcome.code, 0 | 3), "{outcome:?}");
    // long before its lease ends, by a connection that answers
    node.soon(Duration::from_secs(10), &cluster.key, 401);
    assert!(since.elapsed() < Duration::from_secs(15), "{:?}", since.elapsed());
    node.logged(SOON, "no answer within 5s");
    assert_eq!(node.status(&cluster.new_key()), 200);
}
