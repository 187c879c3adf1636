//! Printing: tables for people, JSON for programs.

use std::fmt::{Display, Write as _};
use std::io::{self, Write as _};
use std::path::Path;

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

/// Writes to stdout, and waits until it is there. A reader that wants no more (`| head`) is no failure.
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

/// A path as one word of a shell.
pub(super) fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    if text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte)) {
        return text.into_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

pub(super) const UNWRITTEN: &str = "the output could not be written";

/// Writes to stdout, and waits until it is there.
pub(super) fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush())
}

/// Writes a line to stderr. `eprintln!` would panic where that is full or closed, and hide how the command ended.
pub(super) fn eprint_line(line: impl Display) {
    // there is nowhere else to say that it could not be said
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Prints a JSON document.
pub(super) fn print_json(document: &Value) -> anyhow::Result<()> {
    print(&json_text(document))
}

/// How every JSON document ends that is printed.
pub(super) const JSON_END: &str = "\n}\n";

/// A JSON document as it is printed.
pub(super) fn json_text(document: &Value) -> String {
    printable(format!("{document:#}\n"))
}

/// JSON without the controls that it need not escape: a terminal takes U+009B for the start of a command.
pub(super) fn printable(json: String) -> String {
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

/// A JSON value as it stands inside another.
pub(super) fn nested(value: &Value, indent: usize) -> String {
    // line breaks within its texts are escaped
    printable(format!("{value:#}")).replace('\n', &format!("\n{:indent$}", ""))
}

/// Prints one object, a line for each field.
pub(super) fn print_fields(fields: &[(&str, String)]) -> anyhow::Result<()> {
    print(&fields_text(fields))
}

/// One object as it is printed.
pub(super) fn fields_text(fields: &[(&str, String)]) -> String {
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
pub(super) fn on_one_line(text: &str) -> String {
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
    fn a_path_is_one_word_of_a_shell() {
        assert_eq!(quoted(Path::new("/tmp/portcullis-demo-1/a.pem")), "/tmp/portcullis-demo-1/a.pem");
        assert_eq!(quoted(Path::new("/tmp/it's mine")), r"'/tmp/it'\''s mine'");
    }
}
