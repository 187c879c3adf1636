//! The access log: one line a request, with no secret in it.
//!
//! A worker formats lines into a buffer of its own; full buffers go to one thread that writes. A record costs no
//! allocation and no lock. What a slow disk cannot take is dropped and counted, never waited for.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::TelemetryError;
use super::access_line::{AccessRecord, Line};
use super::line_queue::{LineQueue, Output};
use crate::config::{self, LogFormat};

/// A buffer of this size is handed over before the next record.
const BUFFER_BYTES: usize = 32 * 1024;

/// Buffers that may wait for a slow disk: with all of them full, 8 MiB.
const QUEUED_BUFFERS: usize = 256;

/// The access log of the process.
#[derive(Debug)]
pub struct AccessLog {
    queue: Option<LineQueue>,
    format: LogFormat,
}

impl AccessLog {
    /// Opens the log and starts the thread that writes it.
    pub fn start(log: &config::Log) -> Result<Self, TelemetryError> {
        let queue = match &log.access {
            config::AccessLog::Off => None,
            config::AccessLog::Stderr => Some(LineQueue::start("access-log", QUEUED_BUFFERS, io::stderr())),
            config::AccessLog::Stdout => Some(LineQueue::start("access-log", QUEUED_BUFFERS, io::stdout())),
            config::AccessLog::File(path) => {
                let file = LogFile::open(path.clone())
                    .map_err(|source| TelemetryError::Open { path: path.clone(), source })?;
                Some(LineQueue::start("access-log", QUEUED_BUFFERS, file))
            }
        };
        Ok(Self { queue: queue.transpose().map_err(TelemetryError::Thread)?, format: log.format })
    }

    /// A worker's own end of the log.
    pub fn writer(&self) -> AccessLogWriter {
        AccessLogWriter {
            queue: self.queue.clone(),
            format: self.format,
            buffer: Vec::new(),
            lines: 0,
            second: None,
            second_text: String::new(),
        }
    }

    /// Opens the file again under its name: for log rotation, on SIGHUP. Not for threads that serve requests.
    pub fn reopen(&self) {
        if self.queue.as_ref().is_some_and(|queue| !queue.reopen()) {
            tracing::error!("the access log takes no lines: it is not opened again");
        }
    }

    /// Reads how many lines were lost because the target was too slow or broken; the metrics keep it.
    pub fn dropped_reader(&self) -> impl Fn() -> u64 + Send + Sync + 'static {
        let queue = self.queue.clone();
        move || queue.as_ref().map_or(0, LineQueue::dropped)
    }
}

impl Drop for AccessLog {
    /// Waits for what the workers have handed over, two seconds at most; the workers' writers must be gone by then.
    fn drop(&mut self) {
        if let Some(queue) = &self.queue {
            queue.flush();
        }
    }
}

/// One worker's end of the access log.
#[derive(Debug)]
pub struct AccessLogWriter {
    queue: Option<LineQueue>,
    format: LogFormat,
    buffer: Vec<u8>,
    lines: u64,
    /// The second that `second_text` stands for: most records share theirs with the one before.
    second: Option<i64>,
    second_text: String,
}

impl AccessLogWriter {
    /// Adds a line. It is written when the buffer is full, and at the next [`AccessLogWriter::flush`].
    pub fn record(&mut self, record: &AccessRecord<'_>) {
        if self.queue.is_none() {
            return;
        }
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush();
        }
        if self.buffer.capacity() == 0 {
            // room for one line of the usual size beyond the limit
            self.buffer.reserve_exact(BUFFER_BYTES + 1024);
        }
        self.set_second(record.time_unix_ms);
        let mut line = Line { buffer: &mut self.buffer };
        match self.format {
            LogFormat::Text => line.text(&self.second_text, record),
            LogFormat::Json => line.json(&self.second_text, record),
        }
        self.lines += 1;
    }

    /// Hands over what the buffer holds. A worker calls this a few times a second, so that a quiet gateway's lines
    /// are seen too; without lines it costs nothing.
    pub fn flush(&mut self) {
        if self.lines == 0 {
            return;
        }
        if let Some(queue) = &self.queue {
            let full = std::mem::take(&mut self.buffer);
            self.buffer = queue.push(full, self.lines).unwrap_or_default();
        }
        self.lines = 0;
    }

    fn set_second(&mut self, unix_ms: i64) {
        let second = unix_ms.div_euclid(1000);
        if self.second == Some(second) {
            return;
        }
        self.second = Some(second);
        self.second_text.clear();
        let time = Timestamp::from_second(second).unwrap_or(Timestamp::UNIX_EPOCH);
        // writing to a string cannot fail
        let _ = write!(self.second_text, "{time}");
        if self.second_text.ends_with('Z') {
            self.second_text.pop();
        }
    }
}

impl Drop for AccessLogWriter {
    fn drop(&mut self) {
        self.flush();
    }
}

/// A file that lines are appended to.
struct LogFile {
    path: PathBuf,
    file: File,
}

impl LogFile {
    fn open(path: PathBuf) -> io::Result<Self> {
        let file = open(&path)?;
        Ok(Self { path, file })
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o640).open(path)
}

