//! What scopes take away.

use super::super::test_fixtures::{access, account_key, classify, environment_key, keyed, public, rancher};
use super::super::{HeaderValues, RouteTable, admit_target, apply_selectors};
use super::*;
use crate::model::AccountKind;

const ACTIVE: EnvironmentStatus = EnvironmentStatus { known: true, active: true };

fn with_scope(mut principal: Principal, scope: &str) -> Principal {
    principal.key.scope = Some(Box::new(scope.parse().unwrap()));
    principal
}

fn admin(scope: &str) -> Principal {
    with_scope(account_key(AccountKind::Admin, &[]), scope)
}

/// The rules that decide, for one key in one table.
struct Case<'a> {
    table: &'a RouteTable,
    principal: &'a Principal,
    upgrade: bool,
    destination: Option<&'a str>,
}

impl<'a> Case<'a> {
    fn of(table: &'a RouteTable, principal: &'a Principal) -> Self {
        Self { table, principal, upgrade: false, destination: None }
    }

    fn rule(&self, method: &str, target: &str) -> Result<Rule, Rule> {
        let routed = |target: &'a str| classify(self.table, target).unwrap();
        let admitted = admit_target(target.as_bytes()).unwrap();
        let first = self.table.classify(&admitted).unwrap();
        let first = apply_selectors(first, admitted.query, &|_| HeaderValues::Absent).unwrap();
        decide(&DecisionInput {
            principal: Some(self.principal),
            access_control: AccessControl::Enabled,
            method: &method.parse().unwrap(),
            upgrade: self.upgrade,
            routed: &first,
            destination: self.destination.map(|target| WebDavDestination::Routed(routed(target))),
            environment: Some(ACTIVE),
        })
        .map(|grant| grant.rule())
        .map_err(|denial| {
            assert_eq!(denial.status, DenialStatus::Forbidden);
            denial.rule
        })
    }
}

fn table() -> RouteTable {
    RouteTable::new(&[rancher(), keyed("/closed", &[], &[], &[]), public("/healthz")]).unwrap()
}

