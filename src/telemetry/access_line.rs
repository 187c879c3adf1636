//! A line of the access log: what it tells of a request, and how it is written, as text or JSON.

use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::net::IpAddr;

/// What the access log tells of one request.
///
/// There is no field for the query, the headers or the body: they may hold secrets.
#[derive(Debug, Clone, Copy)]
pub struct AccessRecord<'a> {
    /// When the request's head had arrived, in milliseconds since 1970.
    pub time_unix_ms: i64,
    /// The client, or what a trusted proxy says of it.
    pub source: IpAddr,
    /// `HTTP/1.1` or `HTTP/2.0`.
    pub protocol: &'static str,
    /// The method as it came.
    pub method: &'a str,
    /// The request's path as it came. A query, a fragment and user information are left out even if they are in here.
    pub path: &'a [u8],
    /// The status of the answer as it was sent; 0 where the client was gone before anything of one was.
    pub status: u16,
    /// From the request's head to the end of the answer, in microseconds.
    pub duration_us: u64,
    /// Body bytes from the client.
    pub bytes_in: u64,
    /// Body bytes to the client.
    pub bytes_out: u64,
    /// The access key, after its secret was verified. Never one that was only claimed.
    pub access_key: Option<&'a str>,
    /// The route's path.
    pub route: Option<&'a str>,
    /// Why the request was refused, or which rule let it pass.
    pub reason: Option<&'a dyn ReasonText>,
    /// Why the request was not authenticated.
    pub auth_failure: Option<&'a str>,
    /// The access key that was sent with a credential that failed. Only one that has the minted form or that a key has:
    /// people type passwords where access keys belong.
    pub claimed_key: Option<&'a str>,
    /// The id in `X-Request-Id`.
    pub request_id: &'a str,
    /// The trace's id: hexadecimal digits.
    pub trace_id: &'a [u8],
    /// The upstream's name, where one was asked.
    pub upstream: Option<&'a str>,
}

/// A reason that can be printed, and shown in `Debug`.
pub trait ReasonText: fmt::Display + fmt::Debug {}

impl<T: fmt::Display + fmt::Debug> ReasonText for T {}

/// Set for a byte that stands for itself in a value.
const IN_VALUE: u8 = 1;
/// Set for a byte that stands for itself in a sentence, which holds spaces.
const IN_SENTENCE: u8 = 2;

/// Which of the two each byte is plain in.
const PLAIN: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = b' ';
    while byte <= b'~' {
        table[byte as usize] = match byte {
            b'"' | b'\\' => 0,
            b' ' => IN_SENTENCE,
            _ => IN_VALUE | IN_SENTENCE,
        };
        byte += 1;
    }
    table
};

fn is_plain(byte: u8, place: u8) -> bool {
    PLAIN[usize::from(byte)] & place != 0
}

/// Whether all bytes stand for themselves. Sixteen are compared at a time, the last ones twice if need be.
fn are_plain(bytes: &[u8], place: u8) -> bool {
    let Some(last) = bytes.last_chunk() else {
        return bytes.iter().all(|byte| is_plain(*byte, place));
    };
    let (chunks, _) = bytes.as_chunks();
    is_chunk_plain(last, place) && chunks.iter().all(|chunk| is_chunk_plain(chunk, place))
}

/// The same of a chunk, without branches or a table, so that the processor compares its bytes all at once.
#[expect(
    clippy::needless_bitwise_bool,
    reason = "branches would keep the compiler from comparing the bytes all at once"
)]
#[inline]
fn is_chunk_plain(chunk: &[u8; 16], place: u8) -> bool {
    let first = if place == IN_SENTENCE { b' ' } else { b'!' };
    chunk.iter().fold(true, |plain, &byte| {
        plain & (byte >= first) & (byte <= b'~') & (byte != b'"') & (byte != b'\\')
    })
}

/// The line that is being formatted.
pub(super) struct Line<'a> {
    pub(super) buffer: &'a mut Vec<u8>,
}

