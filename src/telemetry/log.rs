//! The gateway's own log: what it did and what went wrong, on standard error.

use std::fmt::Write as _;
use std::io::{self, Write};

use tracing::Subscriber;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

use super::TelemetryError;
use super::line_queue::LineQueue;
use crate::config::{self, LogFormat};

/// Lines that may wait for a slow standard error.
const QUEUED_LINES: usize = 4096;

/// The log of this process. When it goes, lines that wait are written first, for two seconds at most.
#[derive(Debug)]
pub struct Log {
    queue: LineQueue,
}

impl Log {
    /// Sets up the log of this process, once.
    pub fn start(log: &config::Log) -> Result<Self, TelemetryError> {
        let filter = parse_filter(&log.filter)?;
        let queue = LineQueue::start("log", QUEUED_LINES, io::stderr()).map_err(TelemetryError::Thread)?;
        subscriber(filter, log.format, queue.clone()).try_init().map_err(|_| TelemetryError::AlreadySet)?;
        Ok(Self { queue })
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.queue.flush();
    }
}

fn parse_filter(filter: &str) -> Result<EnvFilter, TelemetryError> {
    EnvFilter::builder()
        .parse(filter)
        .map_err(|error| TelemetryError::Filter { filter: filter.to_owned(), detail: error.to_string() })
}

fn subscriber<W>(filter: EnvFilter, format: LogFormat, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = fmt::layer().with_ansi(false).with_writer(writer);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    Registry::default().with(lines.with_filter(filter))
}

/// One line on its way to the queue.
#[derive(Debug)]
pub(super) struct Line(LineQueue);

impl MakeWriter<'_> for LineQueue {
    type Writer = Line;

    fn make_writer(&self) -> Line {
        Line(self.clone())
    }
}

impl Write for Line {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(without_controls(line), 1);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The line with the access log's name for the time, and with every control character but its last line break written as
/// `\u00xx`, in text and JSON alike: no value from outside can drive a terminal or begin a line of its own
/// (RUSTSEC-2025-0055 was this).
fn without_controls(line: &[u8]) -> Vec<u8> {
    let (body, end) = match line.strip_suffix(b"\n") {
        Some(body) => (body, "\n"),
        None => (line, ""),
    };
    let mut clean = String::with_capacity(line.len());
    // what the library writes first in JSON
    let body = match body.strip_prefix(br#"{"timestamp":"#) {
        Some(rest) => {
            clean.push_str(r#"{"time":"#);
            rest
        }
        None => body,
    };
    let body = String::from_utf8_lossy(body);
    for c in body.chars() {
        if c.is_control() {
            // controls end at U+009F
            let _ = write!(clean, "\\u{:04x}", u32::from(c)); // a string takes every write
        } else {
            clean.push(c);
        }
    }
    clean.push_str(end);
    clean.into_bytes()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::super::line_queue::Output;
    use super::*;

    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl Output for Memory {
        fn write(&mut self, lines: &[u8]) -> io::Result<()> {
            self.0.lock().unwrap().extend_from_slice(lines);
            Ok(())
        }

        fn reopen(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What the log holds after `events`.
    fn logged(filter: &str, format: LogFormat, events: impl FnOnce()) -> String {
        let written = Arc::default();
        let queue = LineQueue::start("test-log", 16, Memory(Arc::clone(&written))).unwrap();
        let subscriber = subscriber(parse_filter(filter).unwrap(), format, queue.clone());
        tracing::subscriber::with_default(subscriber, events);
        queue.flush();
        let bytes = written.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn values_from_outside_cannot_drive_a_terminal_or_forge_a_line() {
        let evil = "x\u{1b}[31mred\r\n2026-11-23 INFO forged \u{7f}\u{9b}2J";
        for format in [LogFormat::Text, LogFormat::Json] {
            let log = logged("info", format, || tracing::info!(path = %evil, debug = ?evil, "said {evil}"));
            assert_eq!(log.matches('\n').count(), 1, "{format:?}: {log:?}");
            let controls: Vec<char> = log.trim_end_matches('\n').chars().filter(|c| c.is_control()).collect();
            assert!(controls.is_empty(), "{format:?}: {log:?}");
        }
    }

    #[test]
    fn json_lines_stay_json() {
        let log = logged("info", LogFormat::Json, || tracing::warn!(value = "\u{7f}\u{1b}\u{9b}", "message"));
        let line: serde_json::Value = serde_json::from_str(&log).unwrap();
        assert_eq!(line["value"], "\u{7f}\u{1b}\u{9b}", "the value comes back as it was");
        assert_eq!(line["message"], "message");
        assert_eq!(line["level"], "WARN");
        assert!(line["time"].is_string(), "as in the access log: {log}");
    }

    #[test]
    fn the_filter_decides_what_is_logged() {
        let log = logged("warn,portcullis::telemetry=debug", LogFormat::Text, || {
            tracing::debug!("in this module");
            tracing::info!(target: "elsewhere", "quiet");
            tracing::warn!(target: "elsewhere", "loud");
        });
        assert!(log.contains("in this module") && log.contains("loud") && !log.contains("quiet"), "{log}");
        let error = parse_filter("portcullis=loud").unwrap_err().to_string();
        assert!(error.contains("'portcullis=loud'"), "{error}");
    }
}
