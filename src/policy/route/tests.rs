use PathRefusal as R;

use super::super::test_fixtures::{classify, keyed, public, rancher, table};
use super::*;

/// What is seen of a path: the route and class, or why not.
fn seen(table: &RouteTable, target: &str) -> String {
    match classify(table, target) {
        Ok(Routed { route, class: PathClass::Environment(EnvironmentName::Ambiguous), .. }) => {
            format!("{} ambiguous", route.path)
        }
        Ok(routed) => {
            let owner_only = if routed.owner_only { " owner-only" } else { "" };
            format!("{} {}{owner_only}", routed.route.path, routed.class)
        }
        Err(RoutingError::NoRoute) => "404".into(),
        Err(RoutingError::Ambiguous(_)) => "400".into(),
    }
}

fn assert_seen(table: &RouteTable, cases: &[(&str, &str)]) {
    for (target, expected) in cases {
        assert_eq!(&seen(table, target), expected, "{target}");
    }
}

fn assert_refused(table: &RouteTable, refusal: PathRefusal, targets: &[&str]) {
    for target in targets {
        assert_eq!(classify(table, target).err(), Some(RoutingError::Ambiguous(refusal)), "{target}");
    }
}

#[test]
fn paths_have_the_class_of_the_example() {
    assert_seen(
        &table(),
        &[
            ("/healthz", "/healthz public"),
            ("/healthz?x", "/healthz public"),
            ("/v2-beta", "/v2-beta shared"),
            ("/v2-beta/schemas", "/v2-beta shared"),
            ("/v2-beta/schemas/account", "/v2-beta shared"),
            ("/v2-beta/schemas/a/b%20c", "/v2-beta shared"),
            ("/v2-beta/projects", "/v2-beta account"),
            ("/v2-beta/projects/1a5", "/v2-beta environment(1a5) owner-only"),
            ("/v2-beta/project/1a5", "/v2-beta environment(1a5) owner-only"),
            ("/v2-beta/projects/1a5/", "/v2-beta environment(1a5) owner-only"),
            ("/v2-beta/projects/1a5/stacks", "/v2-beta environment(1a5)"),
            ("/v2-beta/projects/1a5/projectmembers", "/v2-beta environment(1a5) owner-only"),
            ("/v2-beta/projects/1a5/projectmembers/", "/v2-beta environment(1a5) owner-only"),
            ("/v2-beta/projects/1a5/projectmembers/x/y", "/v2-beta environment(1a5) owner-only"),
            ("/v2-beta/project/1a5/projectmembers", "/v2-beta environment(1a5)"),
            ("/v2-beta/accounts/1a1", "/v2-beta account"),
            ("/", "404"),
            ("/v2", "404"),
            ("/v2-beta2", "404"),
            ("/v2-bet", "404"),
            ("/other/v2-beta", "404"),
        ],
    );
}

#[test]
fn a_trailing_slash_never_gives_more() {
    let routes =
        [keyed("/a", &[], &["/a/one", "/a/under/**", "/a/both", "/a/both/**"], &[]), public("/healthz")];
    let table = RouteTable::new(&routes).unwrap();
    assert_seen(
        &table,
        &[
            ("/healthz/", "404"),
            ("/a/one", "/a shared"),
            ("/a/one/", "/a account"),
            ("/a/under", "/a account"),
            ("/a/under/", "/a account"),
            ("/a/under/x", "/a shared"),
            ("/a/under/x/", "/a shared"),
            ("/a/both", "/a shared"),
            ("/a/both/", "/a shared"),
        ],
    );
}

#[test]
fn segments_end_where_they_end() {
    assert_seen(
        &table(),
        &[
            ("/healthzx", "404"),
            ("/healthz/x", "404"),
            ("/v2-beta/projects/e10/x", "/v2-beta environment(e10)"),
            ("/v2-beta/projects/e1-other/x", "/v2-beta environment(e1-other)"),
            ("/v2-beta/projectsx/e1", "/v2-beta account"),
            ("/v2-beta/schemasx", "/v2-beta account"),
        ],
    );
}

