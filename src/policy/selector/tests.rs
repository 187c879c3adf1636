use super::super::test_fixtures::{classify, table};
use super::super::{PathRefusal, RouteTable};
use super::*;

type Selected = Result<String, SelectorRefusal>;

fn selected(target: &str, header: HeaderValues<'static>) -> Selected {
    let table: RouteTable = table();
    let routed = classify(&table, target).unwrap();
    let query = target.split_once('?').map(|(_, query)| query.as_bytes());
    let look_up = |name: &str| if name == "x-api-project-id" { header } else { HeaderValues::Absent };
    apply_selectors(routed, query, &look_up).map(|routed| routed.class.to_string())
}

fn by_query(target: &str) -> Selected {
    selected(target, HeaderValues::Absent)
}

#[expect(clippy::unnecessary_wraps, reason = "what is compared is a result")]
fn class(text: &str) -> Selected {
    Ok(text.to_owned())
}

#[test]
fn on_a_path_without_an_environment_a_selector_makes_it_that_environments() {
    assert_eq!(by_query("/v2-beta/stacks"), class("account"));
    assert_eq!(by_query("/v2-beta/stacks?limit=1"), class("account"));
    assert_eq!(by_query("/v2-beta/stacks?limit=1&projectId=e1"), class("environment(e1)"));
    assert_eq!(by_query("/v2-beta/schemas?projectId=e1"), class("environment(e1)"));
    assert_eq!(selected("/v2-beta/stacks", HeaderValues::One(b"e1")), class("environment(e1)"));
}

#[test]
fn beside_an_environment_a_selector_must_name_the_same() {
    assert_eq!(by_query("/v2-beta/projects/e1/x?projectId=e1"), class("environment(e1)"));
    for target in [
        "/v2-beta/projects/e1/x?projectId=e2",
        "/v2-beta/projects/E1/x?projectId=e1",
        "/v2-beta/projects/-/x?projectId=e1",
    ] {
        assert_eq!(by_query(target), class("environment(two at once)"), "{target}");
    }
    assert_eq!(
        selected("/v2-beta/projects/e1/x", HeaderValues::One(b"e2")),
        class("environment(two at once)")
    );
    assert_eq!(
        selected("/v2-beta/x?projectId=e1", HeaderValues::One(b"e2")),
        class("environment(two at once)")
    );
    assert_eq!(selected("/v2-beta/x?projectId=e1", HeaderValues::One(b"e1")), class("environment(e1)"));
}

#[test]
fn repeated_selectors_are_refused() {
    assert_eq!(by_query("/v2-beta/x?projectId=e1&projectId=e1"), Err(REPEATED));
    assert_eq!(selected("/v2-beta/x", HeaderValues::Many), Err(REPEATED));
}

#[test]
fn malformed_selectors_are_refused() {
    for value in ["", "=", "e%31", "-e1", "e1,e2", "e1;projectId=e2", "e1+", "e.1"] {
        assert_eq!(by_query(&format!("/v2-beta/x?projectId={value}")), Err(NO_ID), "{value}");
    }
    assert_eq!(by_query("/v2-beta/x?projectId"), Err(NO_ID));
    for value in [&b""[..], b"e1, e1", b"\xff", b"e1 "] {
        assert_eq!(selected("/v2-beta/x", HeaderValues::One(value.to_vec().leak())), Err(NO_ID));
    }
}

#[test]
fn other_spellings_of_a_selector_are_refused() {
    for name in [
        "PROJECTID",
        "project%49d",
        "%2570rojectId",
        "projectId%20",
        "+projectId",
        "projectId[]",
        "projectId%5B0%5D",
        "projectId%3De2",
        "a;projectId",
        "project%C4%B1d",
        "project%F0%9D%95%80%F0%9D%95%95",
        "%20%20+projectId%3D%C3%A9",
        "projectId%20%20%20%20%20%20%20%20%20%20",
        "%E2%80%8Bproject%E2%80%8Bid%EF%BC%BB%FF",
        "projectId%00",
    ] {
        assert_eq!(by_query(&format!("/v2-beta/x?{name}=e2")), Err(MISSPELT), "{name}");
        assert_eq!(by_query(&format!("/v2-beta/x?projectId=e1&{name}=e2")), Err(MISSPELT), "{name}");
    }
    for name in
        ["projectIds", "xprojectId", "project", "Id", "projectId%FF", "projectId%20x", "%C3%A9projectId"]
    {
        assert_eq!(by_query(&format!("/v2-beta/x?{name}=e2")), class("account"), "{name}");
    }
}

#[test]
fn method_overrides_are_refused_in_every_spelling() {
    for query in [
        "_method=DELETE",
        "_method",
        "a=b&_METHOD=get",
        "%5Fmethod=x",
        "x;_method=y",
        "_method[]=z",
        ".method=x",
    ] {
        assert_eq!(by_query(&format!("/v2-beta/x?{query}")), Err(SelectorRefusal::MethodOverride), "{query}");
    }
    assert_eq!(by_query("/v2-beta/x?method=DELETE"), class("account"));
}

#[test]
fn public_routes_have_no_selectors() {
    assert_eq!(by_query("/healthz?projectId=e1&projectId=e2&_method=x"), class("public"));
}

#[test]
fn a_query_cannot_hide_a_selector_behind_a_fragment() {
    let refused = super::super::admit_target(b"/v2-beta/x?projectId=e1#&projectId=e2");
    assert_eq!(refused.err(), Some(PathRefusal::Fragment));
}
