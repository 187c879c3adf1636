//! Keys that end by themselves, as people on the page see them.

use crate::person::Person;
use crate::support::browser::Browser;
use crate::support::stage::Stage;

/// Fills in when a key ends, in the form that is open.
#[track_caller]
fn expires(browser: &Browser, text: &str) {
    let field = browser.see("#field-expires");
    field.clear();
    field.type_text(text);
}

#[test]
fn a_person_gives_a_key_an_end_sees_it_come_and_puts_it_off() {
    let stage = Stage::start();
    let person = Person::signed_in(&stage.gateway, &stage.gateway.admin);
    let browser = &person.browser;
    person.open("/keys?environment=e1");
    assert!(browser.find_now("#environment-keys-expiring").is_none());
    browser.see("#environment-keys-add").click();
    browser.see("dialog #field-expires");
    let usual = browser
        .run("return [...document.querySelector('#field-expires').list.options].map((o) => o.value)", &[]);
    assert_eq!(usual, serde_json::json!(["1d", "30d", "90d", "365d", "never"]));
    assert_eq!(browser.find("#field-expires").value(), "", "browsers suggest what begins with what is there");
    browser.find("#field-name").type_text("nightly");
    expires(browser, "soon");
    browser.find("#new-key-submit").click();
    let problem = browser.see("#problem-expires").text();
    assert!(problem.starts_with("Expected how long from now (90d, 12h), a day (2027-01-31"), "{problem}");
    assert!(browser.find("#field-expires").is_focused());
    assert_eq!(browser.find("#field-expires").value(), "soon", "what was typed is kept");
    assert_eq!(browser.find("#field-name").value(), "nightly");
    // the browser's console tells of the 422, which was meant
    browser.console();
    expires(browser, "3d");
    browser.find("#new-key-submit").click();
    let id = browser.see("#created").attribute("data-id").unwrap();
    browser.see("#close").click();

    let row = format!("tr[data-id='{id}']");
    assert_eq!(browser.see(&format!("{row} .expires.soon")).text(), "in 3 days");
    let banner = browser.see("#environment-keys-expiring").text();
    assert_eq!(banner, "The key “nightly” ends in 3 days. Edit it to let it live longer.");
    person.look();
    person.open("/");
    let table = browser.see("#ending-soon").text();
    assert!(
        table.contains("Keys that end soon") && table.contains("nightly") && table.contains("in 3 days"),
        "{table}"
    );

    // it ends, and says so
    person.open(&format!("/keys/{id}/edit?to=/keys?environment=e1"));
    assert!(browser.find("#field-expires").value().ends_with('Z'), "the time, as it can be sent back");
    expires(browser, "2s");
    browser.find("#edit-key-submit").click();
    browser.wait_until("the key has ended", |browser| {
        browser.open(&format!("http://{}/keys?environment=e1", stage.gateway.management()));
        browser.find_now(&format!("{row} [data-state='expired']")).is_some()
    });
    person.wait_for_state(&id, "expired");
    assert!(browser.find_now("#environment-keys-expiring").is_none(), "it is no warning any more");
    person.look();
    person.open("/");
    assert!(browser.find_now("#ending-soon").is_none());

    // and works again
    person.open("/keys?environment=e1");
    person.choose(&id, "edit");
    browser.see("dialog #field-expires");
    expires(browser, "never");
    browser.find("#edit-key-submit").click();
    person.wait_for_state(&id, "active");
    assert!(browser.see("#notice").text().contains("nightly"));
    assert!(browser.see(&row).text().contains("Never"));
}

#[test]
fn a_person_whose_own_key_ends_is_told_why_they_have_to_sign_in() {
    let stage = Stage::start();
    stage.gateway.create_account("alice", "user");
    let key = stage.gateway.create_account_key("alice");
    let person = Person::signed_in(&stage.gateway, &key);
    let browser = &person.browser;
    stage.gateway.succeed(&["key", "edit", &key.id, "--expires", "2s"]);
    browser.wait_until("the session has ended", |browser| {
        browser.open(&format!("http://{}/keys", stage.gateway.management()));
        browser.find_now("#why").is_some()
    });
    assert!(browser.find("#why").text().contains("no longer works"));
    assert_eq!(browser.cookies(), []);
    person.look();
}
