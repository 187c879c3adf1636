//! The property of paths: no reading of a path that is let through leads to another route, class or environment.
//!
//! It is a function over any classifier, so that the tests can show it failing on weakened ones. The fuzz target
//! `path_classification` includes this file.

use std::collections::HashSet;
use std::fmt;

use portcullis::config::{
    Access, EncodedSlash, EnvironmentKeyAccess, FilePosition, KeyAccess, OwnerPattern, PathPattern, Route,
    RoutePath, Template,
};
use portcullis::policy::{EnvironmentName, PathClass, PathRefusal, RouteTable, RoutingError, admit_target};

use crate::readings::Reading;

/// One route, as a reader of the configuration understands it.
#[derive(Clone, Copy, Default)]
pub struct Spec {
    pub path: &'static str,
    pub is_public: bool,
    pub templates: &'static [&'static str],
    pub shared: &'static [&'static str],
    pub owner_only: &'static [&'static str],
    /// What `environment_key: own_environment` adds to it outside environments; without any, the route does not say so.
    pub owner_only_outside: &'static [&'static str],
    pub allows_encoded_slash: bool,
}

/// Routes that are judged together.
pub struct World {
    pub specs: &'static [Spec],
    table: RouteTable,
}

const RANCHER: Spec = Spec {
    path: "/v2-beta",
    is_public: false,
    templates: &["/v2-beta/projects/{environment}", "/v2-beta/project/{environment}"],
    shared: &["/v2-beta", "/v2-beta/schemas", "/v2-beta/schemas/**", "/v2-beta/one"],
    owner_only: &[
        "/v2-beta/projects/{environment}/projectmembers/**",
        "/v2-beta/project/{environment}/a/secret",
    ],
    owner_only_outside: &[],
    allows_encoded_slash: false,
};

const HEALTH: Spec = Spec {
    path: "/healthz",
    is_public: true,
    templates: &[],
    shared: &[],
    owner_only: &[],
    owner_only_outside: &[],
    allows_encoded_slash: false,
};

const WORLDS: [&[Spec]; 5] = [
    &[RANCHER, HEALTH],
    &[Spec { owner_only_outside: &["/v2-beta/projectmembers/**", "/v2-beta/a/secret"], ..RANCHER }, HEALTH],
    &[Spec { allows_encoded_slash: true, ..RANCHER }, HEALTH],
    // a route over everything, an environment in the first segment, a template that goes on after it
    &[
        Spec {
            path: "/",
            is_public: false,
            templates: &["/{environment}/api/v1"],
            shared: &["/**"],
            owner_only: &["/{environment}/api/v1/keys"],
            owner_only_outside: &[],
            allows_encoded_slash: true,
        },
        Spec { path: "/", ..HEALTH },
    ],
    // routes within routes, words in upper case, letters that other letters fold to
    &[
        Spec {
            path: "/",
            is_public: false,
            templates: &[],
            shared: &["/**"],
            owner_only: &[],
            owner_only_outside: &[],
            allows_encoded_slash: false,
        },
        Spec {
            path: "/API",
            is_public: false,
            templates: &["/API/class/{environment}"],
            shared: &["/API/.well-known"],
            owner_only: &["/API/class/{environment}/Files/**"],
            owner_only_outside: &[],
            allows_encoded_slash: true,
        },
        Spec {
            path: "/API/class-files",
            is_public: false,
            templates: &[],
            shared: &[],
            owner_only: &[],
            owner_only_outside: &[],
            allows_encoded_slash: false,
        },
        Spec { path: "/API/ping", ..HEALTH },
        // with a slash at its end, and not without
        Spec { path: "/API/exec/", ..HEALTH },
    ],
];

/// What a reader of a path sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    NoRoute,
    Route { index: usize, class: SeenClass, owner_only: bool },
}

/// The class, with the environment's id in lower case: ids are unique without regard to case, and a spelling other
/// than the stored one is unknown to the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SeenClass {
    Public,
    Shared,
    Environment(Option<String>),
    Account,
}

/// A path, and readings that lead elsewhere than the classifier said.
pub struct CounterExample {
    pub path: Vec<u8>,
    readings: Vec<Reading>,
    read: Vec<u8>,
    classified: Seen,
    seen: Seen,
}

