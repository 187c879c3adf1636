//! `log:`: what the gateway writes about itself and its requests.

use std::path::PathBuf;

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
