//! The YAML document as a tree in which every value knows its position.
//!
//! The YAML library tells line and column only in its errors. So every scalar is read by a visitor that keeps the
//! value and then fails: the failure carries the position, and a scalar that was refused is as consumed as one that
//! was taken. A list or mapping has no position of its own: it stands where its key stands, or its first scalar.

use std::cell::Cell;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::FilePosition;
use super::yaml_error::{explain, position_at_end};

/// The largest configuration, in bytes.
pub(super) const MAX_BYTES: usize = 4 << 20;
/// Values in a configuration once its aliases are written out: a few lines of aliases of aliases make billions.
const MAX_NODES: usize = 200_000;

/// A value at its position.
pub(super) struct Node {
    pub(super) position: FilePosition,
    /// Such as `routes[2].shared[0]`; empty for the document.
    pub(super) path: String,
    pub(super) value: Value,
}

pub(super) enum Value {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(Text),
    List(Vec<Node>),
    Map(Vec<Entry>),
    /// Already reported: whoever reads it says nothing more.
    Broken,
}

pub(super) struct Text {
    pub(super) text: String,
    /// Holds something of the process environment: never to be shown.
    pub(super) substituted: bool,
}

impl Node {
    /// The value of this key, where this is a mapping that has it.
    pub(super) fn into_value_of(self, key: &str) -> Option<Self> {
        let Value::Map(entries) = self.value else { return None };
        entries.into_iter().find(|entry| entry.key == key).map(|entry| entry.node)
    }
}

/// Whether a value holds something of the process environment.
pub(super) fn is_substituted(node: &Node) -> bool {
    matches!(node.value, Value::Text(Text { substituted: true, .. }))
}

/// One key of a mapping. The same key may come twice: the reader reports that.
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) position: FilePosition,
    pub(super) node: Node,
}

/// Reads a document. The error is the one that stopped the YAML library, with its position.
pub(super) fn parse(text: &str) -> Result<Node, (FilePosition, String)> {
    let start = FilePosition { line: 1, column: 1 };
    if text.len() > MAX_BYTES {
        return Err((start, format!("expected at most {MAX_BYTES} bytes, found {}", text.len())));
    }
    let nodes = Cell::new(0);
    match (Seed { nodes: &nodes }).deserialize(serde_yaml::Deserializer::from_str(text)) {
        Ok(mut node) => {
            complete_positions(&mut node, start, String::new());
            Ok(node)
        }
        Err(error) => {
            let position =
                error.location().map_or(start, |at| FilePosition { line: at.line(), column: at.column() });
            Err(explain(text, position, &error.to_string()))
        }
    }
}

/// Stands for "not known yet" until [`complete_positions`] has run.
const UNKNOWN_POSITION: FilePosition = FilePosition { line: 0, column: 0 };

/// Gives every value its path, and a position to those that have none of their own.
fn complete_positions(node: &mut Node, position: FilePosition, path: String) {
    if node.position == UNKNOWN_POSITION {
        node.position = position;
    }
    match &mut node.value {
        Value::List(items) => {
            for (n, item) in items.iter_mut().enumerate() {
                complete_positions(item, node.position, format!("{path}[{n}]"));
            }
        }
        Value::Map(entries) => {
            for entry in entries {
                // an empty value stands after its key, often at the end of a line: the key is the better place
                if matches!(entry.node.value, Value::Null | Value::List(_) | Value::Map(_)) {
                    entry.node.position = entry.position;
                }
                let dot = if path.is_empty() { "" } else { "." };
                complete_positions(
                    &mut entry.node,
                    entry.position,
                    format!("{path}{dot}{}", entry.key.escape_debug()),
                );
            }
        }
        _ => {}
    }
    node.path = path;
}

/// Reads one value.
#[derive(Clone, Copy)]
struct Seed<'c> {
    nodes: &'c Cell<usize>,
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        self.nodes.set(self.nodes.get() + 1);
        if self.nodes.get() > MAX_NODES {
            return Err(de::Error::custom(format_args!(
                "expected at most {MAX_NODES} values with every alias written out"
            )));
        }
        let scalar = Cell::new(None);
        match deserializer.deserialize_any(Visit { seed: self, scalar: &scalar }) {
            Ok(node) => Ok(node),
            Err(error) => {
                let Some(value) = scalar.take() else { return Err(error) };
                // the library leaves the position out where it is the very start
                let position =
                    position_at_end(&error.to_string()).unwrap_or(FilePosition { line: 1, column: 1 });
                Ok(Node { position, path: String::new(), value })
            }
        }
    }
}

/// Keeps a scalar and fails, so that its position becomes known; takes lists and mappings whole.
struct Visit<'c> {
    seed: Seed<'c>,
    scalar: &'c Cell<Option<Value>>,
}

impl Visit<'_> {
    fn keep<E: de::Error>(self, value: Value) -> Result<Node, E> {
        self.scalar.set(Some(value));
        Err(E::custom(""))
    }
}

