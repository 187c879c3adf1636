//! What every page must hold, whoever looks at it on whatever screen in whatever colours: `page_checks.js` looks, this file
//! turns the page about.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use serde_json::json;

use crate::support::browser::{Browser, Colours, Screen};

/// Looks at the page as it is shown now.
#[track_caller]
pub fn look(browser: &Browser, is_signed_in: bool) {
    let wrong = browser.run(include_str!("page_checks.js"), &[json!(is_signed_in)]);
    let wrong: Vec<&str> = wrong.as_array().unwrap().iter().filter_map(|text| text.as_str()).collect();
    assert!(wrong.is_empty(), "{} {:?}\n{}", browser.url(), showing(browser), wrong.join("\n"));
    assert_quiet(browser);
}

/// axe-core, from the tests' own Python.
static AXE: LazyLock<String> = LazyLock::new(|| {
    let libraries = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/python/lib");
    let versions = fs::read_dir(&libraries).expect("./test installs the tests' Python");
    let mut files = versions.map(|version| {
        version.expect("an entry").path().join("site-packages/axe_playwright_python/axe.min.js")
    });
    let file = files.find(|file| file.exists()).expect("./test installs axe-playwright-python");
    fs::read_to_string(file).expect("axe-core can be read")
});

/// That axe-core finds nothing: the rules of WCAG 2.2, levels A and AA, and its own best practices.
#[track_caller]
fn assert_accessible(browser: &Browser) {
    // half a megabyte, which need not be read again for the same page at another size
    if browser.run("return !window.axe", &[]) == json!(true) {
        browser.run(&AXE, &[]);
    }
    let script =
        "return axe.run(document, { resultTypes: ['violations'] }).then((found) => found.violations.map(
        (rule) => `${rule.id} (${rule.help}): ${rule.nodes.map((node) => node.html).join(', ')}`))";
    let violations = browser.run(script, &[]);
    let violations: Vec<&str> =
        violations.as_array().expect("a list").iter().filter_map(|text| text.as_str()).collect();
    assert!(violations.is_empty(), "{} {:?}\n{}", browser.url(), showing(browser), violations.join("\n"));
}

fn showing(browser: &Browser) -> serde_json::Value {
    browser.run(
        "return [innerWidth, matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light']",
        &[],
    )
}

/// That the console has no complaint: nothing that the Content-Security-Policy stopped, nothing that is missing, no
/// error of the script. That the page itself is an answer of no success is told there too, and is meant.
#[track_caller]
pub fn assert_quiet(browser: &Browser) {
    let url = browser.url();
    let complaints: Vec<_> = browser
        .console()
        .into_iter()
        .filter(|line| line.level == "SEVERE" || line.source == "security")
        .filter(|line| line.source != "network" || !line.message.starts_with(&url))
        .collect();
    assert!(complaints.is_empty(), "{url}: {complaints:#?}");
}

/// Light or dark, and nothing that moves: colours are judged where they have come to, not on the way.
#[track_caller]
pub fn colours(browser: &Browser, colours: Colours) {
    let value = if colours == Colours::Dark { "dark" } else { "light" };
    // a picture of the whole page is as wide as the window without its scroll bar
    browser.session().chromium("Emulation.setScrollbarsHidden", &json!({ "hidden": true })).unwrap();
    let features = json!([
        { "name": "prefers-color-scheme", "value": value },
        { "name": "prefers-reduced-motion", "value": "reduce" },
    ]);
    browser.session().chromium("Emulation.setEmulatedMedia", &json!({ "features": features })).unwrap();
}

/// Looks at the page on a desktop in dark mode, and on a narrow window, a tablet and a phone in light mode. Keeps pictures
/// of the desktop in light mode and the phone in dark mode.
#[track_caller]
pub fn from_all_sides(browser: &Browser, is_signed_in: bool, picture: &str) {
    for field in browser.find_all("input:not([type=hidden]), select, textarea") {
        // what stands behind a dialog is nothing to a screen reader
        assert!(
            !field.label().is_empty() || field.role() == "none",
            "{}: a screen reader has no name for a {}",
            browser.url(),
            field.role()
        );
    }
    colours(browser, Colours::Dark);
    look(browser, is_signed_in);
    assert_accessible(browser);
    colours(browser, Colours::Light);
    browser.screenshot_whole(&format!("page-{picture}"));

    for (width, height) in [(320, 640), (768, 1024)] {
        browser.screen(Screen::Desktop(width, height));
        look(browser, is_signed_in);
    }
    browser.screen(Screen::Phone);
    look(browser, is_signed_in);
    assert_accessible(browser);
    colours(browser, Colours::Dark);
    browser.screenshot(&format!("page-{picture}-phone-dark"));
    colours(browser, Colours::Light);
    browser.screen(Screen::Desktop(1280, 800));
}
