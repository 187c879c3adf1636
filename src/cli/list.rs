//! Lists that are printed part by part, as they come.

use std::fmt::Write as _;
use std::io;
use std::ops::ControlFlow;

use anyhow::Context as _;
use serde_json::Value;

use super::output::{Format, UNWRITTEN, nested, on_one_line, print, write};
use super::results::{Fetched, ListPart};
use crate::management::resource_json::{self, RenderOptions};

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

    /// Prints a part; `kind` is the API's name for what is listed. A reader that wants no more ends the list.
    pub(super) fn part<T>(
        &mut self,
        part: &ListPart<T>,
        kind: &str,
        row: impl Fn(&Fetched<T>) -> [String; COLUMNS],
        document: impl Fn(&T, &RenderOptions) -> Value,
    ) -> anyhow::Result<ControlFlow<()>> {
        let mut text = String::new();
        match self.format {
            Format::Table => self.rows(part.items.iter().map(row), &mut text),
            Format::Json => {
                if !self.has_begun {
                    begin_collection(&part.collection(|| resource_json::collection(kind, &[])), &mut text);
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

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
