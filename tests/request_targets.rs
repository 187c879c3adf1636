//! Request targets that are unusual and legal, or look so: cases 96, 97, 100, 101 and 121.

mod support;

use std::sync::OnceLock;

use support::http1::Request;
use support::stage::Stage;

/// Words before, in and behind environments that rules name.
const ROUTES: &str = r#"
  - path: /v1
    upstream: api
    environment: "/v1/projects/{environment}"
    account: allow
    shared: [/v1, /v1/schemas, /v1/schemas/**, /v1/docs/public]
    owner_only: ["/v1/projects/{environment}/members/**"]
    readonly_upgrades: ["/v1/projects/{environment}/logs/tail"]
    selectors: { query: [projectId] }
    method_override: { query: [_method] }
  - path: /v1/projects-of/all
    upstream: api
  - path: /healthz
    upstream: api
    access: public
"#;

fn stage() -> &'static Stage {
    static STAGE: OnceLock<Stage> = OnceLock::new();
    STAGE.get_or_init(|| Stage::with(|plan| plan.routes(ROUTES)))
}

fn get_as_e1(target: &str) -> Request {
    Request::get(target).key(&stage().e1)
}

#[test]
fn case_96_a_plain_dot_segment_passes_where_no_rule_is_matched() {
    for target in [
        // apt asks so for the files of a flat repository
        "/v1/projects/e1/deb/./Packages",
        "/v1/projects/e1/deb/././Release",
        "/v1/projects/e1/deb/.",
        "/v1/projects/e1/deb/./",
        "/v1/projects/e1/deb/./members/x",
        "/v1/projects/e1/deb/a%20b/./c;d/./x",
    ] {
        assert_eq!(stage().passes(get_as_e1(target)).path(), target);
        stage().refuses(Request::get(target).key(&stage().e2), &[403]);
        stage().refuses(Request::get(target), &[401]);
    }
    // outside environments too, and it stays what it is there
    let target = "/v1/schemas/x/./y";
    assert_eq!(stage().passes(get_as_e1(target)).path(), target);
    stage().refuses(get_as_e1("/v1/other/./x"), &[403]);
}

#[test]
fn case_96_a_dot_segment_hides_nothing_that_a_rule_names() {
    for target in [
        "/./v1/projects/e1/x",
        "/v1/./projects/e1/x",
        "/v1/projects/./e1/x",
        "/v1/projects/./e2/x",
        "/v1/projects/e1/.",
        "/v1/projects/e1/./",
        "/v1/projects/e1/./x",
        "/v1/projects/e1/./members",
        "/v1/projects/e1/members/.",
        "/v1/projects/e1/logs/./tail",
        "/v1/schemas/.",
        "/v1/docs/./public",
        "/v1/projects-of/./all",
        "/healthz/.",
        // no other spelling, and no other dot segment
        "/v1/projects/e1/deb/%2e/Packages",
        "/v1/projects/e1/deb/%2E/Packages",
        "/v1/projects/e1/deb/.;x/Packages",
        "/v1/projects/e1/deb/.%20/Packages",
        "/v1/projects/e1/deb/..",
        "/v1/projects/e1/deb/./../x",
        "/v1/projects/e1/deb/.../x",
        "/v1/projects/e1/deb/.//x",
        "/v1/projects/e1/deb/.%2Fx",
    ] {
        stage().refuses(get_as_e1(target), &[400]);
        stage().refuses(Request::get(target).key(&stage().gateway.admin), &[400]);
    }
}

#[test]
fn case_101_targets_that_normalization_would_blow_up_are_judged_as_they_are() {
    // bounded in steps by `src/policy/steps`; here: they are legal, and pass as they came
    for piece in ["%EF%B7%BA", "%CC%81%CC%A3", "a%CD%85"] {
        let target = format!("/v1/projects/e1/{}", piece.repeat(7000 / piece.len()));
        assert_eq!(stage().passes(get_as_e1(&target)).path(), target);
        let target = format!("/v1/projects/e1/x?{}", format!("{piece}=1&").repeat(7000 / (piece.len() + 3)));
        assert_eq!(stage().passes(get_as_e1(&target)).path(), target);
    }
    for query in [
        "%EF%BD%90rojectId=e2",
        "projec%E1%B5%97Id=e2",
        "%EF%BC%BF%EF%BD%8Dethod=DELETE",
        "%25EF%25BC%25BFmethod=PUT",
    ] {
        stage().refuses(get_as_e1(&format!("/v1/projects/e1/x?{query}")), &[400]);
    }
}
