//! Reads values out of the document and keeps every mistake, each at its position.
//!
//! A reading function answers `None` after it has kept a mistake; its caller goes on with the next value, so that
//! one run shows everything.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytesize::ByteSize;

use super::yaml::{Entry, Node, Text, Value};
use super::{ConfigError, FilePosition, routes, upstream};

/// Whether files that the configuration names are opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Files {
    /// They must exist and hold what they should.
    Check,
    /// They are left alone, as for commands that do not serve.
    Leave,
}

pub(super) struct Reader<'e> {
    /// The configuration's file.
    pub(super) file: &'e Path,
    /// The process environment.
    pub(super) env: &'e dyn Fn(&str) -> Option<String>,
    pub(super) files: Files,
    pub(super) errors: Vec<ConfigError>,
    /// Every section that was read, with the keys it may have: the test of `config.example.yaml` asks.
    #[cfg(test)]
    pub(super) sections: Vec<(String, &'static [&'static str])>,
}

impl<'e> Reader<'e> {
    pub(super) fn new(file: &'e Path, env: &'e dyn Fn(&str) -> Option<String>, files: Files) -> Self {
        Self {
            file,
            env,
            files,
            errors: Vec::new(),
            #[cfg(test)]
            sections: Vec::new(),
        }
    }

    pub(super) fn error(&mut self, node: &Node, message: impl Into<String>) {
        self.error_at(node.position, &node.path, message);
    }

    pub(super) fn error_at(&mut self, position: FilePosition, path: &str, message: impl Into<String>) {
        self.errors.push(ConfigError {
            file: self.file.to_owned(),
            line: position.line,
            column: position.column,
            path: path.to_owned(),
            message: message.into(),
        });
    }

    /// Keeps "expected …, found …".
    pub(super) fn unexpected<T>(&mut self, node: &Node, expected: impl Display) -> Option<T> {
        if !matches!(node.value, Value::Broken) {
            self.error(node, format!("expected {expected}, found {}", found(node)));
        }
        None
    }

