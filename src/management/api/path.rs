//! What a path of the API names.

use percent_encoding::percent_decode_str;

use super::types::Type;
use crate::model::EnvironmentId;

/// Where the API lies.
pub(super) const ROOT: &str = "/v2-beta";

/// A path of the API, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// The environment that the path goes through: `/v2-beta/projects/{id}/…`.
    pub(super) context: Option<String>,
    /// What it names there.
    pub(super) thing: Thing,
}

/// What a path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Thing {
    /// The API's version document.
    Version,
    /// All resources of a type.
    Collection(Type),
    /// One resource.
    Resource(Type, String),
    /// What a link of a resource leads to.
    Link(Type, String, String),
    /// Nothing.
    Unknown,
}

impl Target {
    /// Reads a path. Types are named in any case, in singular or plural; a slash at the end does not count.
    pub(super) fn parse(path: &str) -> Self {
        let nothing = Self { context: None, thing: Thing::Unknown };
        let Some(rest) = path.strip_prefix(ROOT) else { return nothing };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.is_empty() {
            return Self { context: None, thing: Thing::Version };
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
            Some(([first, id], rest)) if !rest.is_empty() && Type::named(first) == Some(Type::Project) => {
                // a project's own links are contexts: what lies beneath it
                Self { context: Some(id.clone()), thing: Thing::parse(rest) }
            }
            _ => Self { context: None, thing: Thing::parse(&segments) },
        }
    }

    /// The environment that the path goes through, where it can be one.
    pub(super) fn context_id(&self) -> Option<Result<EnvironmentId, ()>> {
        self.context.as_ref().map(|id| id.parse().map_err(|_| ()))
    }
}

impl Thing {
    fn parse(segments: &[String]) -> Self {
        let named = segments.first().and_then(|name| Type::named(name));
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

    fn parse(path: &str) -> (Option<String>, Thing) {
        let target = Target::parse(path);
        (target.context, target.thing)
    }

    #[test]
    fn types_are_named_in_any_case_in_singular_or_plural() {
        for name in ["apikey", "apiKey", "apikeys", "apiKeys", "APIKEYS"] {
            assert_eq!(parse(&format!("/v2-beta/{name}")), (None, Thing::Collection(Type::ApiKey)), "{name}");
        }
        assert_eq!(parse("/v2-beta/apikeys/1c5/"), (None, Thing::Resource(Type::ApiKey, "1c5".to_owned())));
        assert_eq!(
            parse("/v2-beta/apikeys/1c5/Account"),
            (None, Thing::Link(Type::ApiKey, "1c5".to_owned(), "account".to_owned()))
        );
    }

    #[test]
    fn what_lies_beneath_a_project_is_seen_through_it() {
        let context = Some("e1".to_owned());
        assert_eq!(parse("/v2-beta/projects/e1"), (None, Thing::Resource(Type::Project, "e1".to_owned())));
        assert_eq!(parse("/v2-beta/project/e1/apikeys"), (context.clone(), Thing::Collection(Type::ApiKey)));
        assert_eq!(
            parse("/v2-beta/projects/e1/schemas/schemas"),
            (context, Thing::Resource(Type::Schema, "schemas".to_owned()))
        );
    }

    #[test]
    fn anything_else_is_nothing() {
        for path in [
            "/v2-beta/nonsense",
            "/v2-beta//apikeys",
            "/v2-beta/apikeys//1c5",
            "/v2-beta/a/b/c/d",
            "/v2-beta/%ff",
        ] {
            assert_eq!(parse(path), (None, Thing::Unknown), "{path}");
        }
        assert_eq!(parse("/v2-beta/"), (None, Thing::Version));
    }
}
