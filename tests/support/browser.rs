//! A person's browser: opens pages, finds, reads, clicks, types, and keeps pictures of what it shows.
//!
//! Every test has a browser of its own (it starts within a second). What should soon be there is waited for; what
//! fails says which page it was on and what the console said.

use std::path::{Path, PathBuf};
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::PATIENCE;
use super::element::{ELEMENT, Element, text};
use super::webdriver::Session;

/// Keys without a character, by the protocol's code points.
pub mod keys {
    pub const TAB: char = '\u{E004}';
    pub const ENTER: char = '\u{E007}';
    pub const ESCAPE: char = '\u{E00C}';
    pub const SPACE: char = ' ';
    pub const SHIFT: char = '\u{E008}';
    pub const CONTROL: char = '\u{E009}';
    pub const END: char = '\u{E010}';
    pub const LEFT: char = '\u{E012}';
    pub const UP: char = '\u{E013}';
    pub const DOWN: char = '\u{E015}';
}

/// What the page believes to be shown on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Screen {
    /// A window whose page area has this width and height, with a mouse.
    Desktop(u32, u32),
    /// A telephone held upright, 390 × 844 points of two pixels each way, with touch.
    Phone,
}

impl Screen {
    /// Width and height in CSS pixels.
    pub fn points(self) -> (u32, u32) {
        match self {
            Self::Desktop(width, height) => (width, height),
            Self::Phone => (390, 844),
        }
    }

    /// Width and height of a picture of it.
    pub fn pixels(self) -> (u32, u32) {
        let (width, height) = self.points();
        (width * self.scale(), height * self.scale())
    }

    fn scale(self) -> u32 {
        match self {
            Self::Desktop(..) => 1,
            Self::Phone => 2,
        }
    }
}

/// The colours that the person has asked the whole system for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colours {
    Light,
    Dark,
}

/// A line of the browser's console.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsoleLine {
    /// `SEVERE`, `WARNING`, `INFO` or `DEBUG`.
    pub level: String,
    /// `security` for the Content-Security-Policy, `network` for what could not be loaded, `javascript`,
    /// `console-api` for what a script wrote.
    pub source: String,
    pub message: String,
}

/// A cookie with its flags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cookie {
    pub name: String,
    pub value: String,
    pub path: String,
    pub domain: String,
    pub secure: bool,
    pub http_only: bool,
    /// `Strict`, `Lax` or `None`; what a browser takes for granted where the server names none.
    pub same_site: String,
    /// Seconds since 1970; `None` ends with the browser's session.
    pub expiry: Option<i64>,
}

/// A browser with one window, ended when it is dropped.
#[derive(Debug)]
pub struct Browser {
    session: Session,
}

impl Browser {
    /// A browser in light colours, with a page area of 1280 × 800.
    #[track_caller]
    pub fn start() -> Self {
        let browser = Self { session: Session::start() };
        browser.screen(Screen::Desktop(1280, 800));
        browser.colours(Colours::Light);
        browser
    }

    /// The driver's session, for what this module has no word for.
    pub fn session(&self) -> &Session {
        &self.session
    }

