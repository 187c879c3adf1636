//! Reads `routes:`.

use std::fmt::Display;
use std::str::FromStr as _;

use http::{HeaderName, Method};

use super::cors;
use super::limits::body_size;
use super::reader::{Reader, Section};
use super::yaml::{Node, Value};
use super::{
    AcceptedCredentials, Access, AccountAccess, EncodedSlash, EnvironmentKeyAccess, KeyAccess, OwnerPattern,
    PathPattern, QueryName, ReadonlyUpgradePattern, RefusedMethodOverrides, Route, RoutePath, Selectors,
    Template, Upstream,
};

/// The keys of a route.
pub(super) const KEYS: [&str; 15] = [
    "path",
    "upstream",
    "access",
    "methods",
    "environment",
    "account",
    "environment_key",
    "shared",
    "owner_only",
    "selectors",
    "method_override",
    "readonly_upgrades",
    "encoded_slash",
    "cors",
    "body_bytes",
];

/// Keys that only mean something where keys are needed.
const KEYED: [&str; 8] = [
    "environment",
    "account",
    "environment_key",
    "shared",
    "owner_only",
    "selectors",
    "method_override",
    "readonly_upgrades",
];

/// Reads every route. `upstreams` is `None` where they could not be read at all: then none is missed.
pub(super) fn read_all(
    reader: &mut Reader<'_>,
    node: &Node,
    upstreams: Option<&[Upstream]>,
    accepted: &AcceptedCredentials,
) -> Option<Vec<Route>> {
    let mut paths: Vec<(RoutePath, bool, usize)> = Vec::new();
    reader.items(node, "a list of routes", |reader, node| {
        let section = reader.section(node, &KEYS)?;
        let upstream =
            reader.required(&section, "upstream").and_then(|node| read_upstream(reader, node, upstreams));
        let mut encoded_slash = EncodedSlash::default();
        reader.set(&mut encoded_slash, section.get("encoded_slash"), |reader, node| {
            reader.word(node, &[("refuse", EncodedSlash::Refuse), ("allow", EncodedSlash::Allow)])
        });
        let cors = section.get("cors").map(|node| cors::read(reader, node, accepted));
        let body_bytes = section.get("body_bytes").map(|node| body_size(reader, node));

        let path_node = reader.required(&section, "path");
        let path =
            path_node.and_then(|node| judged(reader, node, "a path such as /v2-beta", RoutePath::from_str));
        // what else is wrong is told too where the path is: everything lies under `/`
        let access = read_access(reader, &section, path.as_ref().unwrap_or(&RoutePath::root()));
        let (path_node, path) = (path_node?, path?);
        // a public path may lie where a route with keys begins: it is one path, the other all that lies beneath
        let is_public = matches!(access, Some(Access::Public { .. }));
        if path.has_trailing_slash() && matches!(access, Some(Access::Keys(_))) {
            let message =
                "only a public path may end with '/': a route with keys has all that lies beneath its path";
            reader.error(path_node, format!("'{path}': {message}"));
        }
        if let Some((.., line)) =
            paths.iter().find(|(known, public, _)| (known, *public) == (&path, is_public))
        {
            reader.error(path_node, format!("the route '{path}' is given twice, first in line {line}"));
        }
        paths.push((path.clone(), is_public, path_node.position.line));

        Some(Route {
            path,
            upstream: upstream?,
            access: access?,
            encoded_slash,
            position: node.position,
            cors: match cors {
                None => None,
                Some(cors) => Some(cors?),
            },
            body_bytes: match body_bytes {
                None => None,
                Some(bytes) => Some(bytes?),
            },
        })
    })
}

fn read_upstream(reader: &mut Reader<'_>, node: &Node, upstreams: Option<&[Upstream]>) -> Option<usize> {
    let upstreams = upstreams?;
    let names: Vec<_> = upstreams.iter().map(|upstream| upstream.name.as_str()).collect();
    reader.reference(node, "upstreams", &names)
}

fn read_access(reader: &mut Reader<'_>, section: &Section<'_>, path: &RoutePath) -> Option<Access> {
    let public = match section.get("access") {
        None => Some(false),
        Some(node) => reader.word(node, &[("public", true), ("keys", false)]),
    };
    let Some(public) = public else {
        // what else is wrong is told too
        read_keyed(reader, section, path);
        return None;
    };
    if !public {
        if let Some(entry) = section.entry("methods") {
            let message =
                "'methods' has no meaning where keys are needed: expected it beside 'access: public'";
            reader.error_at(entry.position, &entry.node.path, message);
        }
        return Some(Access::Keys(read_keyed(reader, section, path)));
    }
    for entry in KEYED.iter().filter_map(|key| section.entry(key)) {
        let message = format!("'{}' has no meaning on a public route, which needs no key", entry.key);
        reader.error_at(entry.position, &entry.node.path, message);
    }
    let mut methods = vec![Method::GET, Method::HEAD];
    reader.set(&mut methods, section.get("methods"), |reader, node| {
        reader.items(node, "a list of methods such as [GET, HEAD]", read_method)
    });
    Some(Access::Public { methods })
}

