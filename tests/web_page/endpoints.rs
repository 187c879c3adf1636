//! The first request that the page suggests.

use crate::support::http1::Request;
use crate::support::stage::Stage;
use crate::visitor::{Visitor, text_of};

/// The path of the curl line of a new key, which the gateway must let pass.
#[track_caller]
fn suggested(stage: &Stage, visitor: &Visitor<'_>, owner: &str) -> Option<String> {
    let key = visitor.post(&format!("/keys/new?{owner}"), &[("name", "new")]);
    let page = visitor.page(&key.header("Location").unwrap());
    if page.contains("id=\"unreachable\"") {
        assert!(!page.contains("id=\"curl\""), "{page}");
        return None;
    }
    let curl = text_of(&page, "curl");
    let (_, path) = curl.split_once(&stage.gateway.http().to_string()).unwrap();
    let key = crate::support::cli::Key {
        id: String::new(),
        access_key: text_of(&page, "access-key"),
        secret: text_of(&page, "secret-key"),
    };
    stage.passes(Request::get(path).key(&key));
    Some(path.to_owned())
}

#[test]
fn the_suggested_request_is_one_that_the_key_may_send() {
    let routes = r#"
  - { path: /closed, upstream: api }
  - { path: /v1, upstream: api, environment: "/v1/p/{environment}", shared: [/v1/about] }
  - { path: /v2, upstream: api, account: allow }
"#;
    let stage = Stage::with(|plan| plan.routes(routes));
    let gateway = &stage.gateway;
    let admin = Visitor::signed_in(gateway, &gateway.admin);
    let ada = gateway.create_account("ada", "user");
    assert_eq!(suggested(&stage, &admin, "environment=e1").as_deref(), Some("/v1/p/e1"));
    assert_eq!(suggested(&stage, &admin, "account=1a1").as_deref(), Some("/closed"));
    assert_eq!(suggested(&stage, &admin, &format!("account={ada}")).as_deref(), Some("/v1/about"));
    gateway.add_member("e2", "ada", "readonly");
    assert_eq!(suggested(&stage, &admin, &format!("account={ada}")).as_deref(), Some("/v1/p/e2"));
    // its own page says the same
    let visitor = Visitor::signed_in(gateway, &gateway.create_account_key("ada"));
    let page = visitor.page("/keys");
    for path in ["/v1/p/e2<", "/v2<"] {
        assert!(page.contains(path), "{path} in {page}");
    }
    assert!(!page.contains("/closed<"), "{page}");
}

#[test]
fn where_nothing_is_certain_the_page_says_what_to_do() {
    let stage = Stage::with(|plan| plan.routes("  - { path: /, upstream: api }"));
    let admin = Visitor::signed_in(&stage.gateway, &stage.gateway.admin);
    let ada = stage.gateway.create_account("ada", "user");
    assert_eq!(suggested(&stage, &admin, "environment=e1"), None);
    assert_eq!(suggested(&stage, &admin, &format!("account={ada}")), None);
    assert_eq!(suggested(&stage, &admin, "account=1a1").as_deref(), Some("/"));
    let page = admin.page("/keys?environment=e1");
    assert!(text_of(&page, "environment-keys-unreachable").contains("environment template"), "{page}");
}