    /// Reads a mapping that may have these keys and no others.
    pub(super) fn section<'n>(
        &mut self,
        node: &'n Node,
        keys: &'static [&'static str],
    ) -> Option<Section<'n>> {
        let Value::Map(entries) = &node.value else {
            let some = if keys.len() > 8 { &keys[..3] } else { keys };
            let expected = format!(
                "a mapping with keys such as {}, each on a line of its own below, indented, as in '{}: …'",
                any_of(some),
                keys.first().unwrap_or(&"key")
            );
            return self.unexpected(node, expected);
        };
        #[cfg(test)]
        self.sections.push((node.path.clone(), keys));
        self.repeated_keys(entries);
        for entry in entries.iter().filter(|entry| !keys.contains(&entry.key.as_str())) {
            let nearest = nearest(&entry.key, keys).map(|key| format!("did you mean '{key}'?"));
            let hint = match (nearest, place_of(entry)) {
                (Some(nearest), Some(place)) if routes::KEYS.contains(&entry.key.as_str()) => {
                    format!("{nearest} If not, {place}")
                }
                (_, Some(place)) if entry.key == "public" => place,
                (Some(nearest), _) => nearest,
                (None, Some(place)) => place,
                (None, None) => format!("expected {}", any_of(keys)),
            };
            let message = format!("unknown setting '{}': {hint}", entry.key.escape_debug());
            self.error_at(entry.position, &entry.node.path, message);
        }
        Some(Section { node, entries })
    }

    /// Reads a mapping whose keys are names that the operator chose.
    pub(super) fn free_mapping<'n>(&mut self, node: &'n Node, expected: &str) -> Option<&'n [Entry]> {
        let Value::Map(entries) = &node.value else {
            return self.unexpected(node, expected);
        };
        self.repeated_keys(entries);
        Some(entries)
    }

    fn repeated_keys(&mut self, entries: &[Entry]) {
        for (n, entry) in entries.iter().enumerate() {
            if let Some(first) = entries[..n].iter().find(|first| first.key == entry.key) {
                let message = format!("the setting is given twice, first in line {}", first.position.line);
                self.error_at(entry.position, &entry.node.path, message);
            }
        }
    }

    /// A key of `section` that must be there.
    pub(super) fn required<'n>(&mut self, section: &Section<'n>, key: &str) -> Option<&'n Node> {
        let node = section.get(key);
        if node.is_none() {
            self.error(section.node, format!("the setting '{key}' is missing"));
        }
        node
    }

    /// Replaces `slot` by what `node` says, where it says something right.
    pub(super) fn set<T>(
        &mut self,
        slot: &mut T,
        node: Option<&Node>,
        read: impl FnOnce(&mut Self, &Node) -> Option<T>,
    ) {
        if let Some(value) = node.and_then(|node| read(self, node)) {
            *slot = value;
        }
    }

    pub(super) fn list<'n>(&mut self, node: &'n Node, expected: &str) -> Option<&'n [Node]> {
        match &node.value {
            Value::List(items) => Some(items),
            Value::Map(_) => self.unexpected(node, format_args!("{expected}, each begun with '- '")),
            _ => self.unexpected(node, format_args!("{expected}, written [A, B] or with '- ' before each")),
        }
    }

    /// Reads a list, every item with `read`; an empty one is a mistake. Items with mistakes are left out.
    pub(super) fn items<T>(
        &mut self,
        node: &Node,
        expected: &str,
        mut read: impl FnMut(&mut Self, &Node) -> Option<T>,
    ) -> Option<Vec<T>> {
        let items = self.list(node, expected)?;
        if items.is_empty() {
            return self.unexpected(node, expected);
        }
        Some(items.iter().filter_map(|item| read(self, item)).collect())
    }

    pub(super) fn text<'n>(&mut self, node: &'n Node, expected: impl Display) -> Option<&'n str> {
        match &node.value {
            Value::Text(Text { text, .. }) if !text.is_empty() => Some(text),
            Value::Integer(_) | Value::Float(_) | Value::Bool(_) => {
                self.unexpected(node, format_args!("{expected} (quote it to make it text)"))
            }
            _ => self.unexpected(node, expected),
        }
    }

    /// Reads a text that `parse` understands.
    pub(super) fn parsed<T>(
        &mut self,
        node: &Node,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.text(node, expected)?;
        parse(text).or_else(|| self.unexpected(node, expected))
    }

    /// Reads one of a few words.
    pub(super) fn word<T: Copy>(&mut self, node: &Node, words: &[(&'static str, T)]) -> Option<T> {
        let known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        let text = match &node.value {
            Value::Text(Text { text, .. }) => text,
            // a substituted `true` is a text, one that was written is not
            Value::Bool(true) => "true",
            Value::Bool(false) => "false",
            Value::List(_) => {
                return self
                    .unexpected(node, format_args!("{}, one of them and without brackets", any_of(&known)));
            }
            _ => return self.unexpected(node, any_of(&known)),
        };
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        self.unexpected(node, any_of(&known))
    }

    /// Reads the name of one of the `names` that are defined below `section`; answers its index.
    pub(super) fn reference(&mut self, node: &Node, section: &str, names: &[&str]) -> Option<usize> {
        let known = if names.is_empty() { "none of which is defined".to_owned() } else { any_of(names) };
        let mut expected = format!("a name defined below '{section}:', {known}");
        let Value::Text(Text { text, .. }) = &node.value else { return self.unexpected(node, expected) };
        let index = names.iter().position(|name| *name == text);
        if index.is_none() {
            if text.contains("://") {
                expected += " (a URL stands in its 'endpoints')";
            } else if let Some(name) = nearest(text, names) {
                expected = format!("{expected} (did you mean '{name}'?)");
            }
            return self.unexpected(node, expected);
        }
        index
    }

    /// Reads a whole number; a substituted one is a text.
    pub(super) fn number<T>(&mut self, node: &Node, range: RangeInclusive<T>) -> Option<T>
    where
        T: TryFrom<i128> + PartialOrd + Display,
    {
        whole_number(node)
            .and_then(|number| T::try_from(number).ok())
            .filter(|number| range.contains(number))
            .or_else(|| {
                let expected = format!("a whole number from {} to {}", range.start(), range.end());
                self.unexpected(node, expected)
            })
    }

    /// Reads a whole number, or `auto`.
    pub(super) fn number_or_auto<T: From<usize>>(
        &mut self,
        node: &Node,
        range: RangeInclusive<usize>,
        auto: T,
    ) -> Option<T> {
        match &node.value {
            Value::Text(Text { text, .. }) if text == "auto" => Some(auto),
            _ => whole_number(node)
                .and_then(|number| usize::try_from(number).ok())
                .filter(|number| range.contains(number))
                .map(T::from)
                .or_else(|| {
                    let expected =
                        format!("'auto' or a whole number from {} to {}", range.start(), range.end());
                    self.unexpected(node, expected)
                }),
        }
    }

    /// Reads a size in bytes: `64KiB`, `1GB`, or plain bytes.
    pub(super) fn size(&mut self, node: &Node, range: RangeInclusive<u64>) -> Option<u64> {
        let bytes = match &node.value {
            Value::Integer(number) => u64::try_from(*number).ok(),
            Value::Text(Text { text, .. }) => text.parse::<ByteSize>().ok().map(|size| size.as_u64()),
            _ => None,
        };
        bytes.filter(|bytes| range.contains(bytes)).or_else(|| {
            let expected = format!(
                "a size from {} to {}, such as 64KiB",
                size_text(*range.start()),
                size_text(*range.end())
            );
            self.unexpected(node, expected)
        })
    }

    /// Reads a duration with its unit: `10s`, `500ms`.
    pub(super) fn duration(&mut self, node: &Node, range: RangeInclusive<Duration>) -> Option<Duration> {
        let duration = match &node.value {
            Value::Text(Text { text, .. }) => humantime::parse_duration(text).ok(),
            _ => None,
        };
        duration.filter(|duration| range.contains(duration)).or_else(|| {
            let is_long = *range.end() > Duration::from_hours(24 * 366);
            let example = if is_long { "90d or 12h" } else { "10s or 500ms" };
            let expected = format!(
                "a duration with its unit from {} to {}, such as {example}",
                humantime::format_duration(*range.start()),
                humantime::format_duration(*range.end())
            );
            self.unexpected(node, expected)
        })
    }

    /// Reads the path of a file; a relative one is relative to the configuration's file.
    pub(super) fn path(&mut self, node: &Node) -> Option<PathBuf> {
        let text = self.text(node, "the path of a file")?;
        if text.contains('\0') {
            return self.unexpected(node, "the path of a file");
        }
        Some(self.beside_file(text))
    }

    /// A path as it is from here: a relative one is relative to the configuration's file.
    pub(super) fn beside_file(&self, path: &str) -> PathBuf {
        self.file.parent().unwrap_or(Path::new("")).join(path)
    }
}

/// A mapping whose keys are known.
pub(super) struct Section<'n> {
    pub(super) node: &'n Node,
    entries: &'n [Entry],
}

