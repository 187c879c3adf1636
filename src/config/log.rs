//! `log:`: what the gateway writes about itself and its requests.

use std::path::PathBuf;

use tracing_subscriber::EnvFilter;

use super::reader::{Files, Reader};
use super::yaml::{Node, Value};

/// `log:`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// What is logged on stderr: a level, or directives such as `info,portcullis::proxy=debug`.
    pub filter: String,
    /// How a line is written.
    pub format: LogFormat,
    /// Where one line per request goes.
    pub access: AccessLog,
}

impl Default for Log {
    fn default() -> Self {
        Self { filter: "info".to_owned(), format: LogFormat::Text, access: AccessLog::Stdout }
    }
}

/// How a line of the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Where one line per request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessLog {
    /// Nowhere.
    Off,
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// Appended to a file.
    File(PathBuf),
}

/// Reads `log:`.
pub(super) fn read(reader: &mut Reader<'_>, node: &Node) -> Option<Log> {
    let section = reader.section(node, &["filter", "format", "access"])?;
    let mut log = Log::default();
    reader.set(&mut log.filter, section.get("filter"), |reader, node| {
        let expected = "a level (error, warn, info, debug, trace, off), or directives such as \
                        info,portcullis::proxy=debug";
        reader.parsed(node, expected, |text| EnvFilter::try_new(text).is_ok().then(|| text.to_owned()))
    });
    reader.set(&mut log.format, section.get("format"), |reader, node| {
        reader.word(node, &[("text", LogFormat::Text), ("json", LogFormat::Json)])
    });
    reader.set(&mut log.access, section.get("access"), read_access);
    Some(log)
}

fn read_access(reader: &mut Reader<'_>, node: &Node) -> Option<AccessLog> {
    if matches!(node.value, Value::Map(_)) {
        let section = reader.section(node, &["file"])?;
        let file = reader.required(&section, "file")?;
        let path = reader.path(file)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = folder.filter(|folder| reader.files == Files::Check && !folder.is_dir()) {
            reader.error(file, format!("there is no folder '{}' for the access log", folder.display()));
        }
        return Some(AccessLog::File(path));
    }
    reader.parsed(node, "'off', 'stdout', 'stderr' or a mapping with 'file'", |text| match text {
        "off" => Some(AccessLog::Off),
        "stdout" => Some(AccessLog::Stdout),
        "stderr" => Some(AccessLog::Stderr),
        _ => None,
    })
}
