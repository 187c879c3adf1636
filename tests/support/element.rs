//! An element of a page: what is read of it and done to it.

use serde_json::{Value, json};

use super::browser::Browser;
use super::webdriver::DriverError;

/// The protocol's name of an element's id.
pub(super) const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// An element of the page. Its methods fail where it has gone.
#[derive(Debug, Clone)]
pub struct Element<'browser> {
    browser: &'browser Browser,
    id: String,
}

impl<'browser> Element<'browser> {
    pub(super) fn new(browser: &'browser Browser, id: String) -> Self {
        Self { browser, id }
    }

    fn path(&self, rest: &str) -> String {
        format!("/element/{}{rest}", self.id)
    }

    /// Clicks its middle, as a person does: fails where something covers it. Waits for the page that this opens.
    #[track_caller]
    pub fn click(&self) {
        self.browser.post(&self.path("/click"), &json!({}));
    }

    /// Types into it, after what it holds.
    #[track_caller]
    pub fn type_text(&self, text: &str) {
        self.browser.post(&self.path("/value"), &json!({ "text": text }));
    }

    /// Empties a field.
    #[track_caller]
    pub fn clear(&self) {
        self.browser.post(&self.path("/clear"), &json!({}));
    }

    /// Submits the form that it is or stands in, with the checks of its fields, as Enter in a field does.
    #[track_caller]
    pub fn submit(&self) {
        self.browser.run("(arguments[0].form || arguments[0]).requestSubmit()", &[self.reference()]);
    }

    /// Its text as it is seen.
    #[track_caller]
    pub fn text(&self) -> String {
        self.browser.get_text(&self.path("/text"))
    }

    /// What the document says: `None` where the attribute is not there.
    #[track_caller]
    pub fn attribute(&self, name: &str) -> Option<String> {
        let script = "return arguments[0].getAttribute(arguments[1])";
        self.browser.run(script, &[self.reference(), json!(name)]).as_str().map(str::to_owned)
    }

    /// What it is now, such as `checked` or `value`.
    #[track_caller]
    pub fn property(&self, name: &str) -> Value {
        self.browser.get(&self.path(&format!("/property/{name}")))
    }

    /// What a field holds now.
    #[track_caller]
    pub fn value(&self) -> String {
        text(self.property("value"))
    }

    /// A computed style, such as `background-color` (`rgba(…)`).
    #[track_caller]
    pub fn style(&self, name: &str) -> String {
        self.browser.get_text(&self.path(&format!("/css/{name}")))
    }

    /// Its role to a screen reader, such as `button`.
    #[track_caller]
    pub fn role(&self) -> String {
        self.browser.get_text(&self.path("/computedrole"))
    }

    /// Its name to a screen reader.
    #[track_caller]
    pub fn label(&self) -> String {
        self.browser.get_text(&self.path("/computedlabel"))
    }

    /// Whether it can be seen.
    #[track_caller]
    pub fn is_visible(&self) -> bool {
        self.try_visible().unwrap_or_else(|error| self.browser.fail(&format!("{error:?}")))
    }

    pub(super) fn try_visible(&self) -> Result<bool, DriverError> {
        let displayed = self.browser.session().call("GET", &self.path("/displayed"), None)?;
        Ok(displayed == true)
    }

    /// Whether it is the one that has the focus.
    #[track_caller]
    pub fn is_focused(&self) -> bool {
        self.browser.run("return document.activeElement === arguments[0]", &[self.reference()]) == true
    }

    /// It, as an argument of [`Browser::run`].
    pub fn reference(&self) -> Value {
        json!({ ELEMENT: self.id })
    }
}

/// The text of a string; of nothing, nothing; of anything else, its JSON.
pub(super) fn text(value: Value) -> String {
    match value {
        Value::String(text) => text,
        Value::Null => String::new(),
        other => other.to_string(),
    }
}
