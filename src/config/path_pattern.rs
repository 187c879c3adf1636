//! The paths, templates and patterns of routes. Each type can only hold what is valid: a [`Template`] has exactly one
//! `{environment}` and lies under its route's path.

use std::fmt;
use std::str::FromStr;

/// Why a path, template, pattern or name of a route is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteTextError {
    /// Does not start with `/`.
    #[error("'{0}' must start with '/'")]
    NotAbsolute(String),
    /// An empty segment at the end.
    #[error("'{0}' must not end with '/': write it without")]
    TrailingSlash(String),
    /// An empty segment elsewhere.
    #[error("'{0}' has an empty segment ('//')")]
    EmptySegment(String),
    /// A literal with other bytes than the plain ones; escapes and upper/lower case variants are judged by the gateway.
    #[error("'{segment}' in '{text}': a segment is {{environment}}, or made of A-Z a-z 0-9 . _ ~ - only")]
    NotPlain {
        /// the whole text
        text: String,
        /// the segment
        segment: String,
    },
    /// A literal that some upstreams read as another one.
    #[error(
        "'{segment}' in '{text}': a literal segment must not end with a dot, because some servers drop it"
    )]
    TrailingDot {
        /// the whole text
        text: String,
        /// the segment
        segment: String,
    },
    /// Another placeholder.
    #[error(
        "'{segment}' in '{text}': the placeholder is called {{environment}}, whatever your API calls its parts"
    )]
    Placeholder {
        /// the whole text
        text: String,
        /// the segment
        segment: String,
    },
    /// `*` as a segment.
    #[error(
        "'{0}': '*' is no wildcard: write {{environment}} for the id of an environment, and '**' at the end of a \
         pattern for everything below"
    )]
    Star(String),
    /// A wildcard in a route's path.
    #[error("'{text}': a route has all that lies beneath its path anyway: write '{path}'")]
    RouteWildcard {
        /// the whole text
        text: String,
        /// the path without the wildcard
        path: String,
    },
    /// `**` anywhere but as the last segment, or where no pattern may stand.
    #[error("'{0}': '**' may only be the last segment of a pattern")]
    Wildcard(String),
    /// `{environment}` where it may not be.
    #[error("'{0}' must not hold {{environment}}")]
    Environment(String),
    /// Not exactly one `{environment}`.
    #[error("'{0}' must hold {{environment}} exactly once, as a whole segment")]
    NotOneEnvironment(String),
    /// Outside the route.
    #[error("'{text}' must lie under the route's path '{route}'")]
    Outside {
        /// the text
        text: String,
        /// the route's path
        route: String,
    },
    /// Not the name of a query parameter.
    #[error("'{0}' is not the name of a query parameter: use A-Z a-z 0-9 . _ ~ - only")]
    QueryName(String),
}

/// One segment of a template or pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemplateSegment {
    /// Exactly this text, made of `[A-Za-z0-9._~-]`, not ending with a dot.
    Literal(String),
    /// An environment's id.
    Environment,
}

impl fmt::Display for TemplateSegment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(text) => f.write_str(text),
            Self::Environment => f.write_str("{environment}"),
        }
    }
}

/// Segments and whether they are a prefix: what all paths, templates and patterns are made of.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Segments {
    parts: Vec<TemplateSegment>,
    prefix: bool,
    /// Only a route's path may have one.
    trailing_slash: bool,
}

impl Segments {
    fn parse(text: &str) -> Result<Self, RouteTextError> {
        let rest = text.strip_prefix('/').ok_or_else(|| RouteTextError::NotAbsolute(text.to_owned()))?;
        let mut pieces: Vec<&str> = if rest.is_empty() { Vec::new() } else { rest.split('/').collect() };
        let prefix = pieces.pop_if(|last| *last == "**").is_some();
        if pieces.last().is_some_and(|last| last.is_empty()) {
            return Err(if prefix {
                RouteTextError::EmptySegment(text.to_owned())
            } else {
                RouteTextError::TrailingSlash(text.to_owned())
            });
        }
        let parts = pieces
            .into_iter()
            .map(|piece| Self::segment(text, piece))
            .collect::<Result<_, RouteTextError>>()?;
        Ok(Self { parts, prefix, trailing_slash: false })
    }

    fn segment(text: &str, piece: &str) -> Result<TemplateSegment, RouteTextError> {
        match piece {
            "" => Err(RouteTextError::EmptySegment(text.to_owned())),
            "**" => Err(RouteTextError::Wildcard(text.to_owned())),
            "*" => Err(RouteTextError::Star(text.to_owned())),
            "{environment}" => Ok(TemplateSegment::Environment),
            _ if piece.starts_with('{') && piece.ends_with('}') => {
                Err(RouteTextError::Placeholder { text: text.to_owned(), segment: piece.to_owned() })
            }
            _ if !piece.bytes().all(is_plain) => {
                Err(RouteTextError::NotPlain { text: text.to_owned(), segment: piece.to_owned() })
            }
            _ if piece.ends_with('.') => {
                Err(RouteTextError::TrailingDot { text: text.to_owned(), segment: piece.to_owned() })
            }
            _ => Ok(TemplateSegment::Literal(piece.to_owned())),
        }
    }

