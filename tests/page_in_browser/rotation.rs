//! A key's new secret, as a person on the page gives it.

use crate::person::{Person, paste};
use crate::support::cli::Key;
use crate::support::http1::Request;
use crate::support::stage::Stage;

#[test]
fn a_person_rotates_a_key_sees_who_uses_the_former_secret_and_ends_it() {
    let stage = Stage::start();
    let person = Person::signed_in(&stage.gateway, &stage.gateway.admin);
    let browser = &person.browser;
    let former = &stage.e1;
    person.open("/keys?environment=e1");
    person.choose(&former.id, "rotate");
    let explained = browser.see("dialog").text();
    assert!(explained.contains("The former secret key works for a while longer"), "{explained}");
    assert_eq!(browser.find("dialog #field-overlap").value(), "24h");
    person.look();
    browser.find("dialog #field-overlap option[value='unused 2h']").click();
    browser.find("dialog #rotate-key-submit").click();

    let secret = browser.see("#secret-key").text();
    assert_ne!(secret, former.secret);
    let told = browser.find("#former").text();
    assert!(told.contains("nobody has used it for 2h"), "how long the former one works: {told}");
    person.look();
    assert!(paste(&browser.find("#curl").text()).starts_with("GET "), "the line that is shown works");
    browser.find("#close").click();

    // the two secrets with their uses, side by side
    let current = Key { secret, ..former.clone() };
    for key in [former, &current] {
        stage.passes(Request::get("/v1/projects/e1/x").key(key));
    }
    let page = format!("/keys/{}", former.id);
    browser.wait_until("the use of the former secret is shown", |_| {
        person.open(&page);
        let text = person.text().to_lowercase();
        text.split("former secret last used")
            .nth(1)
            .is_some_and(|used| used.contains("ago") && used.contains("127."))
    });
    let text = person.text();
    assert!(text.contains("Until it is unused for 2h, at the latest until "), "{text}");

    person.open("/keys?environment=e1");
    person.choose(&former.id, "end-rotation");
    assert!(browser.see("dialog").text().contains("stops working at once"));
    person.look();
    browser.see("dialog #end-rotation-submit").click();
    browser.wait_until("it is said that it has ended", |browser| {
        let notice = browser.run("return document.getElementById('notice')?.textContent ?? ''", &[]);
        notice.as_str().is_some_and(|notice| notice.contains("has ended. In force on "))
    });
    stage.refuses(Request::get("/v1/projects/e1/x").key(former), &[401]);
    stage.passes(Request::get("/v1/projects/e1/x").key(&current));
    person.open(&page);
    assert!(!person.text().to_lowercase().contains("former secret"));
}
