//! Every page, looked at from all sides.

use std::net::Ipv4Addr;

use jiff::Timestamp;

use crate::page_checks::from_all_sides;
use crate::person::{Person, admin, key};
use crate::support::api::Api;
use crate::support::browser::Browser;
use crate::support::browser::keys::{END, LEFT};
use crate::support::http1::{Client, Request};
use crate::support::stage::Stage;
use crate::support::upstream::Answer;

const LONG_NAME: &str = "nightly-export-of-all-invoices-to-the-data-warehouse-in-the-other-region-that-nobody-may-\
                         switch-off-before-the-end-of-the-quarter-because-finance-said-so";
const MANY_WORDS: &str = "Reads what the shop has sold since the last run, writes it to the warehouse, and tells the \
                          people of finance by mail when it was late. Ask Grace before you change anything.";

/// Requests that end in every way that the chart knows.
fn traffic(stage: &Stage) {
    stage.upstream.answer("/v1/projects/e1/broken", Answer::BytesThenClose(Vec::new()));
    let send = |target: &str, key: Option<&crate::support::cli::Key>, count: usize| {
        for _ in 0..count {
            let request = Request::get(target);
            let request = key.map_or_else(|| Request::get(target), |key| request.key(key));
            let mut client = Client::connect_from(Ipv4Addr::LOCALHOST, stage.gateway.http());
            client.send(request.end());
            client.read();
        }
    };
    send("/v1/projects/e1/hosts", Some(&stage.e1), 12);
    send("/v1/projects/e2/hosts", Some(&stage.e2), 5);
    send("/v1/projects/e1/hosts", None, 4);
    send("/v1/projects/e2/hosts", Some(&stage.e1), 3);
    send("/v1/projects/e1/%2e%2e/e2", Some(&stage.e1), 2);
    send("/v1/projects/e1/broken", Some(&stage.e1), 2);
}

/// A stage with something to see, and the ids of what was made.
struct Sight {
    stage: Stage,
    alice: String,
    /// A key with a long name.
    long: String,
    stopped: String,
    /// An account, a key and an environment whose names cannot be broken.
    unbroken: [String; 3],
}

fn sight() -> Sight {
    let stage = Stage::start();
    let alice = stage.gateway.create_account("alice", "user");
    stage.gateway.add_member("e1", "alice", "owner");
    stage.gateway.create_account(&LONG_NAME[..120], "user");
    traffic(&stage);
    let api = admin(&stage);
    let environment = "projects/e1/";
    // it has ended when the first page is opened; the other says that it will
    ending(&api, "monthly", 1);
    ending(&api, "nightly", 3 * 86_400);
    let long = key(&api, environment, LONG_NAME, MANY_WORDS).id;
    let stopped = key(&api, environment, "ci-server", "deploys from the main branch").id;
    api.act(&format!("/v2-beta/apikeys/{stopped}"), "deactivate");
    key(&api, environment, "钥匙 für Zoë's “old” laptop <b>", "");
    key(&api, "", "laptop", "");
    let name = "W".repeat(248);
    let account = stage.gateway.create_account(&name, "user");
    let description = "M".repeat(248);
    let environment = serde_json::json!({ "id": "w".repeat(64), "name": name, "description": description });
    let environment = api.create("/v2-beta/projects", &environment)["id"].as_str().unwrap().to_owned();
    let unbroken = key(&api, &format!("projects/{environment}/"), &name, &description).id;
    stage.gateway.add_member(&environment, &account, "member");
    stage.gateway.import_environment_key("e1", &"k".repeat(128), "a chosen secret of some length");
    Sight { stage, alice, long, stopped, unbroken: [account, unbroken, environment] }
}

/// Makes a key of `e1` that ends in so many seconds.
fn ending(api: &Api<'_>, name: &str, seconds: i64) {
    let end = Timestamp::from_second(Timestamp::now().as_second() + seconds + 1).unwrap();
    let body = serde_json::json!({ "name": name, "expires": end.to_string() });
    api.create_key("/v2-beta/projects/e1/apikeys", &body);
}

/// Opens a page and looks at it.
#[track_caller]
fn see(person: &Person, path: &str, picture: &str) {
    person.open(path);
    from_all_sides(&person.browser, person.browser.find_now("#sign-out").is_some(), picture);
}