    fn environments(&self) -> usize {
        self.parts.iter().filter(|segment| **segment == TemplateSegment::Environment).count()
    }

    fn under(self, route: &RoutePath) -> Result<Self, RouteTextError> {
        if self.parts.starts_with(route.segments()) {
            Ok(self)
        } else {
            Err(RouteTextError::Outside { text: self.to_string(), route: route.to_string() })
        }
    }

    fn without_environment(self) -> Result<Self, RouteTextError> {
        if self.environments() == 0 { Ok(self) } else { Err(RouteTextError::Environment(self.to_string())) }
    }

    fn with_one_environment(self) -> Result<Self, RouteTextError> {
        if self.environments() == 1 {
            Ok(self)
        } else {
            Err(RouteTextError::NotOneEnvironment(self.to_string()))
        }
    }

    fn with_at_most_one_environment(self) -> Result<Self, RouteTextError> {
        if self.environments() <= 1 {
            Ok(self)
        } else {
            Err(RouteTextError::NotOneEnvironment(self.to_string()))
        }
    }

    fn without_wildcard(self) -> Result<Self, RouteTextError> {
        if self.prefix { Err(RouteTextError::Wildcard(self.to_string())) } else { Ok(self) }
    }
}

impl fmt::Display for Segments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for segment in &self.parts {
            write!(f, "/{segment}")?;
        }
        match (self.prefix, self.parts.is_empty()) {
            (true, _) => f.write_str("/**"),
            (false, true) => f.write_str("/"),
            (false, false) if self.trailing_slash => f.write_str("/"),
            (false, false) => Ok(()),
        }
    }
}

/// The bytes that no reader of a path treats specially (RFC 3986's unreserved characters).
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'~' | b'-')
}

