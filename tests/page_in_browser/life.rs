//! The whole life of a key, as a person who has never seen the page lives it.

use crate::person::{Person, paste};
use crate::support::browser::Browser;
use crate::support::stage::Stage;

/// What the panel after the creation shows, with what its buttons copy.
struct Pair {
    id: String,
    access_key: String,
    secret: String,
    curl: String,
}

/// Reads the panel that is shown once, and tries its buttons.
#[track_caller]
fn take_pair(person: &Person) -> Pair {
    let browser = &person.browser;
    let secret = browser.see("#secret-key").text();
    assert!(secret.starts_with("pcs_") && secret.len() == 50, "{secret}");
    person.look();
    let copied = |name: &str| {
        let button = browser.see(&format!("#copy-{name}"));
        button.click();
        browser.wait_until("it is copied", |_| button.attribute("data-copied").is_some());
        assert_eq!(browser.find("#live .unseen").text(), "Copied.", "said to those who hear the page");
        let text = browser.clipboard();
        assert_eq!(text, browser.find(&format!("#{name}")).text(), "{name}");
        text
    };
    let pair = Pair {
        id: browser.find("#created").attribute("data-id").unwrap(),
        access_key: copied("access-key"),
        secret: copied("secret-key"),
        curl: copied("curl"),
    };
    assert_eq!(pair.secret, secret);
    assert_downloaded(browser, &pair);
    assert!(browser.find("#warning").text().contains("cannot be seen again"));
    browser.reload();
    browser.see("#gone");
    assert!(!browser.source().contains("pcs_"), "the secret is shown once");
    browser.back();
    browser.see("h1");
    assert!(!browser.source().contains(&pair.secret), "no way leads back to it");
    pair
}

/// That the button makes a file of the pair, without asking the gateway for it again.
#[track_caller]
fn assert_downloaded(browser: &Browser, pair: &Pair) {
    let keep = "const Real = Blob; window.Blob = function (parts) { window.file = [parts.join('')]; return new Real(parts); };
        HTMLAnchorElement.prototype.click = function () { window.file.push(this.download); };";
    browser.run(keep, &[]);
    browser.see("#download-env").click();
    let lines = format!(
        "API_ACCESS_KEY={}\nAPI_SECRET_KEY={}\nAPI_ENDPOINT={}\n",
        pair.access_key,
        pair.secret,
        pair.curl.rsplit(' ').next().unwrap()
    );
    assert_eq!(
        browser.run("return window.file", &[]),
        serde_json::json!([lines, format!("{}.env", pair.id)])
    );
}

fn status_in(answer: &str) -> Option<u64> {
    serde_json::from_str::<serde_json::Value>(answer).ok()?["status"].as_u64()
}

