use super::super::test_fixtures::{access, account_key, classify, environment_key, keyed, public, rancher};
use super::super::{RouteTable, Routed};
use super::*;
use crate::model::{AccountKind, State};

const ACTIVE: EnvironmentStatus = EnvironmentStatus { known: true, active: true };

fn admin() -> Principal {
    account_key(AccountKind::Admin, &[])
}

fn user(role: Role) -> Principal {
    account_key(AccountKind::User, &[("e1", role)])
}

/// `rancher` lets accounts reach what lies outside environments, `/closed` does not.
fn table() -> RouteTable {
    RouteTable::new(&[rancher(), keyed("/closed", &[], &["/closed/schemas"], &[]), public("/healthz")])
        .unwrap()
}

struct Ask<'a> {
    principal: Option<&'a Principal>,
    access_control: AccessControl,
    upgrade: bool,
    facts: Option<EnvironmentStatus>,
}

impl<'a> Ask<'a> {
    fn of(principal: Option<&'a Principal>) -> Self {
        Self { principal, access_control: AccessControl::Enabled, upgrade: false, facts: Some(ACTIVE) }
    }

    fn with<T>(self, method: &str, path: &str, look: impl FnOnce(Result<Grant<'_>, Denial>) -> T) -> T {
        let table = table();
        let routed: Routed<'_, '_> = classify(&table, path).unwrap();
        let method = method.parse().unwrap();
        look(decide(&DecisionInput {
            principal: self.principal,
            access_control: self.access_control,
            method: &method,
            upgrade: self.upgrade,
            routed: &routed,
            destination: None,
            environment: self.facts,
        }))
    }

    fn rule(self, method: &str, path: &str) -> Result<Rule, (u16, Rule)> {
        self.with(method, path, |decision| {
            decision.map(|grant| grant.rule()).map_err(|denial| match denial.status {
                DenialStatus::Unauthenticated => (401, denial.rule),
                DenialStatus::Forbidden => (403, denial.rule),
            })
        })
    }
}

const PUBLIC: &str = "/healthz";
const SHARED: &str = "/v2-beta/schemas/x";
const IN_E1: &str = "/v2-beta/projects/e1/stacks";
const E1: &str = "/v2-beta/projects/e1";
const MEMBERS_OF_E1: &str = "/v2-beta/projects/e1/projectmembers/3";
const ACCOUNT: &str = "/v2-beta/accounts";
const CLOSED: &str = "/closed/x";
const READING: [&str; 7] = ["GET", "HEAD", "OPTIONS", "PROPFIND", "QUERY", "REPORT", "SEARCH"];
const WRITING: [&str; 6] = ["POST", "PUT", "PATCH", "DELETE", "LOCK", "propfind"];

fn assert_row(
    principal: Option<&Principal>,
    methods: &[&str],
    path: &str,
    expected: Result<Rule, (u16, Rule)>,
) {
    for method in methods {
        assert_eq!(Ask::of(principal).rule(method, path), expected, "{method} {path}");
    }
}

#[test]
fn row_no_key() {
    assert_row(None, &["GET", "HEAD"], PUBLIC, Ok(Rule::PublicPath));
    for path in [SHARED, IN_E1, ACCOUNT, CLOSED, "/v2-beta/projects/-"] {
        assert_row(None, &READING, path, Err((401, Rule::NoKey)));
        assert_row(None, &WRITING, path, Err((401, Rule::NoKey)));
    }
}

#[test]
fn case_129_what_lies_outside_environments_is_an_environment_keys_own_where_the_route_says_so() {
    let mut route = rancher();
    access(&mut route).environment_key = EnvironmentKeyAccess::OwnEnvironment;
    let mut closed = keyed("/closed", &["/closed/{environment}"], &[], &["/closed/{environment}/keys"]);
    access(&mut closed).environment_key = EnvironmentKeyAccess::OwnEnvironment;
    let table =
        RouteTable::new(&[route, closed, keyed("/usual", &[], &[], &[]), public("/healthz")]).unwrap();
    let key = environment_key("e1");
    let told = |method: &str, path: &str| {
        let routed = classify(&table, path).unwrap();
        let method = method.parse().unwrap();
        decide(&DecisionInput {
            principal: Some(&key),
            access_control: AccessControl::Enabled,
            method: &method,
            upgrade: false,
            routed: &routed,
            destination: None,
            environment: Some(ACTIVE),
        })
        .map(|grant| {
            assert_eq!((grant.environment(), grant.role()), (Some("e1"), Some("project")), "{path}");
            grant.rule()
        })
        .map_err(|denial| denial.rule)
    };
    for method in ["GET", "POST", "DELETE"] {
        for path in ["/v2-beta/stacks", "/v2-beta/stacks/1st5/services", "/v2-beta/projects", "/v2-beta/"] {
            assert_eq!(told(method, path), Ok(Rule::OutsideAsOwnEnvironment), "{method} {path}");
        }
        assert_eq!(told(method, "/v2-beta/projects/e2/stacks"), Err(Rule::OtherEnvironment));
        assert_eq!(told(method, "/v2-beta/projects/-/stacks"), Err(Rule::UnknownEnvironment));
        assert_eq!(told(method, "/usual/stacks"), Err(Rule::OutsideEnvironmentByEnvironmentKey));
    }
    // what only owners may write inside is the same to the upstream outside
    for path in [
        "/v2-beta/projectmembers",
        "/v2-beta/projectmembers/",
        "/v2-beta/projectmembers/1pm3",
        "/v2-beta/projects/e1",
    ] {
        assert_eq!(told("POST", path), Err(Rule::OwnerOnly), "{path}");
        assert!(told("GET", path).is_ok(), "{path}");
    }
    assert!(classify(&table, "/v2-beta/ProjectMembers/1pm3").is_err(), "another spelling is another reading");
    // an id stands there
    assert_eq!(told("POST", "/closed/keys"), Err(Rule::OtherEnvironment));
    // what is shared stays for reading, and a public path's other methods stay closed
    assert_eq!(told("GET", SHARED), Ok(Rule::SharedReading));
    assert_eq!(told("POST", SHARED), Err(Rule::SharedWritingByEnvironmentKey));
    assert_eq!(told("POST", PUBLIC), Err(Rule::OutsideEnvironmentByEnvironmentKey));
}

#[test]
fn row_admin_account_key() {
    let admin = admin();
    for path in [SHARED, IN_E1, E1, MEMBERS_OF_E1, ACCOUNT, CLOSED] {
        assert_row(Some(&admin), &READING, path, Ok(Rule::Admin));
        assert_row(Some(&admin), &WRITING, path, Ok(Rule::Admin));
    }
}

#[test]
fn row_user_account_key() {
    let member = user(Role::Member);
    assert_row(Some(&member), &["GET", "HEAD"], PUBLIC, Ok(Rule::PublicPath));
    assert_row(Some(&member), &READING, SHARED, Ok(Rule::SharedReading));
    assert_row(Some(&member), &WRITING, SHARED, Ok(Rule::AccountAllowed));
    assert_row(Some(&member), &READING, ACCOUNT, Ok(Rule::AccountAllowed));
    assert_row(Some(&member), &WRITING, ACCOUNT, Ok(Rule::AccountAllowed));
    assert_row(Some(&member), &READING, "/closed/schemas", Ok(Rule::SharedReading));
    assert_row(Some(&member), &WRITING, "/closed/schemas", Err((403, Rule::AccountDenied)));
    assert_row(Some(&member), &READING, CLOSED, Err((403, Rule::AccountDenied)));
    let other = "/v2-beta/projects/e2/stacks";
    assert_row(Some(&member), &READING, other, Err((403, Rule::NotAMember)));
    assert_row(Some(&member), &WRITING, other, Err((403, Rule::NotAMember)));
}

#[test]
fn roles_of_members() {
    for (role, own, read, written) in [
        (Role::Owner, Ok(Rule::Owner), Ok(Rule::Owner), Ok(Rule::Owner)),
        (Role::Member, Err((403, Rule::OwnerOnly)), Ok(Rule::Member), Ok(Rule::Member)),
        (Role::Restricted, Err((403, Rule::OwnerOnly)), Ok(Rule::Member), Ok(Rule::Member)),
        (
            Role::Readonly,
            Err((403, Rule::ReadonlyWriting)),
            Ok(Rule::ReadonlyReading),
            Err((403, Rule::ReadonlyWriting)),
        ),
    ] {
        let member = user(role);
        for path in [E1, MEMBERS_OF_E1, "/v2-beta/projects/e1/"] {
            assert_row(Some(&member), &WRITING, path, own);
            assert_row(Some(&member), &READING, path, read);
        }
        assert_row(Some(&member), &READING, IN_E1, read);
        assert_row(Some(&member), &WRITING, IN_E1, written);
    }
}

#[test]
fn rows_environment_keys() {
    let (own, other) = (environment_key("e1"), environment_key("e2"));
    for key in [&own, &other] {
        assert_row(Some(key), &["GET", "HEAD"], PUBLIC, Ok(Rule::PublicPath));
        assert_row(Some(key), &READING, SHARED, Ok(Rule::SharedReading));
        assert_row(Some(key), &WRITING, SHARED, Err((403, Rule::SharedWritingByEnvironmentKey)));
        assert_row(Some(key), &READING, ACCOUNT, Err((403, Rule::OutsideEnvironmentByEnvironmentKey)));
        assert_row(Some(key), &WRITING, ACCOUNT, Err((403, Rule::OutsideEnvironmentByEnvironmentKey)));
    }
    assert_row(Some(&own), &READING, IN_E1, Ok(Rule::OwnEnvironment));
    assert_row(Some(&own), &WRITING, IN_E1, Ok(Rule::OwnEnvironment));
    for path in [E1, MEMBERS_OF_E1] {
        assert_row(Some(&own), &READING, path, Ok(Rule::OwnEnvironment));
        assert_row(Some(&own), &WRITING, path, Err((403, Rule::OwnerOnly)));
    }
    assert_row(Some(&other), &READING, IN_E1, Err((403, Rule::OtherEnvironment)));
    assert_row(Some(&other), &WRITING, IN_E1, Err((403, Rule::OtherEnvironment)));
}

#[test]
fn another_spelling_of_an_environments_id_is_another_environment() {
    let own = environment_key("e1");
    assert_eq!(Ask::of(Some(&own)).rule("GET", "/v2-beta/projects/E1/x"), Err((403, Rule::OtherEnvironment)));
}

#[test]
fn an_unknown_environment_is_for_admins_only() {
    let unknown = Some(EnvironmentStatus { known: false, active: false });
    let (admin, owner, key) = (admin(), user(Role::Owner), environment_key("e1"));
    for (path, facts) in [
        (IN_E1, unknown),
        (IN_E1, None),
        ("/v2-beta/projects/-/x", Some(ACTIVE)),
        ("/v2-beta/projects/", None),
    ] {
        for method in ["GET", "POST"] {
            let ask = |principal| Ask { facts, ..Ask::of(Some(principal)) }.rule(method, path);
            assert_eq!(ask(&admin), Ok(Rule::Admin), "{path}");
            assert_eq!(ask(&owner), Err((403, Rule::UnknownEnvironment)), "{path}");
            assert_eq!(ask(&key), Err((403, Rule::UnknownEnvironment)), "{path}");
        }
    }
}

#[test]
fn an_id_that_readers_shorten_is_for_nobody() {
    let path = "/v2-beta/projects/e1./x";
    for principal in [admin(), user(Role::Owner), environment_key("e1")] {
        assert_eq!(Ask::of(Some(&principal)).rule("GET", path), Err((403, Rule::AmbiguousEnvironment)));
    }
    assert_eq!(Ask::of(None).rule("GET", path), Err((401, Rule::NoKey)));
    let disabled = Ask { access_control: AccessControl::Disabled, ..Ask::of(None) };
    assert_eq!(disabled.rule("GET", path), Err((403, Rule::AmbiguousEnvironment)));
}

#[test]
fn an_inactive_environment_is_closed_to_every_key() {
    let facts = Some(EnvironmentStatus { known: true, active: false });
    for principal in [admin(), user(Role::Owner), environment_key("e2")] {
        let rule = Ask { facts, ..Ask::of(Some(&principal)) }.rule("GET", IN_E1);
        assert_eq!(rule, Err((403, Rule::InactiveEnvironment)));
    }
    assert_eq!(Ask { facts, ..Ask::of(None) }.rule("GET", IN_E1), Err((401, Rule::NoKey)));
}

#[test]
fn a_key_that_does_not_work_is_401_before_any_403() {
    for state in [State::Inactive, State::Removed] {
        let mut inactive_key = admin();
        inactive_key.key.state = state;
        let mut inactive_account = user(Role::Owner);
        if let Owner::Account { account, .. } = &mut inactive_account.owner {
            account.state = state;
        }
        let mut inactive_environment = environment_key("e1");
        if let Owner::Environment(environment) = &mut inactive_environment.owner {
            environment.state = state;
        }
        for principal in [inactive_key, inactive_account, inactive_environment] {
            for path in [SHARED, IN_E1, ACCOUNT, CLOSED, "/v2-beta/projects/e1."] {
                assert_eq!(
                    Ask::of(Some(&principal)).rule("GET", path),
                    Err((401, Rule::KeyDoesNotWork)),
                    "{path}"
                );
            }
            assert_eq!(Ask::of(Some(&principal)).rule("GET", PUBLIC), Ok(Rule::PublicPath));
        }
    }
}

#[test]
fn public_is_for_its_methods_only() {
    assert_eq!(Ask::of(None).rule("POST", PUBLIC), Err((401, Rule::NoKey)));
    assert_eq!(Ask::of(Some(&user(Role::Owner))).rule("POST", PUBLIC), Err((403, Rule::AccountDenied)));
    let key = environment_key("e1");
    assert_eq!(
        Ask::of(Some(&key)).rule("POST", PUBLIC),
        Err((403, Rule::OutsideEnvironmentByEnvironmentKey))
    );
    assert_eq!(Ask::of(Some(&admin())).rule("POST", PUBLIC), Ok(Rule::Admin));
}

#[test]
fn a_tunnel_reads_only_where_the_route_says_so() {
    let readonly = user(Role::Readonly);
    let tunnel = |method, path| Ask { upgrade: true, ..Ask::of(Some(&readonly)) }.rule(method, path);
    let subscribe = "/v2-beta/projects/e1/subscribe";
    assert_eq!(tunnel("GET", subscribe), Ok(Rule::ReadonlyReading));
    assert_eq!(tunnel("CONNECT", subscribe), Ok(Rule::ReadonlyReading));
    assert_eq!(tunnel("POST", subscribe), Err((403, Rule::ReadonlyWriting)));
    assert_eq!(tunnel("GET", IN_E1), Err((403, Rule::ReadonlyWriting)));
    assert_eq!(tunnel("CONNECT", IN_E1), Err((403, Rule::ReadonlyWriting)));
    let key = environment_key("e1");
    let shared = Ask { upgrade: true, ..Ask::of(Some(&key)) }.rule("GET", SHARED);
    assert_eq!(shared, Err((403, Rule::SharedWritingByEnvironmentKey)));
}

#[test]
fn without_access_control_requests_without_credentials_pass_and_others_are_judged() {
    let disabled = |principal| Ask { access_control: AccessControl::Disabled, ..Ask::of(principal) };
    for path in [SHARED, IN_E1, ACCOUNT, CLOSED] {
        disabled(None).with("POST", path, |decision| {
            let grant = decision.unwrap();
            assert_eq!(grant.rule(), Rule::AccessControlDisabled);
            assert!(grant.principal().is_none() && grant.environment().is_none() && grant.role().is_none());
        });
    }
    let key = environment_key("e2");
    assert_eq!(disabled(Some(&key)).rule("GET", IN_E1), Err((403, Rule::OtherEnvironment)));
}

#[test]
fn the_upstream_is_told_the_environment_and_the_role() {
    let told = |principal: &Principal, path: &str, facts| {
        Ask { facts, ..Ask::of(Some(principal)) }.with("GET", path, |decision| {
            let grant = decision.unwrap();
            assert_eq!(grant.principal(), Some(principal));
            (grant.environment().map(str::to_owned), grant.role())
        })
    };
    let e1 = || Some("e1".to_owned());
    let known = Some(ACTIVE);
    assert_eq!(told(&environment_key("e1"), IN_E1, known), (e1(), Some("project")));
    assert_eq!(told(&environment_key("e1"), SHARED, None), (e1(), Some("project")));
    for role in Role::ALL {
        assert_eq!(told(&user(role), IN_E1, known), (e1(), Some(role.as_str())));
        assert_eq!(told(&user(role), SHARED, None), (None, Some("user")));
    }
    assert_eq!(told(&admin(), IN_E1, known), (e1(), Some("owner")));
    let readonly_admin = account_key(AccountKind::Admin, &[("e1", Role::Readonly)]);
    assert_eq!(told(&readonly_admin, IN_E1, known), (e1(), Some("owner")));
    assert_eq!(told(&admin(), ACCOUNT, None), (None, Some("admin")));
    assert_eq!(told(&admin(), IN_E1, None), (None, Some("admin")));
}

#[test]
fn public_paths_tell_no_identity() {
    Ask::of(Some(&admin())).with("GET", PUBLIC, |decision| {
        let grant = decision.unwrap();
        assert!(grant.principal().is_none() && grant.environment().is_none() && grant.role().is_none());
    });
}