impl fmt::Display for CounterExample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, readings, read, classified, seen } = self;
        let (path, read) = (path.escape_ascii(), read.escape_ascii());
        write!(f, "{path} is let through as {classified:?}, but read by {readings:?} it is {read}: {seen:?}")
    }
}

/// Says what a path is: `Ok` for what may be forwarded (or is 404), `Err` for what is refused.
pub type Classifier<'a> = dyn Fn(&World, &[u8]) -> Result<Seen, PathRefusal> + 'a;

/// The gateway's own classifier. An ambiguous environment is refused to everyone by the decision.
pub fn gateway(world: &World, path: &[u8]) -> Result<Seen, PathRefusal> {
    let routed =
        match admit_target(path).map_err(RoutingError::from).and_then(|target| world.table.classify(&target))
        {
            Ok(routed) => routed,
            Err(RoutingError::NoRoute) => return Ok(Seen::NoRoute),
            Err(RoutingError::Ambiguous(refusal)) => return Err(refusal),
        };
    let class = match routed.class {
        PathClass::Public => SeenClass::Public,
        PathClass::Shared => SeenClass::Shared,
        PathClass::Account => SeenClass::Account,
        PathClass::Environment(EnvironmentName::Named(id)) => {
            SeenClass::Environment(Some(id.to_ascii_lowercase()))
        }
        PathClass::Environment(EnvironmentName::Malformed) => SeenClass::Environment(None),
        PathClass::Environment(EnvironmentName::Ambiguous | EnvironmentName::Contradicted) => {
            return Err(PathRefusal::EnvironmentVariant);
        }
    };
    Ok(Seen::Route { index: routed.index, class, owner_only: routed.owner_only })
}

/// Looks for up to three readings of `path` that see something else than `classify` said.
pub fn counter_example(world: &World, classify: &Classifier<'_>, path: &[u8]) -> Option<CounterExample> {
    let classified = classify(world, path).ok()?;
    let mut seen = Seen::NoRoute;
    let found = find_reading(path, |read, folds_case| {
        seen = world.read(read, folds_case);
        seen != classified
    });
    found.map(|(read, readings)| CounterExample { path: path.to_vec(), readings, read, classified, seen })
}

/// Looks for up to three readings of `path` after which `is_sought` says so of what is read, and of whether the reader
/// compares without regard to case. What is read then, and by which readings.
pub fn find_reading(
    path: &[u8],
    mut is_sought: impl FnMut(&[u8], bool) -> bool,
) -> Option<(Vec<u8>, Vec<Reading>)> {
    let mut known = HashSet::from([(path.to_vec(), false)]);
    let mut latest = vec![(path.to_vec(), false, Vec::new())];
    for _ in 0..=3 {
        let mut next = Vec::new();
        for (read, folds_case, readings) in latest {
            if is_sought(&read, folds_case) {
                return Some((read, readings));
            }
            for reading in Reading::ALL {
                let folds_case = folds_case || reading.folds_case();
                let again = reading.apply(&read);
                if known.insert((again.clone(), folds_case)) {
                    next.push((again, folds_case, [readings.as_slice(), &[reading]].concat()));
                }
            }
        }
        latest = next;
    }
    None
}

// === impl World ===

impl World {
    pub fn all() -> Vec<Self> {
        WORLDS.into_iter().map(Self::new).collect()
    }

    fn new(specs: &'static [Spec]) -> Self {
        let routes: Vec<Route> = specs.iter().map(Spec::route).collect();
        let table = RouteTable::new(&routes).unwrap_or_else(|problems| panic!("{problems:?}"));
        Self { specs, table }
    }

