//! Checks the harness itself: its server and its network behave as it says.

use std::time::{Duration, Instant};

use crate::support::gateway::Plan;
use crate::support::http1::Request;
use crate::support::postgres::{Postgres, Stop};
use crate::support::stays;
use crate::support::upstream::Upstream;

#[test]
fn a_server_is_stopped_killed_paused_promoted_and_restored() {
    let begin = Instant::now();
    let server = Postgres::start();
    eprintln!("started in {:?}", begin.elapsed());
    let database = server.create_database();
    let rows = |server: &Postgres| server.sql(&database, "SELECT count(*) FROM t");
    server.sql(&database, "CREATE TABLE t (x int); INSERT INTO t VALUES (1)");
    let backup = server.backup();
    let standby = server.standby();
    server.sql(&database, "INSERT INTO t VALUES (2)");
    server.wait_for_standby(&standby);
    for end in [Some(Stop::Fast), Some(Stop::Immediate), None] {
        end.map_or_else(|| server.kill(), |how| server.stop(how));
        assert!(server.try_sql(&database, "SELECT 1").is_err());
        server.start_again();
        assert_eq!(rows(&server), "2");
    }
    server.pause();
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| rows(&server));
        stays(Duration::from_millis(300), "a server that stands still answers nothing", || {
            !asking.is_finished()
        });
        server.go_on();
        assert_eq!(asking.join().expect("an answer"), "2");
    });
    server.kill();
    standby.promote();
    standby.sql(&database, "INSERT INTO t VALUES (3)");
    assert_eq!(rows(&standby), "3");
    server.restore(&backup);
    server.start_again();
    assert_eq!(rows(&server), "1");
}

#[test]
fn two_gateways_share_a_record() {
    let server = Postgres::start();
    let relay = server.relay();
    let url = relay.url(&server.create_database());
    let upstream = Upstream::start();
    let plan = |name| Plan::new(&upstream).postgres(&url, name, "2s");
    let one = plan("one").prepare();
    one.create_environment("e1");
    let key = one.create_environment_key("e1");
    let two = plan("two").join(&one).start();
    let one = one.start();
    for gateway in [&one, &two] {
        let answer = gateway.exchange(Request::get("/v1/projects/e1/x").key(&key).end());
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let listed = one.json(&["gateways"]);
    assert_eq!(listed["data"].as_array().map(Vec::len), Some(2), "{listed}");
}
