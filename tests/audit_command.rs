//! `portcullis audit`: the audit log as JSON lines.

#![allow(clippy::unwrap_used, reason = "helpers of tests stop the test where something is not as it must be")]

mod support;

use std::io::{BufRead as _, BufReader};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc;

use serde_json::Value;
use support::cli::Cli;
use support::stage::Stage;
use support::{PATIENCE, wait_for};

/// A syslog daemon at this path.
fn daemon(path: &Path) -> UnixDatagram {
    let socket = UnixDatagram::bind(path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// The next line that the daemon gets, without what stands before it.
#[track_caller]
fn received_by(daemon: &UnixDatagram) -> String {
    let mut bytes = vec![0; 1 << 16];
    let length = daemon.recv(&mut bytes).expect("a line");
    let text = String::from_utf8(bytes[..length].to_vec()).unwrap();
    let (head, line) = text.split_once(": ").unwrap();
    let pid = head.strip_prefix("<85>portcullis[").and_then(|rest| rest.strip_suffix(']'));
    assert!(pid.is_some_and(|pid| pid.parse::<u32>().is_ok()), "{text}");
    line.to_owned()
}

/// A command that follows the audit log until it is dropped, and what it says.
struct Follower {
    command: Child,
    told: Box<dyn Iterator<Item = String>>,
}

impl Follower {
    fn start(stage: &Stage, options: &[&str]) -> Self {
        let mut command = Cli::program();
        command.args(["audit", "--follow"]).args(options);
        let command = command.arg("--config").arg(stage.gateway.site.config()).stderr(Stdio::piped()).spawn();
        let mut command = command.unwrap();
        let told = BufReader::new(command.stderr.take().unwrap()).lines().map_while(Result::ok);
        Self { command, told: Box::new(told) }
    }

    #[track_caller]
    fn says(&mut self, words: &str) {
        let line = self.told.next().expect("a line");
        assert!(line.contains(words), "{line}");
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.command.kill().ok();
        self.command.wait().ok();
    }
}

fn parsed(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

#[test]
fn the_audit_log_is_printed_and_followed_as_json_lines() {
    let stage = Stage::start();
    let printed = stage.gateway.succeed(&["audit"]).stdout;
    let lines: Vec<_> = printed.lines().map(parsed).collect();
    let created = |line: &&Value| line["action"] == "create" && line["resourceType"] == "apiKey";
    assert!(lines.iter().filter(created).count() >= 2, "{printed}");
    assert!(lines.iter().all(|line| line["type"] == "auditLog" && line["outcome"] == "done"), "{printed}");
    let number = |line: &Value| line["id"].as_str().unwrap()[3..].parse::<u64>().unwrap();
    assert!(lines.is_sorted_by_key(number), "{printed}");
    assert!(!printed.contains(&stage.e1.secret), "{printed}");

    let mut follower = Cli::program()
        .args(["audit", "--follow", "--config"])
        .arg(stage.gateway.site.config())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (sender, received) = mpsc::channel();
    let output = BufReader::new(follower.stdout.take().unwrap());
    std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    for expected in printed.lines() {
        assert_eq!(received.recv_timeout(PATIENCE).unwrap(), expected);
    }
    stage.gateway.succeed(&["key", "deactivate", &stage.e1.access_key]);
    let line = parsed(&received.recv_timeout(PATIENCE).unwrap());
    assert_eq!((&line["action"], &line["via"]), (&"deactivate".into(), &"command".into()));
    // its reader is gone: it ends by itself with what comes next
    drop(received);
    wait_for(PATIENCE, "the end of the command", || {
        stage.gateway.succeed(&["key", "edit", &stage.e1.id, "--expires", "90d"]);
        follower.try_wait().unwrap().is_some_and(|status| status.success())
    });
}

#[test]
fn syslog_gets_every_line_also_one_that_was_away() {
    let stage = Stage::start();
    let folder = tempfile::tempdir().unwrap();
    let (socket, position) = (folder.path().join("log"), folder.path().join("position"));
    let (socket_text, position_text) = (socket.to_str().unwrap(), position.to_str().unwrap());
    let printed = stage.gateway.succeed(&["audit"]).stdout;

    // nobody is there: a command that does not wait says so
    let refused = stage.gateway.run(&["audit", "--syslog", socket_text]);
    assert!(
        refused.code == 1 && refused.stderr.contains("syslog does not take the audit log"),
        "{refused:?}"
    );

    let mut follower = Follower::start(&stage, &["--syslog", socket_text, "--position", position_text]);
    follower.says("the lines wait until it does");
    let first = daemon(&socket);
    for expected in printed.lines() {
        assert_eq!(received_by(&first), expected);
    }
    follower.says("takes the audit log again");

    // it is started anew, and something happens meanwhile
    drop(first);
    std::fs::remove_file(&socket).unwrap();
    stage.gateway.succeed(&["key", "edit", &stage.e1.id, "--name", "meanwhile"]);
    follower.says("the lines wait until it does");
    let second = daemon(&socket);
    assert_eq!(parsed(&received_by(&second))["action"], "edit");
    stage.gateway.succeed(&["key", "deactivate", &stage.e1.access_key]);
    assert_eq!(parsed(&received_by(&second))["action"], "deactivate");

    // another follower goes on from the position
    let last = stage.gateway.succeed(&["audit"]).stdout.lines().count();
    wait_for(PATIENCE, "the position is kept", || {
        std::fs::read_to_string(&position).is_ok_and(|text| text == format!("{last}\n"))
    });
    drop(follower);
    stage.gateway.succeed(&["key", "activate", &stage.e1.access_key]);
    let follower = Follower::start(&stage, &["--syslog", socket_text, "--position", position_text]);
    assert_eq!(parsed(&received_by(&second))["action"], "activate");
    drop(follower);

    // also on standard output
    wait_for(PATIENCE, "the position is kept", || {
        stage.gateway.succeed(&["audit", "--position", position_text]).stdout.is_empty()
    });
    for (content, why) in
        [("9999\n", "the store is another one"), ("x", "holds no position"), ("-1", "holds no position")]
    {
        std::fs::write(&position, content).unwrap();
        let refused = stage.gateway.run(&["audit", "--position", position_text]);
        assert!(refused.code == 1 && refused.stderr.contains(why), "{refused:?}");
    }
}

#[test]
fn a_syslog_that_makes_no_room_is_waited_for() {
    let stage = Stage::start();
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("log");
    let slow = daemon(&socket);
    let printed = stage.gateway.succeed(&["audit"]).stdout;
    // as many datagrams as the system holds for a socket that nobody reads
    let mut filler = 0;
    let mut fill = || {
        let socket_of_its_own = UnixDatagram::unbound().unwrap();
        socket_of_its_own.set_nonblocking(true).unwrap();
        let sent = std::iter::from_fn(|| socket_of_its_own.send_to(b"x", &socket).ok()).count();
        filler += sent;
        sent > 0
    };
    while fill() {}
    let mut follower = Follower::start(&stage, &["--syslog", socket.to_str().unwrap()]);
    follower.says("the lines wait until it does");
    for _ in 0..filler {
        slow.recv(&mut [0]).unwrap();
    }
    for expected in printed.lines() {
        assert_eq!(received_by(&slow), expected);
    }
}