#[test]
fn an_id_that_is_malformed_is_an_unknown_environment() {
    for id in ["-e1", "_e1", "e1~", "e.1", "", &"x".repeat(65)] {
        let target = format!("/v2-beta/projects/{id}{}", if id.is_empty() { "" } else { "/x" });
        let class = classify(&table(), &target).unwrap().class;
        assert_eq!(class, PathClass::Environment(EnvironmentName::Malformed), "{target}");
    }
    assert_eq!(seen(&table(), "/v2-beta/projects/E1/x"), "/v2-beta environment(E1)");
}

#[test]
fn an_id_with_dots_at_its_end_is_nobodys() {
    assert_seen(
        &table(),
        &[
            ("/v2-beta/projects/e1.", "/v2-beta ambiguous"),
            ("/v2-beta/projects/e1../x", "/v2-beta ambiguous"),
            ("/v2-beta/projects/.../x", "400"),
        ],
    );
}

#[test]
fn the_place_of_an_environment_takes_plain_bytes_only() {
    assert_refused(
        &table(),
        R::EnvironmentVariant,
        &[
            "/v2-beta/projects/e1;a=b/x",
            "/v2-beta/projects/e2;e1/x",
            "/v2-beta/projects/%65%31/x",
            "/v2-beta/projects/e1:x",
            "/v2-beta/projects/e1%20",
            "/v2-beta/projects/e1%3f/x",
            "/v2-beta/projects/e1@",
            "/v2-beta/projects/e1,e2",
            "/v2-beta/projects/e1%C2%AD",
            "/v2-beta/projects/%EF%BD%851",
        ],
    );
}

#[test]
fn other_spellings_of_what_the_routes_know_are_refused() {
    assert_refused(
        &table(),
        R::LiteralVariant,
        &[
            "/V2-Beta/projects/e1",
            "/v2-beta/Projects/e1",
            "/v2-beta/project%73/e1",
            "/v2-beta/projects;x/e1",
            "/v2-beta;x",
            "/v2-beta%20/projects/e1",
            "/v2-beta./projects/e1",
            "/v2-beta/projects%2e/e1",
            "/v2-beta/SCHEMAS",
            "/v2-beta/schema%C5%BF/x",
            "/v2-beta/projects/e1/ProjectMembers",
            "/v2-beta/projects/e1/projectmembers;x/y",
            "/v2-beta/projects/e1/projectmembers%20",
            "/healthz;",
            "/healthz%20",
            "/HEALTHZ",
            "/healthz.",
            "/%68ealthz",
            "/healthz%3f",
            "/healthz%3b/..x",
            "/healt%EF%BD%88z",
        ],
    );
}

#[test]
fn segments_that_readers_drop_are_refused_where_they_would_move_the_rest() {
    assert_refused(
        &table(),
        R::VanishingSegment,
        &[
            "/;x/v2-beta",
            "/v2-beta/;x/projects/e1",
            "/v2-beta/projects/e1/%20",
            "/v2-beta/projects/%20/e1",
            "/v2-beta/schemas/;",
        ],
    );
    assert_seen(&table(), &[("/v2-beta/projects/e1/x/;y/%20", "/v2-beta environment(e1)")]);
}

#[test]
fn legal_traffic_passes_after_the_environment() {
    for rest in [
        "a%20b",
        "a%3Ab",
        "Stra%C3%9Fe",
        "a:b@c~d+e;f,g=h",
        "UPPER",
        "%E6%97%A5/%E6%9C%AC.txt",
        "x/a.",
        "100%25",
        "a;b=c/d;e",
        "q%3Fx%23y",
        "x/%F0%9F%91%A9%E2%80%8D%F0%9F%92%BB",
        "a/b/c/",
        "!$&'()*",
    ] {
        let target = format!("/v2-beta/projects/e1/{rest}");
        assert_eq!(seen(&table(), &target), "/v2-beta environment(e1)", "{target}");
    }
}