    #[track_caller]
    pub(super) fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        self.session.call(method, path, body).unwrap_or_else(|error| self.fail(&format!("{path}: {error:?}")))
    }

    #[track_caller]
    pub(super) fn get(&self, path: &str) -> Value {
        self.call("GET", path, None)
    }

    #[track_caller]
    pub(super) fn get_text(&self, path: &str) -> String {
        text(self.get(path))
    }

    #[track_caller]
    pub(super) fn post(&self, path: &str, body: &Value) -> Value {
        self.call("POST", path, Some(body))
    }

    #[track_caller]
    fn chromium(&self, command: &str, parameters: &Value) -> Value {
        self.session
            .chromium(command, parameters)
            .unwrap_or_else(|error| self.fail(&format!("{command}: {error:?}")))
    }

    #[track_caller]
    pub(super) fn fail(&self, what: &str) -> ! {
        let quiet = |path| self.session.call("GET", path, None).map(text).unwrap_or_default();
        let log = self.session.call("POST", "/se/log", Some(&json!({ "type": "browser" })));
        panic!(
            "{what}\non the page {} ({:?}), whose console says\n{}\nand whose source is\n{}",
            quiet("/url"),
            quiet("/title"),
            log.unwrap_or_default(),
            quiet("/source")
        );
    }

    // === what it is shown on ===

    /// Changes the size of the page area, and whether it is a telephone's.
    #[track_caller]
    pub fn screen(&self, screen: Screen) {
        let (width, height) = screen.points();
        let phone = screen == Screen::Phone;
        let metrics =
            json!({ "width": width, "height": height, "deviceScaleFactor": screen.scale(), "mobile": phone });
        self.chromium("Emulation.setDeviceMetricsOverride", &metrics);
        self.chromium("Emulation.setTouchEmulationEnabled", &json!({ "enabled": phone }));
    }

    /// Changes `prefers-color-scheme`.
    #[track_caller]
    pub fn colours(&self, colours: Colours) {
        let value = match colours {
            Colours::Light => "light",
            Colours::Dark => "dark",
        };
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": value }] });
        self.chromium("Emulation.setEmulatedMedia", &media);
    }

    /// Turns the page's own scripts on or off; [`Browser::run`] works either way.
    #[track_caller]
    pub fn scripts(&self, on: bool) {
        self.chromium("Emulation.setScriptExecutionDisabled", &json!({ "value": !on }));
    }

    // === pages ===

    /// Opens a URL and waits until the page has loaded.
    #[track_caller]
    pub fn open(&self, url: &str) {
        self.post("/url", &json!({ "url": url }));
    }

    #[track_caller]
    pub fn reload(&self) {
        self.post("/refresh", &json!({}));
    }

    #[track_caller]
    pub fn back(&self) {
        self.post("/back", &json!({}));
    }

    #[track_caller]
    pub fn url(&self) -> String {
        self.get_text("/url")
    }

    #[track_caller]
    pub fn title(&self) -> String {
        self.get_text("/title")
    }

    /// The page's document as HTML, as it stands now.
    #[track_caller]
    pub fn source(&self) -> String {
        self.get_text("/source")
    }

    /// Waits until `condition` holds, for what a click brings about; fails with `what` after [`PATIENCE`].
    #[track_caller]
    pub fn wait_until(&self, what: &str, mut condition: impl FnMut(&Self) -> bool) {
        self.wait_for(what, || condition(self).then_some(()));
    }

    #[track_caller]
    fn wait_for<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look() {
                return found;
            }
            if Instant::now() > deadline {
                self.fail(&format!("waited {PATIENCE:?} in vain: {what}"));
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    // === elements ===

    /// Waits until an element is there, seen or not, and gives the first.
    #[track_caller]
    pub fn find(&self, selector: &str) -> Element<'_> {
        self.wait_for(&format!("{selector} is on the page"), || self.find_now(selector))
    }

    /// Waits until an element is there and can be seen, and gives the first such.
    #[track_caller]
    pub fn see(&self, selector: &str) -> Element<'_> {
        self.wait_for(&format!("{selector} can be seen"), || {
            // one that went away while we looked cannot be seen
            self.find_all(selector).into_iter().find(|element| element.try_visible().unwrap_or(false))
        })
    }

    /// The first element, if there is one now.
    #[track_caller]
    pub fn find_now(&self, selector: &str) -> Option<Element<'_>> {
        self.find_all(selector).into_iter().next()
    }

    /// The elements that are there now, in the page's order.
    #[track_caller]
    pub fn find_all(&self, selector: &str) -> Vec<Element<'_>> {
        let found = self.post("/elements", &json!({ "using": "css selector", "value": selector }));
        found.as_array().expect("a list").iter().map(|element| self.element(element)).collect()
    }

    /// The element that has the focus; the body where none has.
    #[track_caller]
    pub fn focused(&self) -> Element<'_> {
        self.element(&self.get("/element/active"))
    }

    fn element(&self, reference: &Value) -> Element<'_> {
        let id = reference[ELEMENT].as_str().expect("an element's id").to_owned();
        Element::new(self, id)
    }

    /// Presses keys together on whatever has the focus, and lets them go: `&[keys::SHIFT, keys::TAB]`.
    #[track_caller]
    pub fn press(&self, keys: &[char]) {
        let down = keys.iter().map(|key| json!({ "type": "keyDown", "value": key.to_string() }));
        let up = keys.iter().rev().map(|key| json!({ "type": "keyUp", "value": key.to_string() }));
        let actions: Vec<Value> = down.chain(up).collect();
        self.post(
            "/actions",
            &json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": actions }] }),
        );
    }

    // === scripts, the console, dialogs ===

    /// Runs the body of a function in the page and gives what it returns (`null` for nothing); a promise is waited
    /// for. The page's Content-Security-Policy does not hold it up.
    #[track_caller]
    pub fn run(&self, script: &str, arguments: &[Value]) -> Value {
        self.post("/execute/sync", &json!({ "script": script, "args": arguments }))
    }

    /// What the console has got since it was last asked.
    #[track_caller]
    pub fn console(&self) -> Vec<ConsoleLine> {
        let log = self.post("/se/log", &json!({ "type": "browser" }));
        let line = |entry: &Value| ConsoleLine {
            level: text(entry["level"].clone()),
            source: text(entry["source"].clone()),
            message: text(entry["message"].clone()),
        };
        log.as_array().expect("a list").iter().map(line).collect()
    }

    /// Waits for a dialog (`alert`, `confirm`) and gives its text.
    #[track_caller]
    pub fn dialog(&self) -> String {
        text(self.wait_for("a dialog", || self.session.call("GET", "/alert/text", None).ok()))
    }

    /// Answers the dialog with OK.
    #[track_caller]
    pub fn accept(&self) {
        self.post("/alert/accept", &json!({}));
    }

    /// Answers the dialog with Cancel.
    #[track_caller]
    pub fn dismiss(&self) {
        self.post("/alert/dismiss", &json!({}));
    }

    /// What has been copied last. Asks for the right to read it first.
    #[track_caller]
    pub fn clipboard(&self) -> String {
        self.allow("clipboard-read");
        text(self.run("return navigator.clipboard.readText()", &[]))
    }

    /// Grants the page open now a right by its web name, such as `clipboard-write`.
    #[track_caller]
    pub fn allow(&self, name: &str) {
        self.post("/permissions", &json!({ "descriptor": { "name": name }, "state": "granted" }));
    }

    // === cookies ===

    /// The cookies of the page open now, those that scripts cannot see too.
    #[track_caller]
    pub fn cookies(&self) -> Vec<Cookie> {
        let cookie = |cookie: &Value| Cookie {
            name: text(cookie["name"].clone()),
            value: text(cookie["value"].clone()),
            path: text(cookie["path"].clone()),
            domain: text(cookie["domain"].clone()),
            secure: cookie["secure"] == true,
            http_only: cookie["httpOnly"] == true,
            same_site: text(cookie["sameSite"].clone()),
            expiry: cookie["expiry"].as_i64(),
        };
        self.get("/cookie").as_array().expect("a list").iter().map(cookie).collect()
    }

    #[track_caller]
    pub fn cookie(&self, name: &str) -> Option<Cookie> {
        self.cookies().into_iter().find(|cookie| cookie.name == name)
    }

    #[track_caller]
    pub fn delete_cookie(&self, name: &str) {
        self.call("DELETE", &format!("/cookie/{name}"), None);
    }

    // === pictures ===

    /// Writes what is seen now to `target/screenshots/<name>.png` and gives the file's path.
    #[track_caller]
    pub fn screenshot(&self, name: &str) -> PathBuf {
        keep(name, &self.get_text("/screenshot"))
    }

    /// [`Browser::screenshot`] of the whole page, however long it is.
    #[track_caller]
    pub fn screenshot_whole(&self, name: &str) -> PathBuf {
        let taken = self.chromium(
            "Page.captureScreenshot",
            &json!({ "captureBeyondViewport": true, "optimizeForSpeed": true }),
        );
        keep(name, taken["data"].as_str().expect("a picture"))
    }
}

/// Where pictures are kept: files of the test run.
pub fn pictures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/screenshots")
}

#[track_caller]
fn keep(name: &str, base64: &str) -> PathBuf {
    let file = pictures().join(format!("{name}.png"));
    std::fs::create_dir_all(pictures()).expect("the folder of pictures can be made");
    std::fs::write(&file, STANDARD.decode(base64).expect("base64")).expect("the picture can be written");
    file
}

/// Width and height that a PNG file says it has (RFC 2083 §4.1.1).
#[track_caller]
pub fn png_size(file: &Path) -> (u32, u32) {
    let bytes = std::fs::read(file).expect("the picture can be read");
    assert!(
        bytes.starts_with(b"\x89PNG\r\n\x1a\n") && &bytes[12..16] == b"IHDR",
        "{} is no PNG",
        file.display()
    );
    let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    assert!(bytes.ends_with(b"IEND\xaeB`\x82"), "{} is cut off", file.display());
    (number(16), number(20))
}
