//! What is wrong with a configuration, and where.

use std::fmt;
use std::path::PathBuf;

/// One mistake, at its position.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.line_of_text())]
pub struct ConfigError {
    /// The configuration's file.
    pub file: PathBuf,
    /// From 1; 0 where no line is to blame, but the whole file or another one.
    pub line: usize,
    /// From 1, in characters; 0 where the line is.
    pub column: usize,
    /// Which value, such as `routes[2].shared[0]`; empty for the whole document.
    pub path: String,
    /// What was found and what was expected. Never holds a value that came from the process environment.
    pub message: String,
}

impl ConfigError {
    fn line_of_text(&self) -> String {
        let file = self.file.display();
        let position =
            if self.line == 0 { format!("{file}") } else { format!("{file}:{}:{}", self.line, self.column) };
        if self.path.is_empty() {
            format!("{position}: {}", self.message)
        } else {
            format!("{position}: {}: {}", self.path, self.message)
        }
    }
}

/// Every mistake of a configuration, in the order of their positions. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, error) in self.0.iter().enumerate() {
            if n > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