#[test]
fn an_encoded_slash_passes_only_after_the_environment_of_a_route_that_allows_it() {
    let mut allowing = rancher();
    allowing.encoded_slash = EncodedSlash::Allow;
    let allowing = RouteTable::new(&[allowing]).unwrap();
    let target = "/v2-beta/projects/e1/images/a%2Fb%2fc";
    assert_eq!(seen(&allowing, target), "/v2-beta environment(e1)");
    assert_refused(&table(), R::EncodedSlash, &[target]);
    assert_refused(
        &allowing,
        R::EncodedSlash,
        &[
            "/v2-beta/accounts/a%2Fb",
            "/v2-beta/schemas/a%2fb",
            "/v2-beta/projects/e1%2fx",
            "/v2-beta/projects%2fe2/x",
            "/v2-beta%2fprojects/e2/x",
        ],
    );
    // counted as '/' for the dot and empty rules
    assert_refused(
        &allowing,
        R::DotSegment,
        &["/v2-beta/projects/e1/..%2fe2/x", "/v2-beta/projects/e1/a%2F..%2F..%2Fe2"],
    );
    assert_refused(
        &allowing,
        R::EmptySegment,
        &["/v2-beta/projects/e1/a%2F%2Fb", "/v2-beta/projects/e1/%2Fb"],
    );
    // what lies before it is a segment for some readers, and then `owner_only` holds
    assert_refused(&allowing, R::LiteralVariant, &["/v2-beta/projects/e1/projectmembers%2Fx"]);
    assert_eq!(seen(&allowing, "/v2-beta/projects/e1/x%2Fprojectmembers"), "/v2-beta environment(e1)");
}

#[test]
fn the_longest_prefix_wins_and_ends_the_outer_routes_patterns() {
    let routes = [
        keyed("/", &[], &["/**"], &[]),
        keyed("/a", &[], &[], &[]),
        keyed("/a/b", &[], &["/a/b"], &[]),
        public("/a/b/ping"),
    ];
    let table = RouteTable::new(&routes).unwrap();
    assert_seen(
        &table,
        &[
            ("/", "/ account"),
            ("/x", "/ shared"),
            ("/ax", "/ shared"),
            ("/a", "/a account"),
            ("/a/x", "/a account"),
            ("/a/b", "/a/b shared"),
            ("/a/b/c", "/a/b account"),
            ("/a/b/ping", "/a/b/ping public"),
            ("/a/b/ping/x", "/a/b account"),
            ("/A", "400"),
        ],
    );
}

#[test]
fn a_template_may_go_on_after_the_environment() {
    let routes = [keyed("/", &["/{environment}/api"], &[], &["/{environment}/api/admin"])];
    let table = RouteTable::new(&routes).unwrap();
    assert_seen(
        &table,
        &[
            ("/", "/ account"),
            ("/e1", "/ account"),
            ("/e1/x", "/ account"),
            ("/e1/api", "/ environment(e1) owner-only"),
            ("/e1/api/x", "/ environment(e1)"),
            ("/e1/api/admin", "/ environment(e1) owner-only"),
            ("/e1/apis", "/ account"),
            ("/e1/API/x", "400"),
            ("/e1/api%20/x", "400"),
            ("/e1;x/api", "400"),
            ("/e1%20", "400"),
        ],
    );
}

#[test]
fn an_environment_wins_over_a_shared_prefix() {
    let routes = [keyed("/a", &["/a/p/{environment}"], &["/a/**"], &[])];
    let table = RouteTable::new(&routes).unwrap();
    assert_seen(
        &table,
        &[
            ("/a/x", "/a shared"),
            ("/a/p", "/a shared"),
            ("/a/p/e1/x", "/a environment(e1)"),
            ("/a/p/-", "/a environment(unknown) owner-only"),
        ],
    );
}

#[test]
fn an_exact_public_path_may_lie_at_a_keyed_routes_own_path() {
    let table = RouteTable::new(&[keyed("/", &[], &[], &[]), public("/")]).unwrap();
    assert_seen(&table, &[("/", "/ public"), ("/x", "/ account")]);
}

#[test]
fn tunnels_that_only_read_are_known() {
    let table = table();
    let reads = |target| classify(&table, target).unwrap().readonly_upgrade;
    assert!(reads("/v2-beta/projects/e1/subscribe"));
    assert!(!reads("/v2-beta/projects/e1/subscribe/"));
    assert!(!reads("/v2-beta/projects/e1/subscribe/x"));
    assert!(!reads("/v2-beta/projects/e1"));
}