#[test]
fn an_environment_key_lives_its_whole_life_on_the_page() {
    let stage = Stage::start();
    let person = Person::signed_in(&stage.gateway, &stage.gateway.admin);
    let browser = &person.browser;
    browser.see("nav a[href='/keys']").click();
    browser.see("#environment");
    person.look();
    browser.find("#environment").click();
    browser.find("#environment option[value='e2']").click();
    browser.wait_until("the keys of e2 are shown", |_| person.path().contains("environment=e2"));
    let endpoint = format!("http://{}/v1/projects/e2", stage.gateway.http());
    assert_eq!(browser.see("#environment-keys .endpoints a").text(), endpoint);
    browser.find("#environment-keys .endpoints .copy").click();
    browser.see("#environment-keys .endpoints .is-copied");
    assert_eq!(browser.clipboard(), endpoint);

    browser.see("#environment-keys-add").click();
    browser.see("dialog #field-name").type_text("shop ‘front’");
    browser.find("dialog #field-description").type_text("sells\nthings");
    person.look();
    browser.find("dialog #new-key-submit").click();
    let pair = take_pair(&person);
    assert_eq!(pair.curl, format!("curl -u '{}:{}' {endpoint}", pair.access_key, pair.secret));

    // the printed line, pasted into a shell, through the gateway to an upstream that tells what it got
    let answer = paste(&pair.curl);
    assert!(answer.starts_with("GET /v1/projects/e2 HTTP/1.1"), "{answer}");
    let seen = stage.upstream.only(&pair.access_key);
    assert_eq!(seen.header("X-API-Project-Id").as_deref(), Some("e2"));
    assert_eq!(seen.header("Authorization"), None);

    let list = "/keys?environment=e2";
    person.open(list);
    person.wait_for_state(&pair.id, "active");
    person.choose(&pair.id, "edit");
    let name = browser.see("dialog #field-name");
    assert_eq!(name.value(), "shop ‘front’");
    name.clear();
    name.type_text("shop");
    browser.find("dialog #edit-key-submit").click();
    saw_notice(&person, "Key “shop” is saved. In force on ");

    person.choose(&pair.id, "deactivate");
    assert!(browser.see("dialog").text().contains("Deactivate the key “shop”?"));
    person.look();
    browser.see("dialog [data-cancel]").click();
    browser.wait_until("the question is gone", |browser| browser.find_now("dialog").is_none());
    assert!(status_in(&paste(&pair.curl)).is_none(), "Cancel cancels");
    person.choose(&pair.id, "deactivate");
    browser.see("dialog #deactivate-key-submit").click();
    person.wait_for_state(&pair.id, "inactive");
    saw_notice(&person, "Key “shop” is inactive. In force on ");
    browser.screenshot("life-deactivated");
    assert_eq!(status_in(&paste(&pair.curl)), Some(401));

    person.choose(&pair.id, "activate");
    browser.see("dialog #activate-key-submit").click();
    person.wait_for_state(&pair.id, "active");
    assert!(paste(&pair.curl).starts_with("GET "));
    person.choose(&pair.id, "deactivate");
    browser.see("dialog #deactivate-key-submit").click();
    person.wait_for_state(&pair.id, "inactive");

    person.choose(&pair.id, "delete");
    assert!(browser.see("dialog").text().contains("Delete the key “shop”?"));
    browser.see("dialog #delete-key-submit").click();
    saw_notice(&person, "Key “shop” is deleted.");
    assert!(browser.find_now(&format!("tr[data-id='{}']", pair.id)).is_none());
    assert_eq!(status_in(&paste(&pair.curl)), Some(401));

    person.open(&format!("/audit?type=key&object={}", pair.id));
    let rows = browser.find_all("#entries-table tbody tr[data-id]");
    let actions: Vec<String> =
        rows.iter().map(|row| row.text().split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    for (action, row) in
        ["remove", "deactivate", "activate", "deactivate", "edit", "create"].iter().zip(&actions)
    {
        assert!(row.contains(action) && row.contains("by page") && row.contains("Done"), "{actions:?}");
        assert!(row.contains(&stage.gateway.admin.access_key), "{row}");
    }
    assert_eq!(actions.len(), 6, "{actions:?}");
    assert!(!browser.source().contains("pcs_"));
}

#[track_caller]
fn saw_notice(person: &Person, words: &str) {
    // in one step: the page may change while it is looked at
    let script = "return document.getElementById('notice')?.textContent ?? ''";
    person.browser.wait_until(words, |browser| {
        browser.run(script, &[]).as_str().is_some_and(|notice| notice.contains(words))
    });
    person.look();
}

#[test]
fn an_account_key_lives_its_whole_life_and_a_stopped_key_ends_its_own_session() {
    let stage = Stage::start();
    let person = Person::signed_in(&stage.gateway, &stage.gateway.admin);
    let browser = &person.browser;
    person.open("/keys");
    browser.see("#account-keys-add").click();
    browser.see("dialog #field-name").type_text("second");
    browser.find("dialog #new-key-submit").click();
    let pair = take_pair(&person);
    assert_eq!(pair.curl.rsplit(' ').next(), Some(&*format!("http://{}/v1", stage.gateway.http())));
    assert!(paste(&pair.curl).starts_with("GET /v1 HTTP/1.1"));
    let seen = stage.upstream.only(&pair.access_key);
    assert_eq!(
        (seen.header("X-API-Account-Id").as_deref(), seen.header("X-API-Project-Id")),
        (Some("1a1"), None)
    );

    // the new pair signs in, and its session ends with it
    browser.see("#sign-out").click();
    assert_eq!(browser.see("#why").text(), "You have signed out.");
    let key =
        crate::support::cli::Key { id: pair.id.clone(), access_key: pair.access_key, secret: pair.secret };
    person.sign_in(&key);
    person.open("/keys");
    person.choose(&pair.id, "deactivate");
    browser.see("dialog #deactivate-key-submit").click();
    assert!(browser.find("dialog #field-confirm").is_focused(), "the browser asks for the tick");
    browser.find("dialog #field-confirm").click();
    browser.find("dialog #deactivate-key-submit").click();
    assert!(browser.see("#why").text().contains("You have stopped the key that you were signed in with"));
    person.look();
    assert_eq!(status_in(&paste(&pair.curl)), Some(401));

    person.sign_in(&stage.gateway.admin);
    person.open("/keys");
    person.wait_for_state(&pair.id, "inactive");
    person.choose(&pair.id, "delete");
    browser.see("dialog #delete-key-submit").click();
    saw_notice(&person, "Key “second” is deleted.");
    assert!(browser.find_now(&format!("tr[data-id='{}']", pair.id)).is_none());
}
