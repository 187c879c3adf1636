//! The property of scopes: a path that is let through and matches a path of a scope matches it in every laxer reading.

use portcullis::model::ScopePath;

use crate::property::{World, find_reading, gateway, words};
use crate::readings::Reading;

/// The path of a scope, as it is written and as the gateway reads it.
pub struct Scope {
    text: String,
    path: ScopePath,
}

/// Says whether a path matches the path of a scope.
pub type Matcher<'a> = dyn Fn(&Scope, &[u8]) -> bool + 'a;

/// A reading that leads out of a scope.
#[derive(Debug)]
#[allow(dead_code, reason = "it is printed")]
pub struct CounterExample {
    scope: String,
    path: String,
    readings: Vec<Reading>,
    read: String,
}

/// The gateway's own matcher.
pub fn matches(scope: &Scope, path: &[u8]) -> bool {
    scope.path.matches(path)
}

/// Scopes of the words that the world's paths are made of.
pub fn of(world: &World) -> Vec<Scope> {
    let mut texts = vec!["/".to_owned(), "/**".to_owned(), "/*".to_owned(), "/*/*/**".to_owned()];
    for spec in world.specs {
        let path = spec.path.trim_end_matches('/');
        texts.extend([format!("{path}/*"), format!("{path}/**"), format!("{path}/x/*/**")]);
        for template in spec.templates {
            for id in ["*", "e1"] {
                let place = template.replace("{environment}", id);
                let ends =
                    ["", "/*", "/**", "/stacks/**", "/a/secret", "/*/x", "/keys", "/x/**", "/a/**", "/v1/**"];
                texts.extend(ends.map(|end| format!("{place}{end}")));
            }
        }
        let patterns = [spec.shared, spec.owner_only, spec.owner_only_outside].concat();
        texts.extend(patterns.iter().map(|pattern| pattern.replace("{environment}", "*")));
    }
    texts
        .into_iter()
        .map(|text| Scope { path: text.parse().unwrap_or_else(|error| panic!("{error}")), text })
        .collect()
}

/// Looks for up to three readings of an admitted `path` that lead out of a scope which it matches.
pub fn counter_example(
    world: &World,
    scopes: &[Scope],
    matches: &Matcher<'_>,
    path: &[u8],
) -> Option<CounterExample> {
    gateway(world, path).ok()?;
    scopes.iter().filter(|scope| matches(scope, path)).find_map(|scope| {
        let found = find_reading(path, |read, folds_case| !scope.has(read, folds_case));
        found.map(|(read, readings)| CounterExample {
            scope: scope.text.clone(),
            path: path.escape_ascii().to_string(),
            readings,
            read: read.escape_ascii().to_string(),
        })
    })
}

impl Scope {
    /// Whether a server that takes the path as it stands finds it within: plain comparison of segments.
    fn has(&self, path: &[u8], folds_case: bool) -> bool {
        let mut segments: Vec<&[u8]> = path[1..].split(|&byte| byte == b'/').collect();
        if segments == [b""] {
            segments.clear();
        }
        let mut pattern = words(&self.text);
        let has_rest = pattern.pop_if(|last| *last == "**").is_some();
        let is_equal = |word: &str, segment: &[u8]| {
            let is_same = |text: &str| text == word || folds_case && text.eq_ignore_ascii_case(word);
            (word == "*" && !segment.is_empty()) || std::str::from_utf8(segment).is_ok_and(is_same)
        };
        let is_long_enough =
            if has_rest { pattern.len() <= segments.len() } else { pattern.len() == segments.len() };
        is_long_enough && pattern.iter().zip(segments).all(|(word, segment)| is_equal(word, segment))
    }
}