impl Output for LogFile {
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        self.file.write_all(lines)
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.file = open(&self.path)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn record(path: &[u8]) -> AccessRecord<'_> {
        AccessRecord {
            time_unix_ms: 1_795_418_602_007,
            source: IpAddr::V4(Ipv4Addr::LOCALHOST),
            protocol: "HTTP/1.1",
            method: "GET",
            path,
            status: 403,
            duration_us: 812,
            bytes_in: 3,
            bytes_out: 512,
            access_key: Some("pce_0123"),
            route: Some("/v2-beta"),
            reason: Some(&"environment keys reach only their \"own\" environment"),
            auth_failure: None,
            claimed_key: None,
            request_id: "r-1",
            trace_id: b"4bf92f3577b34da6a3ce929d0e0e4736",
            upstream: None,
        }
    }

    fn settings(access: config::AccessLog, format: LogFormat) -> config::Log {
        config::Log { format, access, ..config::Log::default() }
    }

    /// The lines that `records` leave in a file.
    fn written(format: LogFormat, records: &[AccessRecord<'_>]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let log = AccessLog::start(&settings(config::AccessLog::File(path.clone()), format)).unwrap();
        let mut writer = log.writer();
        for record in records {
            writer.record(record);
        }
        drop(writer);
        drop(log);
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn a_line_tells_of_the_request() {
        assert_eq!(
            written(LogFormat::Text, &[record(b"/v2-beta/projects/e2/x")]),
            "2026-11-23T07:23:22.007Z 127.0.0.1 \"GET /v2-beta/projects/e2/x HTTP/1.1\" 403 812us in=3 out=512 \
             key=pce_0123 route=/v2-beta id=r-1 trace_id=4bf92f3577b34da6a3ce929d0e0e4736 reason=\"environment keys reach only their \\\"own\\\" environment\"\n"
        );
        let line: serde_json::Value =
            serde_json::from_str(&written(LogFormat::Json, &[record(b"/x")])).unwrap();
        let expected = serde_json::json!({
            "time": "2026-11-23T07:23:22.007Z", "source": "127.0.0.1", "protocol": "HTTP/1.1", "method": "GET",
            "path": "/x", "status": 403, "durationUs": 812, "bytesIn": 3, "bytesOut": 512, "accessKey": "pce_0123",
            "route": "/v2-beta", "requestId": "r-1",
            "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
            "reason": "environment keys reach only their \"own\" environment",
        });
        assert_eq!(line, expected);
    }

    #[test]
    fn the_line_of_a_401_ends_with_what_is_wrong_with_the_key() {
        let refused = AccessRecord {
            status: 401,
            access_key: None,
            reason: Some(&"unauthenticated"),
            auth_failure: Some("wrong_secret"),
            claimed_key: Some("RO \"OT"),
            ..record(b"/x")
        };
        let text = written(LogFormat::Text, &[refused]);
        let end = r#" id=r-1 trace_id=4bf92f3577b34da6a3ce929d0e0e4736 reason="unauthenticated" auth_failure=wrong_secret claimed_key=RO\\x20\"OT"#;
        assert!(text.trim_end().ends_with(end), "{text}");
        let line: serde_json::Value = serde_json::from_str(&written(LogFormat::Json, &[refused])).unwrap();
        assert_eq!(
            (&line["authFailure"], &line["claimedKey"]),
            (&"wrong_secret".into(), &r#"RO\x20"OT"#.into())
        );
        assert_eq!(line.get("accessKey"), None);
    }

    #[test]
    fn control_characters_are_escaped_in_log_lines() {
        let evil = b"/a\"b\\c\x1b[31m\r\n\xff\xc3\xa9 \x7f";
        let text = written(LogFormat::Text, &[record(evil)]);
        assert!(
            text.contains(r#""GET /a\"b\\c\\x1B[31m\\x0D\\x0A\\xFF\\xC3\\xA9\\x20\\x7F HTTP/1.1""#),
            "{text}"
        );
        assert_eq!(text.lines().count(), 1);
        let json: serde_json::Value =
            serde_json::from_str(&written(LogFormat::Json, &[record(evil)])).unwrap();
        assert_eq!(json["path"], r#"/a"b\c\x1B[31m\x0D\x0A\xFF\xC3\xA9\x20\x7F"#);
    }

    #[test]
    fn a_full_buffer_is_handed_over_and_no_line_is_lost() {
        let records = vec![record(b"/v2-beta/projects/e1/things"); 2000];
        let text = written(LogFormat::Json, &records);
        assert_eq!(text.lines().count(), 2000);
        for line in text.lines() {
            serde_json::from_str::<serde_json::Value>(line).unwrap();
        }
    }

    #[test]
    fn a_rotated_file_is_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let log =
            AccessLog::start(&settings(config::AccessLog::File(path.clone()), LogFormat::Text)).unwrap();
        let mut writer = log.writer();
        writer.record(&record(b"/before"));
        writer.flush();
        log.queue.as_ref().unwrap().flush();
        fs::rename(&path, folder.path().join("access.log.1")).unwrap();
        log.reopen();
        writer.record(&record(b"/after"));
        drop(writer);
        drop(log);
        assert!(fs::read_to_string(folder.path().join("access.log.1")).unwrap().contains("/before"));
        let after = fs::read_to_string(&path).unwrap();
        assert!(after.contains("/after") && !after.contains("/before"), "{after}");
    }

    #[test]
    fn off_writes_nothing_and_a_missing_folder_is_said() {
        let log = AccessLog::start(&settings(config::AccessLog::Off, LogFormat::Text)).unwrap();
        let mut writer = log.writer();
        writer.record(&record(b"/x"));
        assert_eq!(writer.buffer.capacity(), 0);

        let nowhere = tempfile::tempdir().unwrap().path().join("gone").join("access.log");
        let error = AccessLog::start(&settings(config::AccessLog::File(nowhere.clone()), LogFormat::Text))
            .unwrap_err();
        assert!(error.to_string().contains(&nowhere.display().to_string()), "{error}");
    }
}
