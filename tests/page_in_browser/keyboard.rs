//! Everything by keyboard alone.

use crate::person::{Person, paste};
use crate::support::browser::keys::{DOWN, ENTER, ESCAPE, SHIFT, SPACE, TAB};
use crate::support::stage::Stage;

impl Person {
    fn press(&self, keys: &[char]) {
        self.browser.press(keys);
    }

    /// Types into what has the focus.
    fn keys(&self, text: &str) {
        self.browser.focused().type_text(text);
    }

    /// Goes on with Tab until an element has the focus, which must be seen to have it.
    #[track_caller]
    fn tab_to(&self, selector: &str) {
        let script = "const at = document.activeElement;
            const style = getComputedStyle(at);
            const isRinged = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2;
            return [at.matches(arguments[0]), isRinged, at.outerHTML.slice(0, 200)]";
        let mut passed = Vec::new();
        for _ in 0..60 {
            self.press(&[TAB]);
            let found = self.browser.run(script, &[selector.into()]);
            assert!(
                found[1] == true || found[2].as_str().unwrap().starts_with("<body"),
                "no focus ring on {found}"
            );
            if found[0] == true {
                return;
            }
            passed.push(found[2].clone());
        }
        panic!("Tab never came to {selector}; it passed {passed:#?}");
    }

    /// Waits until an element has the focus.
    #[track_caller]
    fn has_focus(&self, selector: &str) {
        self.browser.wait_until(&format!("{selector} has the focus"), |browser| {
            browser.run("return document.activeElement.matches(arguments[0])", &[selector.into()]) == true
        });
    }
}

#[test]
fn the_whole_life_of_a_key_needs_no_mouse() {
    let stage = Stage::start();
    let person = Person::at(&stage.gateway);
    let browser = &person.browser;
    person.open("/keys?environment=e1");
    person.has_focus("#access-key");
    person.keys(&stage.gateway.admin.access_key);
    person.press(&[TAB]);
    person.keys(&stage.gateway.admin.secret);
    person.press(&[ENTER]);
    browser.see("#environment-keys-add");

    // the skip link is the first, is seen when it has the focus, and leads past the navigation
    person.tab_to(".skip");
    assert!(
        browser.run("return document.activeElement.getBoundingClientRect().left", &[]).as_f64().unwrap()
            >= 0.0
    );
    person.press(&[ENTER]);
    person.press(&[TAB]);
    assert_eq!(browser.run("return document.activeElement.closest('main') !== null", &[]), true);

    // a dialog takes the focus, keeps it, and gives it back
    person.tab_to("#environment-keys-add");
    person.press(&[ENTER]);
    person.has_focus("dialog #field-name");
    for _ in 0..6 {
        person.press(&[TAB]);
        let outside = browser.run(
            "const at = document.activeElement; return at !== document.body && !at.closest('dialog')",
            &[],
        );
        assert_eq!(outside, false, "the dialog lets the focus out");
    }
    person.press(&[ESCAPE]);
    browser.wait_until("the dialog is closed", |browser| browser.find_now("dialog").is_none());
    person.has_focus("#environment-keys-add");

    person.press(&[ENTER]);
    person.has_focus("dialog #field-name");
    person.keys("typed");
    person.press(&[ENTER]);
    browser.see("#secret-key");
    let id = browser.find("#created").attribute("data-id").unwrap();
    let curl = browser.find("#curl").text();
    person.tab_to("#copy-curl");
    person.press(&[SPACE]);
    browser.see("#copy-curl.is-copied");
    person.has_focus("#copy-curl");
    assert_eq!(browser.clipboard(), curl);
    assert!(paste(&curl).starts_with("GET /v1/projects/e1"));
    person.tab_to("#close");
    person.press(&[ENTER]);
    browser.see("#environment-keys-table");

    // a menu: opened with Enter, walked with the arrows, closed with Escape
    let row = format!("tr[data-id='{id}']");
    let summary = format!("{row} summary[aria-label^='Actions']");
    person.tab_to(&summary);
    person.press(&[ENTER]);
    browser.see(&format!("{row} [data-action='deactivate']"));
    person.press(&[DOWN]);
    person.press(&[DOWN]);
    person.has_focus(&format!("{row} [data-action='deactivate']"));
    person.press(&[ESCAPE]);
    person.has_focus(&summary);
    assert!(browser.find_all(".menu[open]").is_empty());

    let act = |action: &str, steps: usize| {
        person.press(&[SPACE]);
        for _ in 0..steps {
            person.press(&[DOWN]);
        }
        person.has_focus(&format!("{row} [data-action='{action}']"));
        person.press(&[ENTER]);
        // what stops or deletes something must be meant: the focus is on Cancel
        person.has_focus("dialog [data-cancel]");
    };
    act("deactivate", 2);
    person.press(&[ENTER]);
    browser.wait_until("Cancel closes the question", |browser| browser.find_now("dialog").is_none());
    person.has_focus(&summary);
    act("deactivate", 2);
    person.press(&[SHIFT, TAB]);
    person.has_focus("dialog #deactivate-key-submit");
    person.press(&[ENTER]);
    person.wait_for_state(&id, "inactive");
    assert!(paste(&curl).contains("\"status\":401"));

    person.tab_to(&summary);
    act("delete", 3);
    person.press(&[SHIFT, TAB]);
    person.press(&[SPACE]);
    browser.wait_until("the key is gone", |browser| browser.find_now(&row).is_none());

    // the arrows go through the environments, and lead nowhere before Enter is pressed
    person.tab_to("#environment");
    let here = person.path();
    person.press(&[DOWN]);
    assert_eq!(browser.find("#environment").value(), "e2");
    assert_eq!(person.path(), here);
    person.press(&[ENTER]);
    browser.wait_until("the keys of e2 are shown", |_| person.path().contains("environment=e2"));

    // the search box is on every page
    person.tab_to("#find-text");
    person.keys(&stage.e1.access_key);
    person.press(&[ENTER]);
    browser.wait_until("the key is found", |_| person.path() == format!("/keys/{}", stage.e1.id));
    person.look();
    person.open("/keys?environment=e2");

    // sorting
    person.tab_to("#environment-keys-table [data-sort='created']");
    person.press(&[ENTER]);
    browser.see("#environment-keys-table th[aria-sort='ascending'] [data-sort='created']");
    person.look();
}