#[test]
fn the_pages_of_keys_are_good_to_look_at_from_all_sides() {
    let Sight { stage, alice, long, stopped, unbroken } = &sight();
    let person = &Person::signed_in(&stage.gateway, &stage.gateway.admin);
    let browser = &person.browser;
    see(person, "/keys?environment=e1", "keys");
    for shown in [".state.expired", ".expires.soon", "#environment-keys-expiring"] {
        browser.see(shown);
    }
    see(person, "/keys?environment=e1&environment-search=nothing+of+the+kind", "keys-none-found");
    see(person, &format!("/keys?account={alice}"), "account-keys-none");
    see(person, &format!("/keys/{long}"), "key");
    see(person, "/keys/new?environment=e1", "key-new");
    see(person, &format!("/keys/{stopped}/edit"), "key-edit");
    see(person, &format!("/keys/{long}/deactivate"), "key-deactivate");
    see(person, &format!("/keys/{stopped}/activate"), "key-activate");
    see(person, &format!("/keys/{stopped}/delete"), "key-delete");
    see(person, "/keys/1c1/deactivate", "key-own-deactivate");
    let [account, key, environment] = unbroken;
    see(person, &format!("/keys?environment={environment}"), "unbroken-keys");
    see(person, &format!("/keys?account={account}"), "unbroken-account-keys");
    see(person, &format!("/keys/{key}"), "unbroken-key");
    see(person, &format!("/keys/{key}/edit"), "unbroken-key-edit");
    see(person, &format!("/keys/new?environment={environment}"), "unbroken-key-new");
    see(person, &format!("/keys/{key}/deactivate"), "unbroken-key-deactivate");
    browser.find("#deactivate-key-submit").click();
    browser.see("#notice");
    from_all_sides(browser, true, "unbroken-notice");
    see(person, &format!("/keys/deactivate?key={long}&key={key}&key=1c1&to=/keys"), "keys-deactivate");
    browser.find("#deactivate-keys-submit").click();
    browser.see("#deactivated-table");
    from_all_sides(browser, true, "keys-deactivated");

    // somebody else was quicker: what was typed is kept, and what is there now is shown
    person.open(&format!("/keys/{stopped}/edit"));
    admin(stage).put(&format!("/v2-beta/apikeys/{stopped}"), &serde_json::json!({ "name": "ci-server-2" }));
    browser.find("#field-description").clear();
    browser.find("#field-description").type_text("deploys from any branch");
    browser.find("#edit-key-submit").click();
    assert!(browser.see("#edit-key-current").text().contains("ci-server-2"));
    assert_eq!(browser.find("#field-description").value(), "deploys from any branch");
    from_all_sides(browser, true, "key-edit-changed");

    person.open("/keys/new?environment=e1");
    browser.find("#field-name").type_text(&LONG_NAME[..90]);
    browser.find("#new-key-submit").click();
    browser.see("#secret-key");
    from_all_sides(browser, true, "created");
    browser.reload();
    browser.see("#gone");
    from_all_sides(browser, true, "created-gone");

    person.open("/keys?environment=e1");
    in_a_dialog(browser);

    // a user who is a member of e2 sees its keys, and is offered nothing that members may not
    stage.gateway.add_member("e2", "alice", "member");
    person.open("/keys");
    browser.see("#sign-out").click();
    person.sign_in(&stage.gateway.create_account_key("alice"));
    see(person, "/keys?environment=e2", "keys-of-a-member");
    assert!(
        browser.find_now("#environment-keys-add").is_none()
            && browser.find_now("#account-keys-add").is_some()
    );
    assert_eq!(browser.find_all("nav li").len(), 2);
}