impl<'n> Section<'n> {
    pub(super) fn get(&self, key: &str) -> Option<&'n Node> {
        self.entry(key).map(|entry| &entry.node)
    }

    pub(super) fn entry(&self, key: &str) -> Option<&'n Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }
}

fn whole_number(node: &Node) -> Option<i128> {
    match &node.value {
        Value::Integer(number) => Some(*number),
        // one spelling: a leading zero or a sign may mean something else to the writer
        Value::Text(Text { text, .. }) if text == "0" || !text.starts_with(['0', '+', '-']) => {
            text.parse().ok()
        }
        _ => None,
    }
}

/// What stands there, for a message; nothing of the process environment.
fn found(node: &Node) -> String {
    match &node.value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(value) => format!("'{value}'"),
        Value::Integer(number) => format!("the number {number}"),
        Value::Float(number) => format!("the number {number}"),
        Value::Text(Text { text, .. }) if text.is_empty() => "an empty text".to_owned(),
        Value::Text(Text { substituted: true, .. }) => {
            "another text once the environment variable is put in".to_owned()
        }
        // a password may stand before the '@'
        Value::Text(Text { text, .. }) if text.contains("://") && text.contains('@') => {
            "a URL with a user".to_owned()
        }
        Value::Text(Text { text, .. }) => quoted(text),
        Value::List(items) if items.is_empty() => "an empty list".to_owned(),
        Value::List(_) => "a list".to_owned(),
        Value::Map(_) => "a mapping".to_owned(),
        Value::Broken => "a value that could not be read".to_owned(),
    }
}

/// A text for a message: without controls, and not without end.
fn quoted(text: &str) -> String {
    const LONGEST: usize = 80;
    let mut shown: String = text.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    format!("'{shown}'")
}

/// `'a', 'b' or 'c'`
fn any_of(words: &[&str]) -> String {
    // a name that was given twice, which is told elsewhere, is one to choose from
    let first = |(n, word): &(usize, &&str)| !words[..*n].contains(*word);
    let quoted: Vec<_> =
        words.iter().enumerate().filter(first).map(|(_, word)| format!("'{word}'")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => "nothing".to_owned(),
    }
}

/// What to write instead of a key that stands in the wrong section, or does not exist.
fn place_of(entry: &Entry) -> Option<String> {
    let key = entry.key.as_str();
    if key == "public" {
        return Some(
            "a route that needs no key has 'access: public' below its 'path:', in the same column".to_owned(),
        );
    }
    if routes::KEYS.contains(&key) {
        return Some(
            "it belongs to a route: write it below the route's 'path:', in the same column".to_owned(),
        );
    }
    if upstream::KEYS.contains(&key) {
        return Some("it belongs to an upstream: indent it below the upstream's name".to_owned());
    }
    let Value::Map(entries) = &entry.node.value else { return None };
    let is_upstream = entries.iter().any(|entry| entry.key == "endpoints");
    is_upstream.then(|| "an upstream is indented below 'upstreams:'".to_owned())
}

/// The word that was probably meant.
fn nearest<'w>(text: &str, words: &[&'w str]) -> Option<&'w str> {
    let text = text.to_ascii_lowercase().replace('-', "_");
    words
        .iter()
        .map(|word| (strsim::jaro_winkler(&text, word), *word))
        .filter(|(likeness, _)| *likeness > 0.82)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, word)| word)
}

/// `64KiB`, in the largest unit that divides it.
pub(crate) fn size_text(bytes: u64) -> String {
    let units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let unit = units.iter().find(|(_, shift)| bytes != 0 && bytes.is_multiple_of(1 << shift));
    unit.map_or_else(|| format!("{bytes}B"), |(name, shift)| format!("{}{name}", bytes >> shift))
}