fn read_keyed(reader: &mut Reader<'_>, section: &Section<'_>, path: &RoutePath) -> KeyAccess {
    let mut keys = KeyAccess::default();
    reader.set(&mut keys.environment, section.get("environment"), |reader, node| {
        let expected = "a path such as '/v1/projects/{environment}', or a list of such";
        let template = |reader: &mut Reader<'_>, node: &Node| {
            judged(reader, node, expected, |text| Template::parse(text, path))
        };
        if matches!(node.value, Value::List(_)) {
            distinct(reader, node, expected, template)
        } else {
            template(reader, node).map(|template| vec![template])
        }
    });
    reader.set(&mut keys.account, section.get("account"), |reader, node| {
        reader.word(node, &[("allow", AccountAccess::Allow), ("deny", AccountAccess::Deny)])
    });
    reader.set(&mut keys.environment_key, section.get("environment_key"), |reader, node| {
        let words =
            [("deny", EnvironmentKeyAccess::Deny), ("own_environment", EnvironmentKeyAccess::OwnEnvironment)];
        reader.word(node, &words)
    });
    reader.set(&mut keys.shared, section.get("shared"), |reader, node| {
        let expected = "a list of paths such as [/v2-beta, /v2-beta/schemas/**]";
        distinct(reader, node, expected, |reader, node| {
            judged(reader, node, "a path", |text| PathPattern::parse(text, path))
        })
    });
    reader.set(&mut keys.owner_only, section.get("owner_only"), |reader, node| {
        let expected = "a list of paths with {environment} in them";
        distinct(reader, node, expected, |reader, node| {
            let pattern = judged(reader, node, "a path", |text| OwnerPattern::parse(text, path))?;
            let inside = |template: &Template| pattern.segments().starts_with(template.segments());
            if !keys.environment.is_empty() && !keys.environment.iter().any(inside) {
                reader.error(
                    node,
                    format!("'{pattern}' lies in no environment: expected it to start with a template of 'environment'"),
                );
            }
            Some(pattern)
        })
    });
    reader.set(&mut keys.selectors, section.get("selectors"), |reader, node| {
        let section = reader.section(node, &["query", "headers"])?;
        let mut selectors = Selectors::default();
        reader.set(&mut selectors.query, section.get("query"), read_query_names);
        reader.set(&mut selectors.headers, section.get("headers"), |reader, node| {
            distinct(reader, node, "a list of header names", read_header_name)
        });
        Some(selectors)
    });
    reader.set(&mut keys.method_override, section.get("method_override"), |reader, node| {
        let section = reader.section(node, &["query"])?;
        let node = reader.required(&section, "query")?;
        read_query_names(reader, node).map(|query| RefusedMethodOverrides { query })
    });
    reader.set(&mut keys.readonly_upgrades, section.get("readonly_upgrades"), |reader, node| {
        distinct(reader, node, "a list of paths", |reader, node| {
            judged(reader, node, "a path", |text| ReadonlyUpgradePattern::parse(text, path))
        })
    });
    keys
}

fn read_query_names(reader: &mut Reader<'_>, node: &Node) -> Option<Vec<QueryName>> {
    distinct(reader, node, "a list of query parameters", |reader, node| {
        judged(reader, node, "the name of a query parameter", QueryName::from_str)
    })
}

/// Reads the name of a header.
pub(super) fn read_header_name(reader: &mut Reader<'_>, node: &Node) -> Option<HeaderName> {
    reader.parsed(node, "the name of a header, such as X-API-Project-Id", |text| text.parse().ok())
}

pub(super) fn read_method(reader: &mut Reader<'_>, node: &Node) -> Option<Method> {
    let expected = "a method in upper case such as GET, but neither CONNECT nor TRACE";
    reader.parsed(node, expected, |text| {
        let known = text.bytes().all(|b| b.is_ascii_uppercase() || b == b'-');
        Method::from_str(text)
            .ok()
            .filter(|method| known && *method != Method::CONNECT && *method != Method::TRACE)
    })
}

/// Reads a text whose type judges it and says itself what is wrong.
fn judged<T, E: Display>(
    reader: &mut Reader<'_>,
    node: &Node,
    expected: &str,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Option<T> {
    let text = reader.text(node, expected)?;
    parse(text).map_err(|error| reader.error(node, error.to_string())).ok()
}

/// Reads a list in which nothing comes twice.
pub(super) fn distinct<T: PartialEq>(
    reader: &mut Reader<'_>,
    node: &Node,
    expected: &str,
    mut read: impl FnMut(&mut Reader<'_>, &Node) -> Option<T>,
) -> Option<Vec<T>> {
    let items = reader.list(node, expected)?;
    let mut values = Vec::with_capacity(items.len());
    for item in items {
        if let Some(value) = read(reader, item) {
            if values.contains(&value) {
                reader.error(item, "given twice in this list");
            }
            values.push(value);
        }
    }
    Some(values)
}
