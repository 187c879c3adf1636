//! Long lists: order, search, pages.

use serde_json::json;

use crate::page_checks::from_all_sides;
use crate::person::{Person, admin, key};
use crate::support::stage::Stage;

impl Person {
    /// The texts of a column of the environment's keys.
    fn column(&self, label: &str) -> Vec<String> {
        let script = "return [...document.querySelectorAll('#environment-keys-table td')]
            .filter((cell) => cell.dataset.label === arguments[0]).map((cell) => cell.textContent.trim())";
        serde_json::from_value(self.browser.run(script, &[label.into()])).unwrap()
    }

    /// Clicks what leads to another page of the list, which must be as every page must be.
    #[track_caller]
    fn follow(&self, selector: &str) {
        let before = self.path();
        self.browser.see(selector).click();
        self.browser.wait_until("another page has come", |_| self.path() != before);
        self.browser.see("#environment-keys-list");
        self.look();
    }
}

#[test]
fn sixty_keys_are_sorted_searched_and_leafed_through() {
    let stage = Stage::start();
    let api = admin(&stage);
    // several at once: each waits until it is in force
    std::thread::scope(|scope| {
        for first in 1..=10 {
            let api = &api;
            scope.spawn(move || {
                for number in (first..=60).step_by(10) {
                    let description = if number % 10 == 0 { "round" } else { "" };
                    key(api, "projects/e1/", &format!("key {number:02}"), description);
                }
            });
        }
    });
    let person = Person::signed_in(&stage.gateway, &stage.gateway.admin);
    let browser = &person.browser;
    let names = |numbers: &mut dyn Iterator<Item = u32>| -> Vec<String> {
        numbers.map(|number| format!("key {number:02}")).collect()
    };
    person.open("/keys?environment=e1");
    // one key of the stage has no name: it stands first
    let first = person.column("Name");
    assert_eq!((first.len(), &first[1..]), (20, &names(&mut (1..20))[..]));
    person.follow("#environment-keys-next");
    assert_eq!(person.column("Name"), names(&mut (20..40)));
    person.follow("#environment-keys-next");
    person.follow("#environment-keys-next");
    assert_eq!(person.column("Name"), names(&mut (60..61)));
    assert!(browser.find_now("#environment-keys-next").is_none(), "the last page has no next one");
    assert_eq!(browser.find("#environment-keys-total").text(), "61 keys");
    person.follow("#environment-keys-previous");
    assert_eq!(person.column("Name"), names(&mut (40..60)));
    person.follow("#environment-keys-next");
    browser.back();
    browser.wait_until("the page before is back", |_| person.column("Name") == names(&mut (40..60)));
    person.follow("#environment-keys-first");
    assert_eq!(person.column("Name").len(), 20);

    let sort = |field: &str| format!("#environment-keys-table [data-sort='{field}']");
    person.follow(&sort("name"));
    assert_eq!(person.column("Name")[..20], names(&mut (41..=60).rev())[..]);
    browser.see("#environment-keys-table th[aria-sort='descending'] [data-sort='name']");
    assert_eq!(browser.find_all("#environment-keys-table th[aria-sort='none']").len(), 7);
    person.follow(&sort("description"));
    person.follow(&sort("description"));
    assert_eq!(person.column("Description")[..6], ["round"; 6]);

    browser.see("#environment-keys-search").type_text("ROUND");
    person.follow("#environment-keys .search button");
    let mut found = person.column("Name");
    found.sort();
    assert_eq!(found, names(&mut (1..=6).map(|ten| ten * 10)));
    assert!(person.path().ends_with("#environment-keys"), "the list is in sight: {}", person.path());
    assert_eq!(browser.find("#environment-keys-search").value(), "ROUND");
    person.follow("#environment-keys-clear");
    person.follow("#environment-keys-list .sizes a");
    assert_eq!(person.column("Name").len(), 50);

    let access_key = person.column("Access key")[7].clone();
    browser.see("#environment-keys-search").type_text(&access_key[..12]);
    person.follow("#environment-keys .search button");
    assert_eq!(person.column("Access key"), [access_key]);
    // several at once
    person.follow("#environment-keys-clear");
    for row in 2..=3 {
        browser.see(&format!("#environment-keys-table tbody tr:nth-child({row}) .choice input")).click();
    }
    browser.see("#environment-keys-bulk-submit").click();
    browser.see("#deactivate-keys-list");
    assert_eq!(browser.find_all("#deactivate-keys-list li").len(), 2);
    person.look();
    browser.see("#deactivate-keys-submit").click();
    browser.see("#deactivated-table");
    assert_eq!(browser.find_all("#deactivated-table .outcome.done").len(), 2);
    person.look();
    browser.see(".up a").click();
    browser.see("#environment-keys-table");
    let inactive = browser.find_all("#environment-keys-table [data-state='inactive']").len();
    assert_eq!(inactive, 2, "{} {}", person.path(), person.text());

    // the other list of the page is as it was
    assert_eq!(browser.find_all("#account-keys-table tbody tr").len(), 1);
}

#[test]
fn one_of_many_environments_is_found() {
    let stage = Stage::start();
    let api = admin(&stage);
    std::thread::scope(|scope| {
        for first in 1..=10 {
            let api = &api;
            scope.spawn(move || {
                for number in (first..=110).step_by(10) {
                    let body =
                        json!({ "id": format!("many{number}"), "name": format!("Number {number:03}") });
                    api.create("/v2-beta/projects", &body);
                }
            });
        }
    });
    let person = Person::signed_in(&stage.gateway, &stage.gateway.admin);
    let browser = &person.browser;
    person.open("/keys");
    assert_eq!(browser.find_all("#environment option").len(), 100, "and a box to find the others");
    from_all_sides(browser, true, "keys-many-environments");
    browser.see("#environment-filter").type_text("number 107");
    browser.see("#environment-show").click();
    browser.wait_until("the filter holds", |_| person.path().contains("environment-filter=number+107"));
    assert_eq!(browser.find("#environment").value(), "many107");
    assert!(browser.see("#environment-keys .endpoints a").text().ends_with("/v1/projects/many107"));
    person.look();
}