impl Line<'_> {
    /// `2026-11-23T07:23:22.123Z 127.0.0.1 "GET /a HTTP/1.1" 200 812us in=0 out=512 key=… route=… upstream=… id=… trace_id=… reason="…"`, and at the end of a 401
    /// `auth_failure=… claimed_key=…`
    pub(super) fn text(&mut self, second: &str, record: &AccessRecord<'_>) {
        self.time(second, record);
        self.raw(b" ");
        self.address(record.source);
        self.raw(b" \"");
        self.value(record.method.as_bytes());
        self.raw(b" ");
        self.value(loggable_path(record.path));
        self.raw(b" ");
        self.raw(record.protocol.as_bytes());
        self.raw(b"\" ");
        self.number(u64::from(record.status));
        self.raw(b" ");
        self.number(record.duration_us);
        self.raw(b"us in=");
        self.number(record.bytes_in);
        self.raw(b" out=");
        self.number(record.bytes_out);
        for (name, value) in
            [(" key=", record.access_key), (" route=", record.route), (" upstream=", record.upstream)]
        {
            if let Some(value) = value {
                self.raw(name.as_bytes());
                self.value(value.as_bytes());
            }
        }
        self.raw(b" id=");
        self.value(record.request_id.as_bytes());
        self.raw(b" trace_id=");
        self.raw(record.trace_id);
        if let Some(reason) = record.reason {
            self.raw(b" reason=\"");
            self.display_value(reason);
            self.raw(b"\"");
        }
        for (name, value) in [(" auth_failure=", record.auth_failure), (" claimed_key=", record.claimed_key)]
        {
            if let Some(value) = value {
                self.raw(name.as_bytes());
                self.value(value.as_bytes());
            }
        }
        self.raw(b"\n");
    }

    pub(super) fn json(&mut self, second: &str, record: &AccessRecord<'_>) {
        self.raw(b"{\"time\":\"");
        self.time(second, record);
        self.raw(b"\",\"source\":\"");
        self.address(record.source);
        self.raw(b"\"");
        self.field("protocol", record.protocol.as_bytes());
        self.field("method", record.method.as_bytes());
        self.field("path", loggable_path(record.path));
        self.raw(b",\"status\":");
        self.number(u64::from(record.status));
        self.raw(b",\"durationUs\":");
        self.number(record.duration_us);
        self.raw(b",\"bytesIn\":");
        self.number(record.bytes_in);
        self.raw(b",\"bytesOut\":");
        self.number(record.bytes_out);
        for (name, value) in
            [("accessKey", record.access_key), ("route", record.route), ("upstream", record.upstream)]
        {
            if let Some(value) = value {
                self.field(name, value.as_bytes());
            }
        }
        self.field("requestId", record.request_id.as_bytes());
        // as OpenTelemetry calls it in all logs
        self.raw(b",\"trace_id\":\"");
        self.raw(record.trace_id);
        self.raw(b"\"");
        if let Some(reason) = record.reason {
            self.raw(b",\"reason\":\"");
            self.display_value(reason);
            self.raw(b"\"");
        }
        for (name, value) in [("authFailure", record.auth_failure), ("claimedKey", record.claimed_key)] {
            if let Some(value) = value {
                self.field(name, value.as_bytes());
            }
        }
        self.raw(b"}\n");
    }

    fn field(&mut self, name: &str, value: &[u8]) {
        self.raw(b",\"");
        self.raw(name.as_bytes());
        self.raw(b"\":\"");
        self.value(value);
        self.raw(b"\"");
    }

    fn time(&mut self, second: &str, record: &AccessRecord<'_>) {
        self.raw(second.as_bytes());
        // 1000 and the milliseconds: three digits always, and a point in the place of the first
        self.number(record.time_unix_ms.rem_euclid(1000).unsigned_abs() + 1000);
        let point = self.buffer.len() - 4;
        self.buffer[point] = b'.';
        self.raw(b"Z");
    }

    fn raw(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    fn number(&mut self, number: u64) {
        self.raw(itoa::Buffer::new().format(number).as_bytes());
    }

    fn address(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(address) => {
                for (at, octet) in address.octets().into_iter().enumerate() {
                    if at > 0 {
                        self.raw(b".");
                    }
                    self.number(u64::from(octet));
                }
            }
            IpAddr::V6(address) => _ = write!(self.buffer, "{address}"), // a Vec takes every write
        }
    }

    fn display_value(&mut self, value: &dyn ReasonText) {
        struct Escaped<'l, 'b>(&'l mut Line<'b>);
        impl fmt::Write for Escaped<'_, '_> {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                self.0.value_with_spaces(text.as_bytes());
                Ok(())
            }
        }
        let _ = write!(Escaped(self), "{value}"); // see above
    }

    /// Writes bytes from outside so that they stay one value on one line: `"` and `\` are escaped, and all but
    /// visible ASCII is written as `\\xHH`. That is a JSON string, and no terminal acts on it.
    fn value(&mut self, bytes: &[u8]) {
        self.escape(bytes, IN_VALUE);
    }

    /// The same, for sentences.
    fn value_with_spaces(&mut self, bytes: &[u8]) {
        self.escape(bytes, IN_SENTENCE);
    }

    fn escape(&mut self, bytes: &[u8], place: u8) {
        let mut rest = bytes;
        if are_plain(rest, place) {
            return self.raw(rest);
        }
        while let Some(at) = rest.iter().position(|&byte| !is_plain(byte, place)) {
            self.raw(&rest[..at]);
            match rest[at] {
                b'"' => self.raw(b"\\\""),
                b'\\' => self.raw(b"\\\\"),
                byte => {
                    let _ = write!(self.buffer, "\\\\x{byte:02X}"); // a Vec takes every write
                }
            }
            rest = &rest[at + 1..];
        }
        self.raw(rest);
    }
}

/// `path` without what may hold a secret: query, fragment, and the user information of `http://key:secret@host/`.
pub fn loggable_path(path: &[u8]) -> &[u8] {
    let end = path.iter().position(|byte| matches!(byte, b'?' | b'#')).unwrap_or(path.len());
    let path = &path[..end];
    if path.first() == Some(&b'/') {
        return path;
    }
    // not a path: everything up to the last @ may be a credential
    let start = path.iter().rposition(|byte| *byte == b'@').map_or(0, |at| at + 1);
    &path[start..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_plain_in_the_same_places_however_many_stand_beside_it() {
        for byte in 0..=u8::MAX {
            let visible = byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
            for (place, plain) in [(IN_VALUE, visible), (IN_SENTENCE, visible || byte == b' ')] {
                for length in 1..50 {
                    for at in 0..length {
                        let mut bytes = vec![b'a'; length];
                        bytes[at] = byte;
                        assert_eq!(are_plain(&bytes, place), plain, "{}", bytes.escape_ascii());
                    }
                }
                assert_eq!(is_plain(byte, place), plain);
            }
        }
    }

    #[test]
    fn what_may_hold_a_secret_is_left_out() {
        for (given, logged) in [
            (&b"/x?access_key=a&secret=b"[..], &b"/x"[..]),
            (b"/x#secret", b"/x"),
            (b"http://id:secret@host/x?y", b"host/x"),
            (b"id:secret@host:443", b"host:443"),
            (b"/id:kept@host", b"/id:kept@host"),
            (b"*", b"*"),
            (b"", b""),
        ] {
            assert_eq!(loggable_path(given), logged, "{}", given.escape_ascii());
        }
    }
}
