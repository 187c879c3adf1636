//! Routes and principals for the tests of this module.

use http::Method;
use jiff::Timestamp;

use super::{RouteTable, Routed, RoutingError, admit_target};
use crate::config::{
    Access, AccountAccess, EncodedSlash, FilePosition, KeyAccess, OwnerPattern, PathPattern,
    ReadonlyUpgradePattern, RefusedMethodOverrides, Route, RoutePath, Selectors, Template,
};
use crate::model::{
    Account, AccountId, AccountKind, ApiKey, Environment, KeyId, KeyOwner, Name, Owner, Principal, Role,
    State,
};

pub(super) fn route(path: &str, access: Access) -> Route {
    Route {
        path: path.parse().unwrap(),
        upstream: 0,
        access,
        encoded_slash: EncodedSlash::Refuse,
        position: FilePosition { line: 1, column: 1 },
        cors: None,
        body_bytes: None,
    }
}

pub(super) fn public(path: &str) -> Route {
    route(path, Access::Public { methods: vec![Method::GET, Method::HEAD] })
}

/// A keyed route: `environment`, `shared` and `owner_only` as in the configuration.
pub(super) fn keyed(path: &str, environment: &[&str], shared: &[&str], owner_only: &[&str]) -> Route {
    let at: RoutePath = path.parse().unwrap();
    route(
        path,
        Access::Keys(KeyAccess {
            environment: environment.iter().map(|text| Template::parse(text, &at).unwrap()).collect(),
            shared: shared.iter().map(|text| PathPattern::parse(text, &at).unwrap()).collect(),
            owner_only: owner_only.iter().map(|text| OwnerPattern::parse(text, &at).unwrap()).collect(),
            ..KeyAccess::default()
        }),
    )
}

pub(super) fn access(route: &mut Route) -> &mut KeyAccess {
    match &mut route.access {
        Access::Keys(access) => access,
        Access::Public { .. } => panic!("{} is public", route.path),
    }
}

/// A configuration with all that a route can say, and a tunnel that only reads.
pub(super) fn rancher() -> Route {
    let mut route = keyed(
        "/v2-beta",
        &["/v2-beta/projects/{environment}", "/v2-beta/project/{environment}"],
        &["/v2-beta", "/v2-beta/schemas", "/v2-beta/schemas/**"],
        &["/v2-beta/projects/{environment}/projectmembers/**"],
    );
    let upgrade =
        ReadonlyUpgradePattern::parse("/v2-beta/projects/{environment}/subscribe", &route.path).unwrap();
    let access = access(&mut route);
    access.account = AccountAccess::Allow;
    access.selectors = Selectors {
        query: vec!["projectId".parse().unwrap()],
        headers: vec!["x-api-project-id".parse().unwrap()],
    };
    access.method_override = RefusedMethodOverrides { query: vec!["_method".parse().unwrap()] };
    access.readonly_upgrades = vec![upgrade];
    route
}

pub(super) fn table() -> RouteTable {
    RouteTable::new(&[rancher(), public("/healthz")]).unwrap()
}

pub(super) fn classify<'t, 'p>(
    table: &'t RouteTable,
    target: &'p str,
) -> Result<Routed<'t, 'p>, RoutingError> {
    table.classify(&admit_target(target.as_bytes())?)
}

fn key(owner: KeyOwner) -> ApiKey {
    ApiKey {
        id: KeyId::from_row(1),
        access_key: "pca_x".parse().unwrap(),
        owner,
        name: None,
        description: None,
        state: State::Active,
        uuid: String::new(),
        expires: None,
        scope: None,
        secret_since: Timestamp::UNIX_EPOCH,
        former: None,
        created: Timestamp::UNIX_EPOCH,
        removed: None,
    }
}

/// An active account's key, with the account's roles sorted by environment.
pub(super) fn account_key(kind: AccountKind, roles: &[(&str, Role)]) -> Principal {
    let account = Account {
        id: AccountId::from_row(7),
        name: Name::parse("someone").unwrap().unwrap(),
        description: None,
        kind,
        state: State::Active,
        uuid: String::new(),
        created: Timestamp::UNIX_EPOCH,
        removed: None,
    };
    let memberships = roles.iter().map(|(id, role)| (id.parse().unwrap(), *role)).collect();
    Principal { key: key(KeyOwner::Account(account.id)), owner: Owner::Account { account, memberships } }
}

/// An active environment's key.
pub(super) fn environment_key(id: &str) -> Principal {
    let environment = Environment {
        id: id.parse().unwrap(),
        name: None,
        description: None,
        state: State::Active,
        uuid: String::new(),
        created: Timestamp::UNIX_EPOCH,
        removed: None,
    };
    Principal {
        key: key(KeyOwner::Environment(environment.id.clone())),
        owner: Owner::Environment(environment),
    }
}
