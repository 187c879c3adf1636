//! Routes for the tests of this room, written as in a configuration.

use http::Method;

use super::{RouteTable, Routed, Unrouted, admit};
use crate::config::{
    Access, AccountAccess, EncodedSlash, KeyAccess, MethodOverride, OwnerPattern, PathPattern, Place, Route,
    RoutePath, Selectors, Template, UpgradePattern,
};

pub(super) fn route(path: &str, access: Access) -> Route {
    Route {
        path: path.parse().unwrap(),
        upstream: 0,
        access,
        encoded_slash: EncodedSlash::Refuse,
        place: Place { line: 1, column: 1 },
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
    let upgrade = UpgradePattern::parse("/v2-beta/projects/{environment}/subscribe", &route.path).unwrap();
    let access = access(&mut route);
    access.account = AccountAccess::Allow;
    access.selectors = Selectors {
        query: vec!["projectId".parse().unwrap()],
        headers: vec!["x-api-project-id".parse().unwrap()],
    };
    access.method_override = MethodOverride { query: vec!["_method".parse().unwrap()] };
    access.readonly_upgrades = vec![upgrade];
    route
}

pub(super) fn table() -> RouteTable {
    RouteTable::new(&[rancher(), public("/healthz")]).unwrap()
}

pub(super) fn classify<'t, 'p>(table: &'t RouteTable, target: &'p str) -> Result<Routed<'t, 'p>, Unrouted> {
    table.classify(&admit(target.as_bytes())?)
}