    /// What a server sees that takes the path as it stands: plain comparison of segments, written without a tree.
    pub fn read(&self, path: &[u8], folds_case: bool) -> Seen {
        let mut segments: Vec<&[u8]> = path[1..].split(|&byte| byte == b'/').collect();
        if segments == [b""] {
            segments.clear();
        }
        let matching = Matching { folds_case };
        let with_empty_last = segments.clone();
        let trailing_slash = segments.pop_if(|last| last.is_empty()).is_some();

        let public = self.specs.iter().position(|spec| {
            let has_slash = spec.path.len() > 1 && spec.path.ends_with('/');
            spec.is_public && trailing_slash == has_slash && matching.equal(spec.path, &segments)
        });
        if let Some(index) = public {
            return Seen::Route { index, class: SeenClass::Public, owner_only: false };
        }
        let keyed = self.specs.iter().enumerate().filter(|(_, spec)| !spec.is_public);
        let under = keyed.filter(|(_, spec)| matching.starts(spec.path, &segments));
        let Some((index, spec)) = under.max_by_key(|(_, spec)| words(spec.path).len()) else {
            return Seen::NoRoute;
        };

        let is_in = |patterns: &[&str]| {
            patterns.iter().any(|pattern| match pattern.strip_suffix("/**") {
                Some(prefix) => matching.starts(prefix, &segments),
                None => matching.equal(pattern, &segments),
            })
        };
        let template = spec
            .templates
            .iter()
            .filter(|template| matching.starts(template, &with_empty_last))
            .max_by_key(|text| text.len());
        if let Some(template) = template {
            let place = words(template).iter().position(|word| *word == "{environment}").unwrap_or_default();
            let is_own_path = words(template).len() >= segments.len();
            let class = SeenClass::Environment(id(with_empty_last[place]));
            return Seen::Route { index, class, owner_only: is_own_path || is_in(spec.owner_only) };
        }
        let covers = |pattern: &&str| {
            let beneath = pattern.strip_suffix("/**");
            beneath.is_some_and(|prefix| {
                matching.starts(prefix, &segments) && words(prefix).len() < segments.len()
            })
        };
        let names = |pattern: &&str| matching.equal(pattern, &segments);
        let continues = |pattern: &&str| {
            pattern.strip_suffix("/**").is_some_and(|prefix| matching.equal(prefix, &segments))
        };
        let mut shared = spec.shared.iter();
        let is_shared = shared.clone().any(covers)
            || shared.clone().any(names) && (!trailing_slash || shared.any(continues));
        let class = if is_shared { SeenClass::Shared } else { SeenClass::Account };
        Seen::Route { index, class, owner_only: !is_shared && is_in(spec.owner_only_outside) }
    }
}

impl Spec {
    fn route(&self) -> Route {
        let path: RoutePath = self.path.parse().expect("a route's path");
        let access = if self.is_public {
            Access::Public { methods: vec![http::Method::GET] }
        } else {
            let parse = |text: &&str| Template::parse(text, &path).expect("a template");
            Access::Keys(KeyAccess {
                environment: self.templates.iter().map(parse).collect(),
                shared: self
                    .shared
                    .iter()
                    .map(|text| PathPattern::parse(text, &path).expect("a pattern"))
                    .collect(),
                owner_only: self
                    .owner_only
                    .iter()
                    .map(|text| OwnerPattern::parse(text, &path).expect("a pattern"))
                    .collect(),
                environment_key: if self.owner_only_outside.is_empty() {
                    EnvironmentKeyAccess::Deny
                } else {
                    EnvironmentKeyAccess::OwnEnvironment
                },
                ..KeyAccess::default()
            })
        };
        let encoded_slash =
            if self.allows_encoded_slash { EncodedSlash::Allow } else { EncodedSlash::Refuse };
        Route {
            path,
            upstream: 0,
            access,
            encoded_slash,
            position: FilePosition::default(),
            cors: None,
            body_bytes: None,
        }
    }
}

/// The segments of a path of the configuration.
pub fn words(text: &str) -> Vec<&str> {
    text.split('/').filter(|word| !word.is_empty()).collect()
}

struct Matching {
    folds_case: bool,
}

impl Matching {
    fn starts(&self, text: &str, segments: &[&[u8]]) -> bool {
        let words = words(text);
        words.len() <= segments.len()
            && words.iter().zip(segments).all(|(word, segment)| self.is(word, segment))
    }

    fn equal(&self, text: &str, segments: &[&[u8]]) -> bool {
        words(text).len() == segments.len() && self.starts(text, segments)
    }

    fn is(&self, word: &str, segment: &[u8]) -> bool {
        word == "{environment}"
            || word.as_bytes() == segment
            || self.folds_case
                && std::str::from_utf8(segment).is_ok_and(|text| text.to_lowercase() == word.to_lowercase())
    }
}

/// An environment's id in lower case, if that is what the segment holds.
fn id(segment: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(segment).ok()?;
    let is_letter_or_digit = |c: char| c.is_ascii_alphanumeric();
    let is_id = text.len() <= 64
        && text.starts_with(is_letter_or_digit)
        && text.chars().all(|c| is_letter_or_digit(c) || c == '-' || c == '_');
    is_id.then(|| text.to_ascii_lowercase())
}
