//! The session as the browser holds it.

use crate::person::Person;
use crate::support::stage::Stage;

#[test]
fn the_cookie_is_for_this_page_alone_and_ends_with_its_key() {
    let stage = Stage::start();
    stage.gateway.create_account("alice", "user");
    let key = stage.gateway.create_account_key("alice");
    let person = Person::at(&stage.gateway);
    let browser = &person.browser;
    person.open("/environments");
    assert_eq!(person.path(), "/sign-in?to=%2Fenvironments");
    assert_eq!(browser.cookies(), [], "nothing is kept of a stranger");
    person.sign_in(&key);
    assert_eq!(person.path(), "/environments", "signing in leads to what was asked for");

    let cookies = browser.cookies();
    let [cookie] = &cookies[..] else { panic!("{cookies:?}") };
    assert!(cookie.http_only && !cookie.secure, "{cookie:?}");
    assert_eq!((cookie.same_site.as_str(), cookie.path.as_str(), cookie.expiry), ("Strict", "/", None));
    assert_eq!(browser.run("return document.cookie", &[]), "", "no script sees it");
    assert_eq!(
        browser.run("return [localStorage.length, sessionStorage.length]", &[]),
        serde_json::json!([0, 0])
    );

    // somebody else stops the key
    stage.gateway.succeed(&["key", "deactivate", &key.id]);
    browser.wait_until("the session has ended", |browser| {
        browser.open(&format!("http://{}/environments", stage.gateway.management()));
        browser.find_now("#why").is_some()
    });
    assert!(browser.find("#why").text().contains("no longer works"));
    assert_eq!(browser.cookies(), []);
    person.look();
}

#[test]
fn over_tls_the_cookie_goes_over_tls_only() {
    let tls = "  tls: { certificates: [ { certificate: certs/gateway.pem, key: certs/gateway.key } ] }";
    let stage = Stage::with(|plan| plan.management(tls));
    let person = Person::over_tls(&stage.gateway);
    person.open("/");
    person.sign_in(&stage.gateway.admin);
    let cookies = person.browser.cookies();
    let [cookie] = &cookies[..] else { panic!("{cookies:?}") };
    assert!(cookie.http_only && cookie.secure && cookie.name.starts_with("__Host-"), "{cookie:?}");
    assert_eq!(cookie.same_site, "Strict");
    person.open("/keys");
}