impl<'de> Visitor<'de> for Visit<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a plain value, a list or a mapping, without a tag")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Node, E> {
        self.keep(Value::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Node, E> {
        self.keep(Value::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Node, E> {
        self.keep(Value::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Node, E> {
        self.keep(Value::Integer(value.into()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Node, E> {
        self.keep(Value::Integer(value.into()))
    }

    fn visit_i128<E: de::Error>(self, value: i128) -> Result<Node, E> {
        self.keep(Value::Integer(value))
    }

    fn visit_u128<E: de::Error>(self, value: u128) -> Result<Node, E> {
        self.keep(Value::Integer(i128::try_from(value).unwrap_or(i128::MAX)))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Node, E> {
        self.keep(Value::Float(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Node, E> {
        self.keep(Value::Text(Text { text: value.to_owned(), substituted: false }))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element_seed(self.seed)? {
            items.push(item);
        }
        let position = items.first().map_or(UNKNOWN_POSITION, |item| item.position);
        Ok(Node { position, path: String::new(), value: Value::List(items) })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key_seed(self.seed)? {
            let text = match key.value {
                Value::Text(Text { text, .. }) => text,
                Value::Integer(number) => number.to_string(),
                Value::Float(number) => number.to_string(),
                Value::Bool(value) => value.to_string(),
                _ => return Err(de::Error::custom("expected text as a key")),
            };
            let node = map.next_value_seed(self.seed)?;
            entries.push(Entry { key: text, position: key.position, node });
        }
        let position = entries.first().map_or(UNKNOWN_POSITION, |entry| entry.position);
        Ok(Node { position, path: String::new(), value: Value::Map(entries) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every value as `path line:column`.
    fn positions(node: &Node, into: &mut Vec<String>) {
        into.push(format!("{} {}:{}", node.path, node.position.line, node.position.column));
        match &node.value {
            Value::List(items) => items.iter().for_each(|item| positions(item, into)),
            Value::Map(entries) => entries.iter().for_each(|entry| positions(&entry.node, into)),
            _ => {}
        }
    }

    fn positions_of(text: &str) -> Vec<String> {
        let mut all = Vec::new();
        positions(&parse(text).unwrap_or_else(|error| panic!("{error:?}")), &mut all);
        all
    }

    #[test]
    fn block_style_positions() {
        let text = "# a comment\na: 1\nb:\n  - c: x\n    d: [y, zz]   # more\n  - plain\n\n  - e:\n";
        assert_eq!(
            positions_of(text),
            [
                " 2:1",
                "a 2:4",
                "b 3:1",
                "b[0] 4:5",
                "b[0].c 4:8",
                "b[0].d 5:5",
                "b[0].d[0] 5:9",
                "b[0].d[1] 5:12",
                "b[1] 6:5",
                "b[2] 8:5",
                "b[2].e 8:5",
            ]
        );
    }

    #[test]
    fn flow_style_quotes_and_many_lines() {
        let text = "{ \"a b\": 'x', c: {}, d: [[], [1]],\n  e: |\n}";
        assert!(parse(text).is_err(), "a block scalar in flow style");
        let text = "{ \"a b\": 'x', c: {}, d: [[], [1]],\n  e: true }";
        assert_eq!(
            positions_of(text),
            [" 1:3", "a b 1:10", "c 1:15", "d 1:22", "d[0] 1:22", "d[1] 1:31", "d[1][0] 1:31", "e 2:6"]
        );
    }

    #[test]
    fn columns_count_characters_and_block_scalars_stand_at_their_mark() {
        assert_eq!(positions_of("é: ü\nb: |\n  x\n  y\nc: z"), [" 1:1", "é 1:4", "b 2:4", "c 5:4"]);
    }

    #[test]
    fn an_alias_stands_where_its_anchor_is() {
        assert_eq!(
            positions_of("a: &x [1, 2]\nb: *x\nc: &y 5\nd: *y"),
            [" 1:1", "a 1:1", "a[0] 1:8", "a[1] 1:11", "b 2:1", "b[0] 1:8", "b[1] 1:11", "c 3:4", "d 3:4"]
        );
    }

    #[test]
    fn what_is_no_yaml_has_a_position() {
        for (text, line, column, message) in [
            ("a: 1\nb: [1, 2\nc: 3", 2, 4, "did not find expected ',' or ']'"),
            ("a: 1\n  b: 2", 2, 4, "mapping values are not allowed in this context"),
            ("a: *x", 1, 4, "unknown anchor"),
            ("a: 1\nb: !secret x", 2, 4, "without a tag"),
            ("a: 1\n[2]: b", 1, 1, "expected text as a key"),
            ("a: 1\n---\nb: 1", 1, 1, "more than one document"),
        ] {
            let Err((position, found)) = parse(text) else { panic!("{text:?} was read") };
            assert!(found.contains(message), "{text:?}: {found}");
            assert!(!found.contains(" at line"), "{text:?}: {found}");
            assert_eq!((position.line, position.column), (line, column), "{text:?}: {found}");
        }
    }

    #[test]
    fn aliases_of_aliases_end_early() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for n in 1..10 {
            let before = vec![format!("*a{}", n - 1); 10].join(", ");
            text = format!("{text}a{n}: &a{n} [{before}]\n");
        }
        let Err((_, message)) = parse(&text) else { panic!("read a billion values") };
        assert!(message.contains("repetition limit") || message.contains("at most"), "{message}");
    }

    #[test]
    fn one_long_list_repeated_often_ends_too() {
        let text = format!("a: &a [{}x]\nb: [{}*a]", "x, ".repeat(999), "*a, ".repeat(299));
        let Err((_, message)) = parse(&text) else { panic!("read 300,000 values") };
        assert!(message.contains("at most 200000 values"), "{message}");
    }

    #[test]
    fn nesting_has_an_end() {
        let Err((_, message)) = parse(&"[".repeat(5_000)) else { panic!("read") };
        assert!(!message.is_empty());
    }
}
