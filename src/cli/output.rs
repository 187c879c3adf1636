//! Printing: tables for people, JSON for programs.

use std::fmt::{Display, Write as _};
use std::io::{self, Write as _};
use std::ops::ControlFlow;

use anyhow::Context as _;
use clap::ValueEnum;
use jiff::Timestamp;
use serde_json::Value;

use super::backend::{Part, Seen};
use crate::management::document::{self, View};

/// `--output`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(super) enum Format {
    // no doc comments here: they would stand in every command's help
    #[default]
    Table,
    Json,
}

/// Writes to stdout, and waits until it is there. A reader that has seen enough (`| head`) is no failure.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    match write(text) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context(UNWRITTEN),
    }
}

/// As [`print`], for what is shown this once: somebody must have taken it.
pub(super) fn print_once(text: &str) -> anyhow::Result<()> {
    write(text).context(UNWRITTEN)
}

const UNWRITTEN: &str = "the output could not be written";

fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush())
}

/// Writes a line to stderr. `eprintln!` would panic where that is full or closed, and hide how the command ended.
pub(super) fn tell(line: impl Display) {
    // there is nowhere else to say that it could not be said
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Prints a JSON document.
pub(super) fn print_json(document: &Value) -> anyhow::Result<()> {
    print(&json_text(document))
}

/// A JSON document as it is printed.
pub(super) fn json_text(document: &Value) -> String {
    printable(format!("{document:#}\n"))
}

/// JSON without the controls that it need not escape: a terminal takes U+009B for the start of a command.
fn printable(json: String) -> String {
    let is_control = |c: char| matches!(c, '\u{7f}'..='\u{9f}');
    if !json.contains(is_control) {
        return json;
    }
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        if is_control(c) {
            let _ = write!(escaped, "\\u{:04x}", u32::from(c));
        } else {
            escaped.push(c);
        }
    }
    escaped
}

/// A list that is printed part by part: rows below their headings, or the items of one JSON collection.
pub(super) struct List<const COLUMNS: usize> {
    format: Format,
    headings: [&'static str; COLUMNS],
    /// Those of the parts so far: what comes later is at least as wide.
    widths: [usize; COLUMNS],
    has_begun: bool,
    has_items: bool,
}

impl<const COLUMNS: usize> List<COLUMNS> {
    /// A list of which nothing is printed yet.
    pub(super) fn new(format: Format, headings: [&'static str; COLUMNS]) -> Self {
        let widths = headings.map(|heading| heading.chars().count());
        Self { format, headings, widths, has_begun: false, has_items: false }
    }

    /// Prints a part; `kind` is the API's name for what is listed. A reader that has seen enough breaks the list off.
    pub(super) fn part<T>(
        &mut self,
        part: &Part<T>,
        kind: &str,
        row: impl Fn(&Seen<T>) -> [String; COLUMNS],
        document: impl Fn(&T, &View) -> Value,
    ) -> anyhow::Result<ControlFlow<()>> {
        let mut text = String::new();
        match self.format {
            Format::Table => self.rows(part.items.iter().map(row), &mut text),
            Format::Json => {
                if !self.has_begun {
                    begin_collection(&part.collection(|| document::collection(kind, &[])), &mut text);
                }
                for item in &part.items {
                    let item = nested(&item.document(&document), 4);
                    let comma = if self.has_items { "," } else { "" };
                    let _ = write!(text, "{comma}\n    {item}");
                    self.has_items = true;
                }
            }
        }
        self.has_begun = true;
        match write(&text) {
            Ok(()) => Ok(ControlFlow::Continue(())),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ControlFlow::Break(())),
            Err(error) => Err(error).context(UNWRITTEN),
        }
    }

    /// Prints what stands after the last part.
    pub(super) fn end(&self) -> anyhow::Result<()> {
        match self.format {
            Format::Table => Ok(()),
            Format::Json => print(if self.has_items { "\n  ]\n}\n" } else { "]\n}\n" }),
        }
    }

    fn rows(&mut self, rows: impl Iterator<Item = [String; COLUMNS]>, text: &mut String) {
        let headings = (!self.has_begun).then(|| self.headings.map(str::to_owned));
        let lines: Vec<_> =
            headings.into_iter().chain(rows.map(|row| row.map(|cell| on_one_line(&cell)))).collect();
        for line in &lines {
            for (width, cell) in self.widths.iter_mut().zip(line) {
                *width = (*width).max(cell.chars().count());
            }
        }
        for line in &lines {
            let mut padded = String::new();
            for (cell, width) in line.iter().zip(self.widths) {
                let _ = write!(padded, "{cell:width$}  ");
            }
            text.push_str(padded.trim_end());
            text.push('\n');
        }
    }
}

/// A collection up to its first item: `data` comes last, so that items can be printed as they come.
fn begin_collection(collection: &Value, text: &mut String) {
    text.push_str("{\n");
    for (name, value) in collection.as_object().into_iter().flatten().filter(|(name, _)| *name != "data") {
        let _ = writeln!(text, "  {}: {},", Value::from(name.as_str()), nested(value, 2));
    }
    text.push_str("  \"data\": [");
}

/// A JSON value as it stands inside another.
fn nested(value: &Value, indent: usize) -> String {
    // line breaks within its texts are escaped
    printable(format!("{value:#}")).replace('\n', &format!("\n{:indent$}", ""))
}

/// Prints one object, a line for each field.
pub(super) fn print_fields<const FIELDS: usize>(fields: &[(&str, String); FIELDS]) -> anyhow::Result<()> {
    print(&fields_text(fields))
}

/// One object as it is printed.
pub(super) fn fields_text<const FIELDS: usize>(fields: &[(&str, String); FIELDS]) -> String {
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for (name, value) in fields {
        let _ = writeln!(text, "{name:width$}  {}", on_one_line(value));
    }
    text
}

/// A time to the second, or what stands for none.
pub(super) fn time(time: Option<Timestamp>) -> String {
    time.map_or_else(nothing, |time| seconds(time).to_string())
}

/// A text, or what stands for none.
pub(super) fn text(text: Option<&impl ToString>) -> String {
    text.map_or_else(nothing, ToString::to_string)
}

/// What stands in a table for no value.
fn nothing() -> String {
    "-".to_owned()
}

/// The time without its fraction of a second.
fn seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// Descriptions may hold line breaks and tabs.
fn on_one_line(text: &str) -> String {
    text.replace(|c: char| c.is_control(), " ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_holds_no_control_that_a_terminal_obeys() {
        let text = json_text(&json!({ "a": "x\u{9b}31m\u{7f}\u{1b}" }));
        assert!(!text.trim_end().contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), json!({ "a": "x\u{9b}31m\u{7f}\u{1b}" }));
    }

    #[test]
    fn a_collection_begins_with_all_but_its_items() {
        let mut text = String::new();
        let collection = json!({ "type": "collection", "data": [1], "links": { "self": "x" } });
        begin_collection(&collection, &mut text);
        text.push_str("]}");
        let expected = json!({ "type": "collection", "data": [], "links": { "self": "x" } });
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), expected, "{text}");
    }
}
