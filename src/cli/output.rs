//! Printing: tables for people, JSON for programs.

use std::fmt::{Display, Write as _};
use std::io::{self, Write as _};

use anyhow::Context as _;
use clap::ValueEnum;
use jiff::Timestamp;
use serde_json::Value;

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
    format!("{document:#}\n")
}

/// Prints rows below their headings, aligned.
pub(super) fn print_table<const COLUMNS: usize>(
    headings: [&str; COLUMNS],
    rows: impl IntoIterator<Item = [String; COLUMNS]>,
) -> anyhow::Result<()> {
    let mut lines = vec![headings.map(str::to_owned)];
    lines.extend(rows.into_iter().map(|row| row.map(|cell| on_one_line(&cell))));
    let mut widths = [0; COLUMNS];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for line in &lines {
        let mut padded = String::new();
        for (cell, width) in line.iter().zip(widths) {
            let _ = write!(padded, "{cell:width$}  ");
        }
        text.push_str(padded.trim_end());
        text.push('\n');
    }
    print(&text)
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
pub(super) fn seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// Descriptions may hold line breaks and tabs.
fn on_one_line(text: &str) -> String {
    text.replace(|c: char| c.is_control(), " ")
}
