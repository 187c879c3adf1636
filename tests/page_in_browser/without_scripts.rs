//! The page without its script.

use crate::person::{Person, paste};
use crate::support::stage::Stage;

#[test]
fn the_whole_life_of_a_key_needs_no_script() {
    let stage = Stage::start();
    let person = Person::at(&stage.gateway);
    let browser = &person.browser;
    browser.scripts(false);
    person.open("/keys");
    person.sign_in(&stage.gateway.admin);
    // choosing needs its button
    assert_eq!(browser.find("#environment").value(), "e1");
    browser.find("#environment").type_text("e2");
    browser.see("#environment-show").click();
    browser.wait_until("the keys of e2 are shown", |_| person.path().contains("environment=e2"));
    assert!(
        browser.find_all(".copy").iter().all(|button| !button.is_visible()),
        "nothing is offered that does nothing"
    );
    person.look();

    browser.see("#environment-keys-add").click();
    browser.see("#field-name").type_text("plain");
    assert!(browser.find_now("dialog").is_none(), "a page of its own");
    browser.see("#new-key-submit").click();
    let curl = browser.see("#curl").text();
    let id = browser.find("#created").attribute("data-id").unwrap();
    person.look();
    assert!(paste(&curl).starts_with("GET /v1/projects/e2"));
    browser.see("#close").click();
    person.wait_for_state(&id, "active");

    person.choose(&id, "deactivate");
    browser.see("#deactivate-key-submit").click();
    person.wait_for_state(&id, "inactive");
    assert!(browser.see("#notice").text().contains("is inactive. In force"));
    assert!(paste(&curl).contains("\"status\":401"));
    person.look();
    person.choose(&id, "delete");
    browser.see("#delete-key-submit").click();
    browser.see("#notice");
    assert!(browser.find_now(&format!("tr[data-id='{id}']")).is_none());
    person.open("/audit");
    assert!(person.text().contains("remove"));
    browser.see(".differences summary").click();
    let changed = browser.see(".differences dl").text().split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(changed.contains("before: inactive → after: removed"), "{changed}");
    browser.see("#sign-out").click();
    assert_eq!(browser.see("#why").text(), "You have signed out.");
}