/// The path cases of the attack list (21 to 36 and 41), as far as classification goes.
mod attacks {
    use super::*;

    fn attacked() -> RouteTable {
        let v1 = keyed("/v1", &["/v1/projects/{environment}"], &["/v1/schemas/**"], &[]);
        RouteTable::new(&[v1, public("/healthz")]).unwrap()
    }

    macro_rules! attack {
        ($name:ident: $($expected:literal <- [$($target:expr),+ $(,)?]),+ $(,)?) => {
            #[test]
            fn $name() {
                let table = attacked();
                $($(assert_eq!(seen(&table, $target), $expected, "{}", $target);)+)+
            }
        };
    }

    attack!(attack_21_own_and_other_environment:
        "/v1 environment(e1)" <- ["/v1/projects/e1/x"], "/v1 environment(e2)" <- ["/v1/projects/e2/x"]);
    attack!(attack_22_dot_segments: "400" <- ["/v1/projects/e1/../e2/x", "/v1/projects/e1/./x"]);
    attack!(attack_23_encoded_dots: "400" <- ["/v1/projects/e1/%2e%2e/e2/x", "/v1/projects/e1/%2E./e2/x", "/v1/projects/e1/.%2e/e2/x"]);
    attack!(attack_24_encoded_slash_after_dots: "400" <- ["/v1/projects/e1/..%2fe2/x", "/v1/projects/e1/..%2Fe2"]);
    attack!(attack_25_backslash: "400" <- ["/v1/projects/e1/..%5ce2/x", "/v1/projects/e1/..\\e2/x"]);
    attack!(attack_26_double_encoding: "400" <- ["/v1/projects/e1/%252e%252e/e2/x"]);
    attack!(attack_27_encoded_slash: "400" <- ["/v1/projects/e1%2fx", "/v1/projects%2fe2/x", "/v1%2fprojects/e2/x"]);
    attack!(attack_28_empty_segments: "400" <- ["//v1/projects/e2/x", "/v1//projects/e2/x", "/v1/projects/e1//../e2/x", "///e1"]);
    attack!(attack_29_matrix_parameters: "400" <- ["/v1/projects/e1;/../e2/x", "/v1/projects/e1;a=b/x", "/v1/projects/e2;e1/x", "/..;/"]);
    attack!(attack_30_segment_boundary:
        "/v1 environment(e10)" <- ["/v1/projects/e10/x"],
        "/v1 environment(e1-other)" <- ["/v1/projects/e1-other/x"],
        "/v1 ambiguous" <- ["/v1/projects/e1."]);
    attack!(attack_31_other_spellings:
        "400" <- ["/V1/Projects/E1/x", "/v1/projects/%65%31/x"],
        "/v1 environment(E1)" <- ["/v1/projects/E1/x"]);
    attack!(attack_32_query_is_no_path:
        "/v1 environment(e1)" <- ["/v1/projects/e1/x?../../e2", "/v1/projects/e1/x?%2e%2e", "/v1/projects/e1/x?/../"]);
    attack!(attack_33_encoded_question_mark: "/v1 environment(e2)" <- ["/v1/projects/e2/x?/v1/projects/e1/", "/v1/projects/e2/x%3f/v1/projects/e1/"]);
    attack!(attack_34_raw_fragment: "400" <- ["/v1/projects/e1/x#/../../e2"]);
    attack!(attack_35_controls: "400" <- ["/v1/projects/e1/%00../e2", "/v1/projects/e1/\0../e2", "/v1/%0d%0aHost:", "/v1/\r", "/v1/\n", "/v1/\t", "/v1/ ", "/v1/%0a"]);
    attack!(attack_36_unicode: "400" <- ["/v1/projects/e1/%c0%ae%c0%ae/", "/v1/%e0%80%af", "/v1/．．／", "/v1/%EF%BC%8E%EF%BC%8E%EF%BC%8F", "/v1/%ff"]);
    attack!(attack_41_public_path_is_exact:
        "400" <- ["/healthz/../v1/projects/e2", "/healthz%2f..", "/healthz;", "/healthz%20", "/HEALTHZ"],
        "404" <- ["/healthzx", "/healthz/x", "/healthz/"]);
}
