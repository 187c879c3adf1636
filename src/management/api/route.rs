//! Routing: what a path of the API names, by the table of types.

use percent_encoding::percent_decode_str;

use super::resource_type::Type;
use super::types;
use super::url::ROOT;
use crate::management::refusal::Refusal;
use crate::model::EnvironmentId;

/// What a path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Route {
    /// The environment that the path goes through: `/v2-beta/projects/{id}/…`.
    pub(super) environment: Option<String>,
    pub(super) target: Target,
}

/// What a path names, inside its environment if it has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// `/v2-beta` itself.
    Root,
    /// All resources of a type.
    Collection(Type),
    /// One resource.
    Resource(Type, String),
    /// What a link of a resource leads to.
    Link(Type, String, String),
    /// Nothing.
    Unknown,
}

impl Route {
    /// Reads a path. Types are named in any case, in singular or plural; a slash at the end does not count.
    pub(super) fn parse(path: &str) -> Self {
        let nothing = Self { environment: None, target: Target::Unknown };
        let Some(rest) = path.strip_prefix(ROOT) else { return nothing };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.is_empty() {
            return Self { environment: None, target: Target::Root };
        }
        let decode = |segment: &str| {
            percent_decode_str(segment)
                .decode_utf8()
                .ok()
                .map(std::borrow::Cow::into_owned)
                .filter(|text| !text.is_empty())
        };
        // the slash at the beginning gives one empty segment
        let Some(segments) = rest.split('/').skip(1).map(decode).collect::<Option<Vec<_>>>() else {
            return nothing;
        };
        match segments.split_first_chunk::<2>() {
            Some(([first, id], rest))
                if !rest.is_empty() && types::by_name(first).is_some_and(types::is_project) =>
            {
                // the links of a project lead to what belongs to it
                Self { environment: Some(id.clone()), target: Target::parse(rest) }
            }
            _ => Self { environment: None, target: Target::parse(&segments) },
        }
    }

    /// The environment that the path goes through. What is no id names none that exists.
    pub(super) fn environment_id(&self) -> Result<Option<EnvironmentId>, Refusal> {
        self.environment.as_ref().map(|id| id.parse().map_err(|_| Refusal::NotFound)).transpose()
    }
}

impl Target {
    fn parse(segments: &[String]) -> Self {
        let named = segments.first().and_then(|name| types::by_name(name));
        match (named, segments) {
            (Some(kind), [_]) => Self::Collection(kind),
            (Some(kind), [_, id]) => Self::Resource(kind, id.clone()),
            (Some(kind), [_, id, link]) => Self::Link(kind, id.clone(), link.to_ascii_lowercase()),
            _ => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(path: &str) -> (Option<String>, Target) {
        let route = Route::parse(path);
        (route.environment, route.target)
    }

    fn kind(name: &str) -> Type {
        types::by_name(name).unwrap()
    }

    #[test]
    fn types_are_named_in_any_case_in_singular_or_plural() {
        for name in ["apikey", "apiKey", "apikeys", "apiKeys", "APIKEYS"] {
            assert_eq!(
                parse(&format!("/v2-beta/{name}")),
                (None, Target::Collection(kind("apiKey"))),
                "{name}"
            );
        }
        assert_eq!(
            parse("/v2-beta/apikeys/1c5/"),
            (None, Target::Resource(kind("apiKey"), "1c5".to_owned()))
        );
        assert_eq!(
            parse("/v2-beta/apikeys/1c5/Account"),
            (None, Target::Link(kind("apiKey"), "1c5".to_owned(), "account".to_owned()))
        );
    }

    #[test]
    fn what_belongs_to_a_project_is_found_under_its_path() {
        let environment = Some("e1".to_owned());
        assert_eq!(parse("/v2-beta/projects/e1"), (None, Target::Resource(kind("project"), "e1".to_owned())));
        assert_eq!(
            parse("/v2-beta/project/e1/apikeys"),
            (environment.clone(), Target::Collection(kind("apiKey")))
        );
        assert_eq!(
            parse("/v2-beta/projects/e1/schemas/schemas"),
            (environment, Target::Resource(kind("schema"), "schemas".to_owned()))
        );
    }

    #[test]
    fn other_paths_are_unknown() {
        for path in [
            "/v2-beta/nonsense",
            "/v2-beta//apikeys",
            "/v2-beta/apikeys//1c5",
            "/v2-beta/a/b/c/d",
            "/v2-beta/%ff",
        ] {
            assert_eq!(parse(path), (None, Target::Unknown), "{path}");
        }
        assert_eq!(parse("/v2-beta/"), (None, Target::Root));
    }
}
