use super::super::test_fixtures::{access, keyed, public};
use super::*;
use crate::config::ReadonlyUpgradePattern;

fn problems(routes: &[Route]) -> Vec<String> {
    RouteTree::new(routes).err().unwrap_or_default().iter().map(ToString::to_string).collect()
}

fn assert_problem(routes: &[Route], expected: &str) {
    let found = problems(routes);
    assert!(found.len() == 1 && found[0].contains(expected), "{found:#?}");
}

#[test]
fn routes_of_one_kind_have_different_paths() {
    assert_problem(
        &[keyed("/a", &[], &[], &[]), keyed("/a", &[], &[], &[])],
        "route /a: another route has the same path",
    );
    assert_problem(&[public("/a"), public("/a")], "another route has the same path");
    assert_eq!(problems(&[public("/a"), keyed("/a", &[], &[], &[])]), [""; 0]);
}

#[test]
fn literals_do_not_differ_in_case_only() {
    assert_problem(&[keyed("/a", &[], &[], &[]), public("/A")], "differ in case only");
    assert_problem(&[keyed("/a", &[], &["/a/Schemas", "/a/schemas/**"], &[])], "differ in case only");
}

#[test]
fn no_literal_stands_where_an_environment_stands() {
    assert_problem(&[keyed("/", &["/{environment}"], &[], &[]), public("/healthz")], "in the same place");
    assert_problem(&[keyed("/p", &["/p/{environment}"], &["/p/schemas"], &[])], "in the same place");
    assert_problem(
        &[keyed("/", &["/api/{environment}", "/api/projects/{environment}"], &[], &[])],
        "in the same place",
    );
}

#[test]
fn patterns_lie_in_their_own_routes_territory() {
    let inner = keyed("/a/b", &[], &[], &[]);
    assert_problem(
        &[keyed("/a", &[], &["/a/b"], &[]), inner.clone()],
        "route /a: '/a/b' lies in the territory of route /a/b",
    );
    assert_problem(
        &[keyed("/a", &["/a/b/{environment}"], &[], &[]), inner.clone()],
        "lies in the territory of route /a/b",
    );
    assert_problem(&[inner, keyed("/", &[], &["/a/b/c/**"], &[])], "lies in the territory of route /a/b");
}

#[test]
fn patterns_with_an_environment_lie_under_a_template() {
    assert_problem(
        &[keyed("/a", &["/a/p/{environment}"], &[], &["/a/q/{environment}/x"])],
        "lies under no environment template",
    );
    assert_problem(
        &[keyed("/a", &["/a/{environment}/api"], &[], &["/a/{environment}/x/**"])],
        "lies under no environment template",
    );
    let mut route = keyed("/a", &[], &[], &[]);
    let upgrade = ReadonlyUpgradePattern::parse("/a/{environment}/x", &route.path).unwrap();
    access(&mut route).readonly_upgrades.push(upgrade);
    assert_problem(&[route], "lies under no environment template");
}

#[test]
fn all_problems_are_told_at_once() {
    let found =
        problems(&[keyed("/a", &["/a/{environment}"], &["/a/x", "/a/y"], &[]), keyed("/a", &[], &[], &[])]);
    assert_eq!(found.len(), 3, "{found:#?}");
}
