//! Paths that a key may read, so that the first request that the page suggests is not refused.

use http::Method;
use jiff::Timestamp;

use crate::config::{Access, AccessControl, KeyAccess, Route};
use crate::model::{Account, ApiKey, Environment, EnvironmentId, KeyId, KeyOwner, Owner, Principal, State};
use crate::policy::{DecisionInput, EnvironmentStatus, RouteTable, admit_target, decide};

/// Paths that an active key of `owner` may read: at most one of each route, in the configuration's order. The proxy's
/// own rules decide.
pub(super) fn readable_paths(table: &RouteTable, owner: &Owner) -> Vec<String> {
    let Some(principal) = active_principal(owner) else { return Vec::new() };
    let mut paths = Vec::new();
    for route in table.routes() {
        let Access::Keys(access) = &route.access else { continue };
        let found =
            candidates(route, access, owner).into_iter().find(|path| may_read(table, &principal, path));
        if let Some(path) = found
            && !paths.contains(&path)
        {
            paths.push(path);
        }
    }
    paths
}

/// The paths of a route that a key of `owner` would most likely ask.
fn candidates(route: &Route, access: &KeyAccess, owner: &Owner) -> Vec<String> {
    let of = |id: &EnvironmentId| {
        let id = id.clone();
        access.environment.iter().map(move |at| at.to_string().replace("{environment}", id.as_str()))
    };
    let mut paths = Vec::new();
    match owner {
        Owner::Environment(environment) => {
            paths.extend(of(&environment.id));
            paths.push(route.path.to_string());
        }
        Owner::Account { memberships, .. } => {
            paths.push(route.path.to_string());
            // each of them allows reading
            paths.extend(memberships.first().into_iter().flat_map(|(id, _)| of(id)));
        }
    }
    let shared = access.shared.iter().map(ToString::to_string);
    paths.extend(shared.map(|pattern| pattern.strip_suffix("/**").unwrap_or(&pattern).to_owned()));
    paths
}

fn may_read(table: &RouteTable, principal: &Principal, path: &str) -> bool {
    let Ok(target) = admit_target(path.as_bytes()) else { return false };
    let Ok(routed) = table.classify(&target) else { return false };
    let input = DecisionInput {
        principal: Some(principal),
        access_control: AccessControl::Enabled,
        method: &Method::GET,
        upgrade: false,
        routed: &routed,
        destination: None,
        environment: Some(EnvironmentStatus { known: true, active: true }),
    };
    // a public path says nothing about the key
    decide(&input).is_ok_and(|grant| grant.principal().is_some())
}

/// A key of `owner` that works.
fn active_principal(owner: &Owner) -> Option<Principal> {
    let (key_owner, owner) = match owner {
        Owner::Account { account, memberships } => {
            let account = Account { state: State::Active, ..account.clone() };
            (KeyOwner::Account(account.id), Owner::Account { account, memberships: memberships.clone() })
        }
        Owner::Environment(environment) => {
            let environment = Environment { state: State::Active, ..environment.clone() };
            (KeyOwner::Environment(environment.id.clone()), Owner::Environment(environment))
        }
    };
    let key = ApiKey {
        id: KeyId::from_row(0),
        access_key: "any".parse().ok()?,
        owner: key_owner,
        name: None,
        description: None,
        state: State::Active,
        uuid: String::new(),
        expires: None,
        scope: None,
        secret_since: jiff::Timestamp::UNIX_EPOCH,
        former: None,
        created: Timestamp::UNIX_EPOCH,
        removed: None,
    };
    Some(Principal { key, owner })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config;
    use crate::model::{AccountId, AccountKind, Name, Role};

    fn table(routes: &str) -> RouteTable {
        let yaml = format!(
            "listeners: [{{ address: 127.0.0.1:0 }}]\nstore: {{ sqlite: p.db }}\npepper_file: p\n\
             upstreams: {{ api: {{ endpoints: [\"http://127.0.0.1:1\"] }} }}\nroutes:\n{routes}\n"
        );
        let config = config::parse(&yaml, Path::new("portcullis.yaml"), &|_| None).unwrap();
        RouteTable::new(&config.routes).unwrap()
    }

    fn account(kind: AccountKind, memberships: &[&str]) -> Owner {
        let account = Account {
            id: AccountId::from_row(7),
            name: Name::parse("someone").unwrap().unwrap(),
            description: None,
            kind,
            state: State::Inactive,
            uuid: String::new(),
            created: Timestamp::UNIX_EPOCH,
            removed: None,
        };
        let memberships = memberships.iter().map(|id| (id.parse().unwrap(), Role::Readonly)).collect();
        Owner::Account { account, memberships }
    }

    fn environment(id: &str) -> Owner {
        Owner::Environment(Environment {
            id: id.parse().unwrap(),
            name: None,
            description: None,
            state: State::Active,
            uuid: String::new(),
            created: Timestamp::UNIX_EPOCH,
            removed: None,
        })
    }

    #[test]
    fn every_kind_of_key_is_offered_only_what_it_may_read() {
        let routes = "
  - { path: /v1, upstream: api, environment: [\"/v1/p/{environment}\", \"/v1/q/{environment}\"], shared: [/v1/schemas/**] }
  - { path: /v2, upstream: api, account: allow }
  - { path: /v3, upstream: api, environment_key: own_environment }
  - { path: /v4, upstream: api, shared: [/v4/about] }
  - { path: /health, upstream: api, access: public }";
        let table = table(routes);
        let user = |memberships: &[&str]| readable_paths(&table, &account(AccountKind::User, memberships));
        assert_eq!(readable_paths(&table, &environment("e1")), ["/v1/p/e1", "/v3", "/v4/about"]);
        assert_eq!(user(&[]), ["/v2", "/v4/about"]);
        assert_eq!(user(&["e1", "e2"]), ["/v1/p/e1", "/v2", "/v4/about"]);
        let admin = readable_paths(&table, &account(AccountKind::Admin, &[]));
        assert_eq!(admin, ["/v1", "/v2", "/v3", "/v4"]);
    }

    #[test]
    fn where_nothing_is_certain_nothing_is_offered() {
        let table = table("  - { path: /, upstream: api }");
        assert!(readable_paths(&table, &environment("e1")).is_empty());
        assert!(readable_paths(&table, &account(AccountKind::User, &["e1"])).is_empty());
        assert_eq!(readable_paths(&table, &account(AccountKind::Admin, &[])), ["/"]);
    }
}
