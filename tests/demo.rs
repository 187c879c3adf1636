//! Every line that the demo prints, pasted into a shell, gives the status that it promises.

#![allow(clippy::unwrap_used, reason = "helpers of tests stop the test where something is not as it must be")]

mod support;

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use support::cli::Cli;

/// For everything that waits.
const DEADLINE: Duration = Duration::from_mins(1);

/// A running demo in a temporary folder of its own. Killed if the test fails before it has ended.
struct Demo {
    child: Child,
    temporary: tempfile::TempDir,
    promises: Vec<Promise>,
    page: Page,
}

/// Where the web page is, and the pair that opens it.
#[derive(Debug, Default)]
struct Page {
    url: String,
    access_key: String,
    secret: String,
}

/// A line to paste and what it will show: a status, or where there is none, success.
#[derive(Debug)]
struct Promise {
    status: Option<u16>,
    command: String,
}

impl Demo {
    fn start() -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let mut child = Cli::program()
            .arg("demo")
            .env("TMPDIR", temporary.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program can be started");
        let (sender, lines) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let mut demo = Self { child, temporary, promises: Vec::new(), page: Page::default() };
        let mut status = None;
        loop {
            let line = lines.recv_timeout(DEADLINE).expect("the demo prints its lines");
            if line.contains("Ctrl-C") {
                return demo;
            }
            if let Some(rest) = line.strip_prefix("The web page is at ") {
                demo.page.url.extend(rest.split(' ').next());
            } else if let Some(access_key) = line.strip_prefix("  access key  ") {
                demo.page.access_key.push_str(access_key);
                continue;
            } else if let Some(secret) = line.strip_prefix("  secret key  ") {
                demo.page.secret.push_str(secret);
                continue;
            }
            match line.strip_prefix("  ").map(|line| line.strip_prefix("# ").ok_or(line)) {
                Some(Ok(comment)) => status = comment.split(':').next().and_then(|word| word.parse().ok()),
                Some(Err(command)) => {
                    demo.promises.push(Promise { status: status.take(), command: command.to_owned() });
                }
                None => {}
            }
        }
    }

    /// Sends the signal and waits for the end.
    fn stop(&mut self, signal: &str) {
        let kill = format!("kill -{signal} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        let asked = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            assert!(asked.elapsed() < DEADLINE, "the demo does not end after SIG{signal}");
            thread::sleep(Duration::from_millis(10));
        }
        assert!(self.child.wait().unwrap().success(), "the demo ends well");
    }

    fn files(&self) -> Vec<PathBuf> {
        let entries = self.temporary.path().read_dir().unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a line as a person pastes it; what it printed, and whether it succeeded.
fn paste(command: &str) -> (String, bool) {
    let mut shell = Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut stdout, mut stderr) = (shell.stdout.take().unwrap(), shell.stderr.take().unwrap());
    let (sender, output) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = stdout.read_to_end(&mut bytes);
        let _ = sender.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    let errors = thread::spawn(move || {
        let mut text = String::new();
        let _ = stderr.read_to_string(&mut text);
        text
    });
    let Ok(output) = output.recv_timeout(DEADLINE) else {
        let _ = shell.kill();
        panic!("this line does not end: {command}");
    };
    let success = shell.wait().unwrap().success();
    if !success {
        eprintln!("{command}\n{}", errors.join().unwrap());
    }
    (output, success)
}

/// The status in what `curl -i` printed.
fn shown(output: &str) -> Option<u16> {
    output.split(' ').nth(1)?.trim().parse().ok()
}

fn is_port_open(url: &str) -> bool {
    let address = url.split("//").nth(1).and_then(|rest| rest.split('/').next()).unwrap();
    std::net::TcpStream::connect(address).is_ok()
}

#[test]
fn every_line_of_the_demo_shows_the_status_it_promises_and_nothing_is_left() {
    let mut demo = Demo::start();
    assert_eq!(demo.files().len(), 1, "everything lies in one folder");
    let statuses: Vec<u16> = demo.promises.iter().filter_map(|promise| promise.status).collect();
    for status in [200, 401, 403, 400, 101] {
        assert!(statuses.contains(&status), "no line shows {status}: {statuses:?}");
    }
    let mut deactivated = false;
    for Promise { status, command } in &demo.promises {
        let asked = Instant::now();
        let output = loop {
            let (output, success) = paste(command);
            assert!(success, "this line fails: {command}\n{output}");
            if status.is_none_or(|status| shown(&output) == Some(status)) {
                break output;
            }
            // a key that was just deactivated has half a second left
            let waits = deactivated && asked.elapsed() < Duration::from_millis(500);
            assert!(waits, "{command}\n{output}\nis not {status:?}");
        };
        deactivated = command.contains(" deactivate ");
        if command.contains("/events") {
            assert_eq!(output.matches("data: this is event").count(), 5, "{output}");
        }
        if command.contains("/subscribe") {
            assert!(output.contains("hello from blue"), "{output}");
        }
        if command.contains("https://") {
            assert!(output.starts_with("HTTP/2 "), "{output}");
        }
    }

    let url = demo.promises[0].command.rsplit(' ').next().unwrap().to_owned();
    assert!(is_port_open(&url));
    demo.stop("INT");
    assert_eq!(demo.files(), Vec::<PathBuf>::new(), "files are left");
    assert!(!is_port_open(&url), "something still listens at {url}");
}

#[test]
fn the_page_is_where_the_demo_says_and_opens_with_the_pair_that_it_prints() {
    let demo = Demo::start();
    let Page { url, access_key, secret } = &demo.page;
    assert!(url.starts_with("http://127.0.0.1:") && url.ends_with('/'), "{url}");
    let jar = demo.temporary.path().join("cookies");
    let sign_in = |secret: &str| {
        let (output, success) = paste(&format!(
            "curl -s -i -c {} --data-urlencode access_key={access_key} --data-urlencode secret_key={secret} \
             {url}sign-in",
            jar.display()
        ));
        assert!(success, "{output}");
        shown(&output)
    };
    assert_eq!(sign_in(access_key), Some(403), "it is the secret that opens it");
    assert_eq!(sign_in(secret), Some(303));
    let (page, success) = paste(&format!("curl -s -b {} {url}keys", jar.display()));
    assert!(success && page.contains("Signed in as"), "{page}");
    for environment in ["blue", "green"] {
        assert!(page.contains(&format!("<option value=\"{environment}\"")), "{page}");
    }
    // with what is public in it: the endpoint that the page shows is the gateway's
    let gateway = demo.promises[0].command.rsplit(' ').next().unwrap().trim_end_matches("/stacks");
    assert!(page.contains(gateway), "{gateway} is not in {page}");
}

#[test]
fn a_terminated_demo_leaves_nothing_and_two_demos_run_side_by_side() {
    let (mut one, mut other) = (Demo::start(), Demo::start());
    let first = |demo: &Demo| demo.promises[0].command.clone();
    assert_ne!(first(&one), first(&other));
    for demo in [&one, &other] {
        assert!(paste(&first(demo)).0.starts_with("HTTP/1.1 200"));
    }
    for (demo, signal) in [(&mut one, "TERM"), (&mut other, "HUP")] {
        demo.stop(signal);
        assert_eq!(demo.files(), Vec::<&Path>::new(), "files are left after SIG{signal}");
    }
}
