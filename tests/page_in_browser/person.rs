//! A person at a browser, and the gateway whose page they open.

use crate::page_checks::look;
use crate::support::api::Api;
use crate::support::browser::Browser;
use crate::support::cli::Key;
use crate::support::gateway::Gateway;
use crate::support::stage::Stage;

/// Somebody who uses the page of a gateway.
pub struct Person {
    pub browser: Browser,
    base: String,
}

impl Person {
    /// A person who has not opened anything.
    #[track_caller]
    pub fn at(gateway: &Gateway) -> Self {
        Self { browser: Browser::start(), base: format!("http://{}", gateway.management()) }
    }

    /// The same, over TLS.
    #[track_caller]
    pub fn over_tls(gateway: &Gateway) -> Self {
        Self { browser: Browser::start(), base: format!("https://{}", gateway.management()) }
    }

    /// A person who has signed in.
    #[track_caller]
    pub fn signed_in(gateway: &Gateway, key: &Key) -> Self {
        let person = Self::at(gateway);
        person.open("/");
        person.sign_in(key);
        person
    }

    /// Fills in the form for signing in, which is open.
    #[track_caller]
    pub fn sign_in(&self, key: &Key) {
        self.browser.see("#access-key").type_text(&key.access_key);
        self.browser.see("#secret-key").type_text(&key.secret);
        self.browser.see("#sign-in button").click();
        self.browser.see("#sign-out");
    }

    /// Opens a page, which must be as every page must be.
    #[track_caller]
    pub fn open(&self, path: &str) {
        self.browser.open(&format!("{}{path}", self.base));
        self.look();
    }

    /// Looks at the page that is open.
    #[track_caller]
    pub fn look(&self) {
        look(&self.browser, self.browser.find_now("#sign-out").is_some());
    }

    /// Path, query and fragment of the page that is open.
    #[track_caller]
    pub fn path(&self) -> String {
        let url = self.browser.url();
        url.strip_prefix(&self.base).unwrap_or_else(|| panic!("{url} is elsewhere")).to_owned()
    }

    /// The text of the page's content.
    #[track_caller]
    pub fn text(&self) -> String {
        self.browser.find("main").text()
    }

    /// Opens the menu of a row, and chooses from it.
    #[track_caller]
    pub fn choose(&self, id: &str, action: &str) {
        self.browser.see(&format!("tr[data-id='{id}'] summary[aria-label^='Actions']")).click();
        self.browser.see(&format!("tr[data-id='{id}'] [data-action='{action}']")).click();
    }

    /// Waits until a row says that it is in a state.
    #[track_caller]
    pub fn wait_for_state(&self, id: &str, state: &str) {
        let badge = self.browser.see(&format!("tr[data-id='{id}'] [data-state='{state}']"));
        assert_eq!(badge.text().to_lowercase(), state, "the state is said, not only coloured");
    }
}

/// Runs a line as a person pastes it into a shell, and gives what it printed.
#[track_caller]
pub fn paste(line: &str) -> String {
    let output = std::process::Command::new("sh")
        .args(["-c", line])
        .stdin(std::process::Stdio::null())
        .output()
        .expect("a shell can be started");
    assert!(output.status.success(), "{line}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Creates a key that is called `name`.
#[track_caller]
pub fn key(api: &Api<'_>, owner: &str, name: &str, description: &str) -> Key {
    api.create_key(
        &format!("/v2-beta/{owner}apikeys"),
        &serde_json::json!({ "name": name, "description": description }),
    )
}

/// A stage whose management can be reached.
pub fn admin(stage: &Stage) -> Api<'_> {
    Api::admin(&stage.gateway)
}