macro_rules! text_of_segments {
    ($name:ident) => {
        impl $name {
            /// Its segments, without the `**`.
            pub fn segments(&self) -> &[TemplateSegment] {
                &self.0.parts
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

/// A route's path: literal segments, no wildcard. Only a public route's may end with a slash (beside `/` itself, under
/// which everything lies).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoutePath(Segments);
text_of_segments!(RoutePath);

impl RoutePath {
    /// `/`, under which everything lies.
    pub(super) fn root() -> Self {
        Self(Segments { parts: Vec::new(), prefix: false, trailing_slash: false })
    }

    /// Whether it ends with a slash that makes it another path: `/a/` does, `/` does not.
    pub fn has_trailing_slash(&self) -> bool {
        self.0.trailing_slash
    }
}

impl FromStr for RoutePath {
    type Err = RouteTextError;

    fn from_str(text: &str) -> Result<Self, RouteTextError> {
        if let Some(path) = text.strip_suffix("/*").or_else(|| text.strip_suffix("/**")) {
            let path = if path.is_empty() { "/" } else { path };
            return Err(RouteTextError::RouteWildcard { text: text.to_owned(), path: path.to_owned() });
        }
        let (text, trailing_slash) = match text.strip_suffix('/') {
            Some(without) if without.len() > 1 => (without, true),
            _ => (text, false),
        };
        let segments = Segments::parse(text)?.without_wildcard()?.without_environment()?;
        Ok(Self(Segments { trailing_slash, ..segments }))
    }
}

/// Where environments lie: a path with exactly one `{environment}`, under the route's path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Segments);
text_of_segments!(Template);

impl Template {
    /// Reads a template of the route at `route`.
    pub fn parse(text: &str, route: &RoutePath) -> Result<Self, RouteTextError> {
        Segments::parse(text)?.without_wildcard()?.with_one_environment()?.under(route).map(Self)
    }
}

/// A literal path (`/v2-beta/schemas`), or all that lies beneath one (`/v2-beta/schemas/**`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPattern(Segments);
text_of_segments!(PathPattern);

impl PathPattern {
    /// Reads a pattern of the route at `route`.
    pub fn parse(text: &str, route: &RoutePath) -> Result<Self, RouteTextError> {
        Segments::parse(text)?.without_environment()?.under(route).map(Self)
    }

    /// Whether it ends with `/**`.
    pub fn is_prefix(&self) -> bool {
        self.0.prefix
    }
}

/// A path inside an environment (`/v2-beta/projects/{environment}/projectmembers/**`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnerPattern(Segments);
text_of_segments!(OwnerPattern);

impl OwnerPattern {
    /// Reads a pattern of the route at `route`.
    pub fn parse(text: &str, route: &RoutePath) -> Result<Self, RouteTextError> {
        Segments::parse(text)?.with_one_environment()?.under(route).map(Self)
    }

    /// Whether it ends with `/**`.
    pub fn is_prefix(&self) -> bool {
        self.0.prefix
    }
}

/// A path, inside an environment or not, where a tunnel only reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadonlyUpgradePattern(Segments);
text_of_segments!(ReadonlyUpgradePattern);

impl ReadonlyUpgradePattern {
    /// Reads a pattern of the route at `route`.
    pub fn parse(text: &str, route: &RoutePath) -> Result<Self, RouteTextError> {
        Segments::parse(text)?.with_at_most_one_environment()?.under(route).map(Self)
    }

    /// Whether it ends with `/**`.
    pub fn is_prefix(&self) -> bool {
        self.0.prefix
    }
}

/// The name of a query parameter, made of `[A-Za-z0-9._~-]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryName(String);

impl QueryName {
    /// The name as it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for QueryName {
    type Err = RouteTextError;

    fn from_str(text: &str) -> Result<Self, RouteTextError> {
        if !text.is_empty() && text.bytes().all(is_plain) {
            Ok(Self(text.to_owned()))
        } else {
            Err(RouteTextError::QueryName(text.to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(text: &str) -> RoutePath {
        text.parse().unwrap()
    }

    #[test]
    fn texts_print_as_they_were_written() {
        let v2 = route("/v2-beta");
        for text in ["/", "/v2-beta", "/a/b.c", "/a/"] {
            assert_eq!(route(text).to_string(), text);
        }
        assert_eq!(
            Template::parse("/v2-beta/p/{environment}", &v2).unwrap().to_string(),
            "/v2-beta/p/{environment}"
        );
        for text in ["/v2-beta", "/v2-beta/**", "/v2-beta/schemas/**"] {
            assert_eq!(PathPattern::parse(text, &v2).unwrap().to_string(), text);
        }
        assert_eq!(PathPattern::parse("/**", &route("/")).unwrap().to_string(), "/**");
    }

    #[test]
    fn a_route_path_is_literal_and_plain() {
        use RouteTextError as E;
        let refused = |text: &str| text.parse::<RoutePath>().unwrap_err();
        assert_eq!(refused("a"), E::NotAbsolute("a".into()));
        assert_eq!(refused(""), E::NotAbsolute(String::new()));
        assert_eq!(refused("/a//"), E::TrailingSlash("/a/".into()));
        assert!(route("/a/").has_trailing_slash() && !route("/").has_trailing_slash());
        assert_ne!(route("/a/"), route("/a"));
        assert_eq!(refused("//"), E::TrailingSlash("//".into()));
        assert_eq!(refused("//a"), E::EmptySegment("//a".into()));
        for (text, path) in [("/a/**", "/a"), ("/a/*", "/a"), ("/*", "/")] {
            assert_eq!(refused(text), E::RouteWildcard { text: text.into(), path: path.into() });
        }
        assert_eq!(refused("/a/*/b"), E::Star("/a/*/b".into()));
        assert!(matches!(refused("/{project}/b"), E::Placeholder { .. }));
        assert_eq!(refused("/**/a"), E::Wildcard("/**/a".into()));
        assert_eq!(refused("/a/{environment}"), E::Environment("/a/{environment}".into()));
        for text in ["/a b", "/%61", "/a;b", "/a?b", "/é", "/{env", "/a*", "/x{environment}"] {
            assert!(matches!(refused(text), E::NotPlain { .. }), "{text}");
        }
        for text in ["/.", "/..", "/a./b", "/..."] {
            assert!(matches!(refused(text), E::TrailingDot { .. }), "{text}");
        }
    }

    #[test]
    fn a_template_holds_one_environment_under_its_route() {
        let v2 = route("/v2-beta");
        for text in ["/v2-beta/p", "/v2-beta/{environment}/{environment}"] {
            assert_eq!(Template::parse(text, &v2), Err(RouteTextError::NotOneEnvironment(text.into())));
        }
        for text in ["/v2/p/{environment}", "/v2-beta2/{environment}", "/{environment}"] {
            assert!(matches!(Template::parse(text, &v2), Err(RouteTextError::Outside { .. })), "{text}");
        }
        assert!(matches!(
            Template::parse("/v2-beta/{environment}/**", &v2),
            Err(RouteTextError::Wildcard(_))
        ));
        assert!(Template::parse("/{environment}/api", &route("/")).is_ok());
    }

    #[test]
    fn patterns_hold_environments_only_where_they_may() {
        let v2 = route("/v2-beta");
        assert!(PathPattern::parse("/v2-beta/{environment}", &v2).is_err());
        assert!(OwnerPattern::parse("/v2-beta/p/x", &v2).is_err());
        assert!(OwnerPattern::parse("/v2-beta/p/{environment}/x/**", &v2).unwrap().is_prefix());
        assert!(ReadonlyUpgradePattern::parse("/v2-beta/subscribe", &v2).is_ok());
        assert!(ReadonlyUpgradePattern::parse("/v2-beta/{environment}/subscribe", &v2).is_ok());
        assert!(ReadonlyUpgradePattern::parse("/v2-beta/{environment}/{environment}", &v2).is_err());
        assert!(PathPattern::parse("/v2-beta/schemas/", &v2).is_err());
    }

    #[test]
    fn query_names_are_plain() {
        assert_eq!("projectId".parse::<QueryName>().unwrap().as_str(), "projectId");
        for text in ["", "a b", "a=b", "a[]", "a%41"] {
            assert!(text.parse::<QueryName>().is_err(), "{text}");
        }
    }
}
