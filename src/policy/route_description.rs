//! Describes routes in words, for `portcullis check`.

use std::fmt::Display;

use super::methods::is_safe;
use crate::config::{Access, AccountAccess, EncodedSlash, EnvironmentKeyAccess, KeyAccess, Route, Selectors};

/// Who reaches what under a route, one line each.
pub fn describe_access(route: &Route) -> Vec<String> {
    let access = match &route.access {
        Access::Public { methods } => {
            return vec![format!("{}: everyone, with {}", route.path, listed(methods))];
        }
        Access::Keys(access) => access,
    };
    let mut lines = Vec::new();
    for template in &access.environment {
        lines.push(format!(
            "{template}/…: keys of that environment, its members (readonly: reading only), admins; \
             {template} itself is written by owners and admins only"
        ));
    }
    for pattern in &access.owner_only {
        lines.push(format!("{pattern}: written by owners and admins only"));
    }
    for pattern in &access.shared {
        lines.push(format!("{pattern}: read by every key"));
    }
    let everything_else = match access.account {
        AccountAccess::Allow => "every account",
        AccountAccess::Deny => "admins only",
    };
    let and_keys = match access.environment_key {
        EnvironmentKeyAccess::Deny => "",
        EnvironmentKeyAccess::OwnEnvironment => {
            ", and keys of every environment, to whom it is their own (X-API-Project-Id names it)"
        }
    };
    let everything = if lines.is_empty() { "everything" } else { "everything else" };
    lines.push(format!("{everything} under {}: {everything_else}{and_keys}", route.path));
    lines.extend(choices(access));
    lines
}

fn choices(access: &KeyAccess) -> Vec<String> {
    let mut lines = Vec::new();
    for name in &access.selectors.query {
        lines.push(format!("the query parameter '{}' chooses an environment", name.as_str()));
    }
    for name in &access.selectors.headers {
        lines.push(format!("the header '{name}' chooses an environment"));
    }
    for name in &access.method_override.query {
        lines.push(format!("the query parameter '{}' is refused", name.as_str()));
    }
    lines
}

/// What a route's configuration weakens, one sentence each; empty for a route with the safe defaults.
pub fn route_warnings(route: &Route) -> Vec<String> {
    let access = match &route.access {
        Access::Public { methods } => {
            let writing: Vec<_> = methods.iter().filter(|method| !is_safe(method)).collect();
            return if writing.is_empty() {
                Vec::new()
            } else {
                vec![format!("methods: {} pass at {} without a key", listed(&writing), route.path)]
            };
        }
        Access::Keys(access) => access,
    };
    let mut sentences = Vec::new();
    if route.encoded_slash == EncodedSlash::Allow {
        sentences.push(
            "encoded_slash: allow: after the environment '%2F' reaches the upstream as it came; an upstream that \
             decodes it sees other segments than the gateway. It cannot leave the environment by it, but rules of \
             the upstream's own about paths inside an environment may be passed by"
                .to_owned(),
        );
    }
    for pattern in access
        .shared
        .iter()
        .filter(|pattern| pattern.segments() == route.path.segments() && pattern.is_prefix())
    {
        sentences.push(format!(
            "shared: {pattern}: every key reads all of this route that lies outside environments"
        ));
    }
    if access.account == AccountAccess::Allow {
        let has_environments = !access.environment.is_empty() || access.selectors != Selectors::default();
        let what = if has_environments {
            "what lies outside environments".to_owned()
        } else {
            format!("everything under {}", route.path)
        };
        sentences.push(format!(
            "account: allow: keys of every user account read and write {what}; the upstream must tell accounts apart \
             itself"
        ));
    }
    if access.environment_key == EnvironmentKeyAccess::OwnEnvironment {
        sentences.push(
            "environment_key: own_environment: keys of every environment read and write what lies outside \
             environments, and the gateway does not see whose it is; the upstream must confine each to the environment \
             that X-API-Project-Id names"
                .to_owned(),
        );
    }
    for pattern in &access.readonly_upgrades {
        sentences.push(format!(
            "readonly_upgrades: {pattern}: a tunnel opened here counts as reading, though the gateway cannot see what \
             the client sends through it"
        ));
    }
    sentences
}

fn listed(items: &[impl Display]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::super::test_fixtures::{access, keyed, public, rancher};
    use super::*;

    fn text(lines: &[String]) -> String {
        lines.join("\n")
    }

    #[test]
    fn every_pattern_of_a_route_is_told_with_who_reaches_it() {
        let told = text(&describe_access(&rancher()));
        for expected in [
            "/v2-beta/project/{environment}/…: keys of that environment",
            "/v2-beta/projects/{environment}/projectmembers/**: written by owners and admins only",
            "/v2-beta/schemas/**: read by every key",
            "everything else under /v2-beta: every account",
            "'projectId' chooses",
            "'x-api-project-id' chooses",
            "'_method' is refused",
        ] {
            assert!(told.contains(expected), "{expected:?} is not in:\n{told}");
        }
        assert_eq!(text(&describe_access(&public("/healthz"))), "/healthz: everyone, with GET, HEAD");
    }

    #[test]
    fn safe_defaults_weaken_nothing() {
        assert_eq!(route_warnings(&keyed("/a", &["/a/{environment}"], &["/a"], &[])), [""; 0]);
        assert_eq!(route_warnings(&public("/healthz")), [""; 0]);
    }

    #[test]
    fn each_weakening_is_told() {
        let mut route = rancher();
        route.encoded_slash = EncodedSlash::Allow;
        access(&mut route).environment_key = EnvironmentKeyAccess::OwnEnvironment;
        assert!(text(&describe_access(&route)).contains("every account, and keys of every environment"));
        let told = text(&route_warnings(&route));
        for expected in [
            "encoded_slash: allow",
            "account: allow",
            "environment_key: own_environment",
            "readonly_upgrades: /v2-beta/projects/{environment}/subscribe",
        ] {
            assert!(told.contains(expected), "{expected:?} is not in:\n{told}");
        }
        assert!(text(&route_warnings(&keyed("/a", &[], &["/a/**"], &[]))).contains("shared: /a/**"));
        access(&mut route).account = AccountAccess::Deny;
        assert!(!text(&route_warnings(&route)).contains("account: allow"));

        let mut whole = keyed("/", &[], &[], &[]);
        access(&mut whole).account = AccountAccess::Allow;
        assert_eq!(text(&describe_access(&whole)), "everything under /: every account");
        let told = text(&route_warnings(&whole));
        assert!(told.contains("read and write everything under /;"), "{told}");

        let mut writable = public("/hook");
        writable.access = Access::Public { methods: vec![Method::GET, Method::POST] };
        assert!(text(&route_warnings(&writable)).contains("pass at /hook without a key"));
    }
}