#[test]
fn a_read_only_key_reads_as_the_role_readonly_does() {
    let (table, key) = (table(), admin(r#"{"read_only":true}"#));
    let mut case = Case::of(&table, &key);
    for method in ["GET", "HEAD", "OPTIONS", "PROPFIND", "QUERY", "REPORT", "SEARCH"] {
        assert_eq!(case.rule(method, "/v2-beta/projects/e1/x"), Ok(Rule::Admin), "{method}");
    }
    for method in ["POST", "PUT", "PATCH", "DELETE", "get", "X"] {
        assert_eq!(case.rule(method, "/v2-beta/projects/e1/x"), Err(Rule::ReadOnlyKey), "{method}");
    }
    // a second path is one that is written to
    case.destination = Some("/v2-beta/projects/e1/y");
    assert_eq!(case.rule("PROPFIND", "/v2-beta/projects/e1/x"), Err(Rule::ReadOnlyKey));
    case.destination = None;
    // tunnels only where the route says that they read
    case.upgrade = true;
    for method in ["GET", "CONNECT"] {
        assert_eq!(case.rule(method, "/v2-beta/projects/e1/x"), Err(Rule::ReadOnlyKey), "{method}");
        assert_eq!(case.rule(method, "/v2-beta/projects/e1/subscribe"), Ok(Rule::Admin), "{method}");
    }
}

#[test]
fn a_key_uses_the_methods_of_its_scope() {
    let (table, key) = (table(), admin(r#"{"methods":["GET","MOVE"]}"#));
    let mut case = Case::of(&table, &key);
    assert_eq!(case.rule("GET", "/closed/x"), Ok(Rule::Admin));
    for method in ["HEAD", "POST", "get"] {
        assert_eq!(case.rule(method, "/closed/x"), Err(Rule::OutsideKeysMethods), "{method}");
    }
    case.destination = Some("/closed/y");
    assert_eq!(case.rule("MOVE", "/closed/x"), Ok(Rule::Admin));
    assert_eq!(case.rule("COPY", "/closed/x"), Err(Rule::OutsideKeysMethods));
    case.destination = None;
    // a WebSocket is asked for with GET, or over HTTP/2 with CONNECT
    case.upgrade = true;
    assert_eq!(case.rule("CONNECT", "/closed/x"), Ok(Rule::Admin));
}

#[test]
fn a_key_reaches_the_paths_of_its_scope() {
    let (table, key) = (table(), admin(r#"{"paths":["/v2-beta/projects/*/builds/**","/closed/a"]}"#));
    let mut case = Case::of(&table, &key);
    for path in ["/v2-beta/projects/e1/builds", "/v2-beta/projects/e9/builds/a%20b/;x", "/closed/a"] {
        assert_eq!(case.rule("PUT", path), Ok(Rule::Admin), "{path}");
    }
    for path in [
        "/v2-beta/projects/e1",
        "/v2-beta/projects/e1/Builds/7",
        "/v2-beta/projects/e1/builds;x/7",
        "/v2-beta/projects/e1/%62uilds/7",
        "/v2-beta/projects/e1/builds./7",
        "/v2-beta/accounts",
        "/closed/a/",
        "/closed/A",
        "/closed/b",
    ] {
        assert_eq!(case.rule("GET", path), Err(Rule::OutsideKeysPaths), "{path}");
    }
    // the second path of a MOVE, too
    case.destination = Some("/closed/b");
    assert_eq!(case.rule("MOVE", "/closed/a"), Err(Rule::OutsideKeysPaths));
    case.destination = Some("/closed/a");
    assert_eq!(case.rule("MOVE", "/closed/b"), Err(Rule::OutsideKeysPaths));
    assert_eq!(case.rule("MOVE", "/closed/a"), Ok(Rule::Admin));
}

#[test]
fn a_selector_does_not_lead_out_of_the_environment_of_a_path() {
    let (table, key) = (table(), admin(r#"{"paths":["/v2-beta/projects/e1/**"]}"#));
    let case = Case::of(&table, &key);
    assert_eq!(case.rule("GET", "/v2-beta/projects/e1/x?projectId=e1"), Ok(Rule::Admin));
    assert_eq!(case.rule("GET", "/v2-beta/projects/e1/x?projectId=e2"), Err(Rule::TwoEnvironments));
    assert_eq!(case.rule("GET", "/v2-beta/x?projectId=e1"), Err(Rule::OutsideKeysPaths));
}

#[test]
fn what_needs_no_key_and_what_the_table_refuses_stays_so() {
    let mut route = rancher();
    access(&mut route).account = AccountAccess::Deny;
    let table = RouteTable::new(&[route, public("/healthz")]).unwrap();
    let everything = r#"{"methods":["GET","PUT"],"paths":["/**"]}"#;
    let key = with_scope(environment_key("e1"), everything);
    let case = Case::of(&table, &key);
    assert_eq!(case.rule("GET", "/healthz"), Ok(Rule::PublicPath));
    assert_eq!(case.rule("PUT", "/v2-beta/projects/e1/x"), Ok(Rule::OwnEnvironment));
    assert_eq!(case.rule("GET", "/v2-beta/projects/e2/x"), Err(Rule::OtherEnvironment));
    let narrow = with_scope(environment_key("e1"), r#"{"paths":["/nothing"]}"#);
    let case = Case::of(&table, &narrow);
    assert_eq!(case.rule("GET", "/healthz"), Ok(Rule::PublicPath));
    assert_eq!(case.rule("PUT", "/healthz"), Err(Rule::OutsideEnvironmentByEnvironmentKey));
}

/// Over all principals, scopes and requests that these lists make: what a scope allows is allowed without it, by the same
/// rule, and within the scope.
#[test]
fn a_scope_only_takes_away() {
    let table = table();
    let member = |role| account_key(AccountKind::User, &[("e1", role)]);
    let principals = [
        account_key(AccountKind::Admin, &[]),
        member(Role::Owner),
        member(Role::Member),
        member(Role::Restricted),
        member(Role::Readonly),
        account_key(AccountKind::User, &[]),
        environment_key("e1"),
        environment_key("e2"),
    ];
    let paths = [
        "/healthz",
        "/v2-beta",
        "/v2-beta/schemas/x",
        "/v2-beta/accounts",
        "/v2-beta/projects/e1",
        "/v2-beta/projects/e1/subscribe",
        "/v2-beta/projects/e1/projectmembers/1",
        "/v2-beta/projects/e2/x",
        "/v2-beta/projects/-/x",
        "/v2-beta/x?projectId=e1",
        "/v2-beta/projects/e1/x?projectId=e2",
        "/closed/x",
    ];
    let methods = ["GET", "HEAD", "POST", "DELETE", "MOVE", "PROPFIND"];
    let mut scopes = Vec::new();
    for read_only in [false, true] {
        for methods in [&[][..], &["GET"], &["POST", "MOVE"]] {
            for paths in [
                &[][..],
                &["/**"],
                &["/v2-beta/**"],
                &["/v2-beta/projects/e1/**"],
                &["/v2-beta/*/*"],
                &["/closed/x", "/v2-beta"],
            ] {
                let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
                let fields = crate::model::ScopeFields {
                    read_only,
                    methods: texts(methods),
                    paths: texts(paths),
                    networks: Vec::new(),
                };
                scopes.extend(Scope::new(&fields).unwrap());
            }
        }
    }
    let (mut allowed, mut taken) = (0, 0);
    for principal in &principals {
        for (scope, upgrade, destination) in scopes.iter().flat_map(|scope| {
            [(scope, false, None), (scope, true, None), (scope, false, Some("/v2-beta/projects/e1/y"))]
        }) {
            let mut narrowed = principal.clone();
            narrowed.key.scope = Some(Box::new(scope.clone()));
            for (method, path) in methods.iter().flat_map(|method| paths.map(|path| (*method, path))) {
                let whole = Case { table: &table, principal, upgrade, destination }.rule(method, path);
                let narrow =
                    Case { table: &table, principal: &narrowed, upgrade, destination }.rule(method, path);
                match (whole, narrow) {
                    (whole, Ok(rule)) => {
                        assert_eq!(whole, Ok(rule), "{scope}: {method} {path}");
                        allowed += 1;
                        let path = path.split('?').next().unwrap_or_default();
                        let is_within = scope.has_method(&method.parse().unwrap())
                            && scope.has_path(path.as_bytes())
                            && destination.is_none_or(|path| scope.has_path(path.as_bytes()))
                            && (!scope.is_read_only() || is_safe(&method.parse().unwrap()));
                        assert!(is_within || rule == Rule::PublicPath, "{scope}: {method} {path}");
                    }
                    (Ok(_), Err(rule)) => {
                        taken += 1;
                        assert!(
                            matches!(
                                rule,
                                Rule::ReadOnlyKey | Rule::OutsideKeysMethods | Rule::OutsideKeysPaths
                            ),
                            "{rule}"
                        );
                    }
                    // the table's rule, unless the scope has refused the first path before
                    (Err(_), Err(_)) => {}
                }
            }
        }
    }
    assert!(allowed > 1_000 && taken > 1_000, "allowed {allowed}, taken away {taken}");
}
