//! The wire to a headless Chromium: its driver's process and the `WebDriver` protocol (W3C), JSON over HTTP.
//!
//! A client of our own, since a crate for it would switch on features of crates that the program under test uses too
//! (`serde_json/preserve_order`), and the tests would then run another program than the one that is delivered.

use std::io::{self, BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::PATIENCE;
use super::http1::{Client, Request};

/// Chromium resolves no name but these, so no page and no service of its own can reach beyond this machine.
/// `*.test` leads here too, for pages that are opened under a foreign name.
const NAMES: &str = "MAP *.test 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost";

const ARGUMENTS: &[&str] = &[
    "--headless",
    "--no-sandbox", // Chromium's sandbox refuses root, as which tests may run
    "--disable-gpu",
    "--disable-dev-shm-usage", // small in containers
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--no-default-browser-check",
    "--no-first-run",
    "--no-proxy-server",
    "--force-color-profile=srgb",
    "--lang=en-US",
    // Chromium ends itself when the driver's end of the pipe closes, however the driver ended
    "--remote-debugging-pipe",
];

/// Ends the driver, and by it the browser, and removes the profile when this process ends without running
/// destructors. It waits for the end of its standard input, which only we hold.
const GUARDIAN: &str = r#"cat >/dev/null
kill -KILL "$1" 2>/dev/null
sleep 1
rm -rf -- "$2""#;

/// An answer of the driver that is an error: its code, as the protocol names it, and its message.
#[derive(Debug, Clone)]
pub struct DriverError {
    /// Such as `no such element` or `stale element reference`.
    pub code: String,
    pub message: String,
}

/// A browser with one window, and the driver through which it is told what to do. Dropped, both are ended by their
/// process ids, and the browser's profile is removed.
#[derive(Debug)]
pub struct Session {
    driver: Child,
    guardian: Option<(Child, ChildStdin)>,
    address: SocketAddr,
    id: String,
    browser: u64,
    profile: TempDir,
}

impl Session {
    /// Starts a driver on a free port and a browser with a profile of its own.
    #[track_caller]
    pub fn start() -> Self {
        let profile = tempfile::Builder::new().prefix("portcullis-browser-").tempdir().expect("a directory");
        let (driver, port) = driver(profile.path());
        let mut guardian = Command::new("sh")
            .args(["-c", GUARDIAN, "guardian"])
            .arg(driver.id().to_string())
            .arg(profile.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell can be started");
        let leash = guardian.stdin.take().expect("its input was piped");
        let mut session = Self {
            driver,
            guardian: Some((guardian, leash)),
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            id: String::new(),
            browser: 0,
            profile,
        };
        session.open();
        session
    }

    #[track_caller]
    fn open(&mut self) {
        let mut arguments: Vec<String> = ARGUMENTS.iter().map(ToString::to_string).collect();
        arguments.push(format!("--user-data-dir={}", self.profile.path().join("profile").display()));
        arguments.push(format!("--host-resolver-rules={NAMES}"));
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "acceptInsecureCerts": true, // the gateway's own certificate is signed by itself
            "unhandledPromptBehavior": "ignore",
            "goog:loggingPrefs": { "browser": "ALL" },
            "goog:chromeOptions": { "binary": "/usr/bin/chromium", "args": arguments },
        } } });
        let made = self
            .exchange("POST", "/session", Some(&wanted))
            .unwrap_or_else(|error| panic!("no browser: {error:?}; ./test installs what the tests need"));
        self.browser = made["capabilities"]["goog:processID"].as_u64().expect("the browser's process id");
        made["sessionId"].as_str().expect("a session's id").clone_into(&mut self.id);
    }

    /// Calls a command of the session, such as `POST` to `/url`.
    pub fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, DriverError> {
        self.exchange(method, &format!("/session/{}{path}", self.id), body)
    }

    /// Calls a command of Chromium's own protocol (CDP), such as `Emulation.setEmulatedMedia`.
    pub fn chromium(&self, command: &str, parameters: &Value) -> Result<Value, DriverError> {
        let body = json!({ "cmd": command, "params": parameters });
        self.call("POST", "/goog/cdp/execute", Some(&body))
    }

    fn exchange(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, DriverError> {
        let request = Request::without_host(method, path)
            .header("Host", self.address.to_string())
            .header("Content-Type", "application/json; charset=utf-8")
            .header("Connection", "close")
            .body(body.map(Value::to_string).unwrap_or_default());
        let mut client = Client::connect_from(Ipv4Addr::LOCALHOST, self.address);
        client.send(request);
        // the driver's own limits end sooner, but for a browser that hangs
        let answer = client.try_read(false, 2 * PATIENCE).map_err(|error| DriverError {
            code: "no answer".to_owned(),
            message: format!("{method} {path}: {error:?}"),
        })?;
        let mut answer = answer.json();
        let value = answer["value"].take();
        match (value["error"].as_str(), value["message"].as_str()) {
            (Some(code), Some(message)) if value["stacktrace"].is_string() => {
                // the lines after the first tell of the driver's build
                let message = message.lines().next().unwrap_or_default().to_owned();
                Err(DriverError { code: code.to_owned(), message })
            }
            _ => Ok(value),
        }
    }

    /// The process id of the browser.
    pub fn browser_pid(&self) -> u64 {
        self.browser
    }

    /// The folder with all that the browser keeps.
    pub fn profile(&self) -> &Path {
        self.profile.path()
    }

    /// The process id of the driver.
    pub fn driver_pid(&self) -> u32 {
        self.driver.id()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if !self.id.is_empty() {
            self.call("DELETE", "", None).ok();
        }
        self.driver.kill().ok();
        self.driver.wait().ok();
        let deadline = Instant::now() + Duration::from_secs(5);
        while self.browser != 0 && runs(self.browser, self.profile.path()) {
            if Instant::now() > deadline {
                Command::new("kill").args(["-KILL", &self.browser.to_string()]).status().ok();
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        if let Some((mut guardian, leash)) = self.guardian.take() {
            // killed before its input ends, so that it does nothing
            guardian.kill().ok();
            guardian.wait().ok();
            drop(leash);
        }
    }
}

/// Whether the process still runs and is the browser of this profile, not another that got its number.
fn runs(pid: u64, profile: &Path) -> bool {
    // empty for one that has ended and was not waited for
    let command_line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    super::contains(&command_line, profile.as_os_str().as_encoded_bytes())
}

/// Starts a driver, and gives the port on which it listens.
#[track_caller]
fn driver(home: &Path) -> (Child, u16) {
    let mut said = String::new();
    // it takes a free port of IPv6 first, and gives up where something has the same one of IPv4
    for _ in 0..10 {
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .env("HOME", home)
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("XDG_CACHE_HOME")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("chromedriver: {error}; ./test installs what the tests need"));
        let mut output = BufReader::new(driver.stdout.take().expect("it was piped"));
        said.clear();
        while output.read_line(&mut said).is_ok_and(|read| read > 0) {
            if let Some(port) = port_in(&said) {
                // what it says later is of no use, but a full pipe would hold it up
                std::thread::spawn(move || io::copy(&mut output, &mut io::sink()));
                return (driver, port);
            }
        }
        driver.kill().ok();
        driver.wait().ok();
    }
    panic!("chromedriver did not start; it said\n{said}");
}

fn port_in(said: &str) -> Option<u16> {
    let (_, rest) = said.rsplit_once("started successfully on port ")?;
    rest.trim_end().trim_end_matches('.').parse().ok()
}