#[test]
fn the_other_pages_are_good_to_look_at_from_all_sides() {
    let Sight { stage, alice, unbroken, .. } = &sight();
    let person = &Person::at(&stage.gateway);
    let browser = &person.browser;
    see(person, "/sign-in?why=time", "sign-in");
    browser.find("#access-key").type_text("pca_1");
    browser.find("#secret-key").type_text("pcs_1");
    browser.find("#sign-in button").click();
    browser.see("#problem");
    from_all_sides(browser, false, "sign-in-refused");
    browser.find("#access-key").clear();
    person.sign_in(&stage.gateway.admin);

    see(person, "/", "overview");
    browser.see("#ending-soon");
    the_chart_can_be_read(person);
    see(person, "/environments", "environments");
    see(person, "/environments/e1", "environment");
    see(person, "/environments/new", "environment-new");
    browser.find("#field-id").type_text("e1");
    browser.find("#new-environment-submit").click();
    assert!(browser.see("#problem-id").text().contains("'e1' is taken"), "the error stands where it arose");
    assert!(browser.find("#field-id").is_focused());
    from_all_sides(browser, true, "environment-new-refused");
    see(person, "/environments/e1/members/add", "member-add");
    see(person, &format!("/environments/e1/members/{alice}/role"), "member-role");
    see(person, "/accounts", "accounts");
    see(person, &format!("/accounts/{alice}"), "account");
    see(person, "/accounts/new", "account-new");
    let [account, _, environment] = unbroken;
    see(person, &format!("/environments/{environment}"), "unbroken-environment");
    see(person, &format!("/environments/{environment}/edit"), "unbroken-environment-edit");
    see(person, &format!("/environments/{environment}/delete"), "unbroken-environment-delete");
    see(person, &format!("/environments/{environment}/members/{account}/remove"), "unbroken-member-remove");
    see(person, &format!("/accounts/{account}"), "unbroken-account");
    see(person, "/search?q=WWWW", "search");
    see(person, "/search?q=nothing+of+the+kind", "search-none-found");
    see(person, "/search", "search-refused");
    see(person, "/audit", "audit");
    browser.find(".differences summary").click();
    from_all_sides(browser, true, "audit-open");
    see(person, "/audit?from=yesterday&address=somewhere&action=explode", "audit-refused");
    see(person, &format!("/audit?object={}", "W".repeat(248)), "audit-filtered");
    see(person, "/nothing", "refused");
}

/// A menu, and the forms that open over the page.
fn in_a_dialog(browser: &Browser) {
    browser.see("#environment-keys-table tbody tr:last-child summary[aria-label^='Actions']").click();
    browser.see("#environment-keys-table tbody tr:last-child [data-action='edit']");
    from_all_sides(browser, true, "keys-menu");
    browser.find("#environment-keys-add").click();
    browser.see("dialog #new-key");
    from_all_sides(browser, true, "keys-dialog");
}

/// The legend says what the picture shows, and the table says the same in numbers.
fn the_chart_can_be_read(person: &Person) {
    let browser = &person.browser;
    let legend = browser.find(".legend").text();
    for words in ["Allowed 17", "Failed 2", "No valid key 4", "Forbidden 3", "Refused 2"] {
        assert!(legend.contains(words), "{legend}");
    }
    let label = browser.find("#chart > svg").label();
    assert!(
        label.starts_with("28 requests in the last hour: 17 allowed, 2 failed, 4 no valid key"),
        "{label}"
    );
    // the pointer, and the arrow keys
    let point = "document.querySelectorAll('.slot rect')[0].dispatchEvent(new PointerEvent('pointerover', { bubbles: true }))";
    browser.run(point, &[]);
    assert!(
        browser.see("#chart-value").text().ends_with("UTC: no requests"),
        "{}",
        browser.find("#chart-value").text()
    );
    browser.run("document.querySelector('#chart > svg').focus()", &[]);
    let mut seen = String::new();
    for _ in 0..5 {
        browser.press(&[if seen.is_empty() { END } else { LEFT }]);
        seen += &browser.find("#chart-value").text();
    }
    assert!(seen.contains("allowed") && seen.contains("forbidden"), "{seen}");
    assert_eq!(browser.find_all(".slot.is-chosen").len(), 1);
    browser.find("#chart summary").click();
    let heads: Vec<String> = browser.find_all("#chart thead th").iter().map(|head| head.text()).collect();
    assert_eq!(heads, ["Minute", "Allowed", "Failed", "No valid key", "Forbidden", "Refused"]);
    let sums = browser.run(
        "return [1, 2, 3, 4, 5].map((column) => [...document.querySelectorAll('#chart tbody tr')]
           .reduce((sum, row) => sum + Number(row.cells[column].textContent), 0))",
        &[],
    );
    assert_eq!(sums, serde_json::json!([17, 2, 4, 3, 2]));
    from_all_sides(browser, true, "overview-table");
}
