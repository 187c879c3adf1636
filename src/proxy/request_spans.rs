//! The spans of a request whose trace is recorded: one for the request, and one for each attempt to have an upstream
//! answer it. Names are those of OpenTelemetry's semantic conventions for HTTP.

use std::borrow::Cow;
use std::cell::RefMut;
use std::time::{Instant, SystemTime};

use super::admit::valid_host;
use super::exchange::{Exchange, ExchangeEnd, Retry};
use super::record_outcome::RequestOutcome;
use super::request_context::RequestContext;
use super::upstream_response::ResponseHeadError;
use crate::telemetry::{AttributeValue, Span, SpanKind, SpanWriter, loggable_path};
use crate::upstream::{EndpointAddress, Failure, InFlight};
use crate::wire::{HeaderRule, RequestHead, Version};

/// Methods that spans tell apart (RFC 9110, RFC 5789); others count as one.
const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
/// How much of a path a span holds.
const PATH_BYTES: usize = 1024;

/// One attempt to have the upstream answer a request whose trace is recorded.
#[derive(Debug)]
pub(super) struct Attempt {
    begun: Instant,
    ended: Option<Instant>,
    /// `None`: no connection could be made.
    endpoint: Option<EndpointAddress>,
    /// Of the answer.
    status: Option<u16>,
    error: Option<&'static str>,
}

// === what an exchange notes while it runs ===

impl Exchange<'_> {
    /// The time, if an attempt that begins now is to be recorded.
    pub(super) fn attempt_start(&self) -> Option<Instant> {
        self.permitted.trace.is_recorded().then(Instant::now)
    }

    /// The attempts, if they are to be recorded; the last is the one that runs.
    fn recorded_attempts(&self) -> Option<RefMut<'_, Vec<Attempt>>> {
        self.permitted.trace.is_recorded().then(|| self.progress.attempts.borrow_mut())
    }

    /// How often the request was sent, if that is recorded.
    pub(super) fn attempt_number(&self) -> usize {
        self.recorded_attempts().map_or(0, |attempts| attempts.len())
    }

    /// Notes that an attempt is made, on this connection if there is one.
    pub(super) fn note_attempt(&self, begun: Option<Instant>, in_flight: Option<&InFlight>) {
        let Some(begun) = begun else { return };
        let endpoint = in_flight.map(|in_flight| self.pool.endpoint_of(in_flight));
        let attempt = Attempt { begun, ended: None, endpoint, status: None, error: None };
        self.progress.attempts.borrow_mut().push(attempt);
    }

    /// Notes the status of the answer.
    pub(super) fn note_answer(&self, status: u16) {
        if let Some(mut attempts) = self.recorded_attempts()
            && let Some(attempt) = attempts.last_mut()
        {
            attempt.status = Some(status);
        }
    }

    /// Notes why the attempt fails.
    pub(super) fn note_failure(&self, failure: Failure) {
        if let Some(mut attempts) = self.recorded_attempts()
            && let Some(attempt) = attempts.last_mut()
        {
            attempt.error = match failure {
                Failure::Connect => Some("connect"),
                Failure::Reset => Some("reset"),
                Failure::Timeout => Some("timeout"),
                Failure::Broken => Some("broken"),
                // it stands there itself
                Failure::Status(_) => None,
            };
        }
    }

    /// Notes how the attempt has ended.
    pub(super) fn note_end(&self, ended: &Result<ExchangeEnd, Retry>) {
        if let Some(mut attempts) = self.recorded_attempts()
            && let Some(attempt) = attempts.last_mut()
        {
            attempt.ended = Some(Instant::now());
            if let Err(Retry::OtherConnection(error)) = ended {
                attempt.error = Some(match error {
                    ResponseHeadError::Closed => "closed",
                    ResponseHeadError::GoneAway => "goaway",
                    ResponseHeadError::Refused => "refused_stream",
                    ResponseHeadError::Reset => "reset",
                    ResponseHeadError::Malformed => "broken",
                });
            }
        }
    }
}

// === the spans, when the request is over ===

impl RequestContext<'_> {
    /// Records the spans of a request that was answered with `status`, 0 if it was not answered.
    pub(super) fn record_spans(
        &self,
        spans: &mut SpanWriter,
        head: &RequestHead,
        outcome: &RequestOutcome<'_>,
        status: u16,
    ) {
        let clock = SpanClock::now();
        let method = METHODS.iter().find(|known| known.as_bytes() == head.method()).copied();
        let route = outcome.route.map(|route| self.active_config.snapshot.route_names[route].as_str());
        let name = match (method.unwrap_or("HTTP"), route) {
            (method, Some(route)) => Cow::Owned(format!("{method} {route}")),
            (method, None) => Cow::Borrowed(method),
        };
        let method = method.unwrap_or("_OTHER");
        let status_text = status.to_string();
        let error = match (&outcome.refusal, &outcome.aborted) {
            (Some(refusal), _) if status >= 500 => Some(refusal.response().cause),
            (_, Some(_)) => Some("aborted"),
            _ => (status >= 500).then_some(status_text.as_str()),
        };

        let client = self.source(head).to_string();
        let peer = self.client.peer.ip().to_string();
        let path = String::from_utf8_lossy(loggable_path(head.target()));
        let host = head.authority().or_else(|| head.fields.values(HeaderRule::Host).next());
        let host = host.and_then(|host| std::str::from_utf8(valid_host(host).ok()?).ok());
        let (host, port) = host.map_or((None, None), |host| {
            let (host, port) = host_and_port(host);
            (Some(host), port)
        });
        let mut attributes = Attributes::default();
        attributes.text("http.request.method", Some(method));
        attributes.text("url.path", Some(&path[..path.floor_char_boundary(PATH_BYTES)]));
        attributes.text("url.scheme", Some(self.client.scheme()));
        attributes.text("http.route", route);
        attributes.number("http.response.status_code", (status > 0).then_some(u64::from(status)));
        attributes.text("server.address", host);
        attributes.number("server.port", port);
        attributes.text("client.address", Some(&client));
        attributes.text("network.peer.address", Some(&peer));
        attributes.text("network.protocol.version", Some(protocol_version(head.version)));
        attributes.text("error.type", error);
        spans.record(&Span {
            trace_id: self.trace.trace_number(),
            id: self.trace.span_id(0),
            parent_id: self.trace.parent_id(),
            has_remote_parent: self.trace.is_continued(),
            kind: SpanKind::Server,
            name: &name,
            start_unix_nanos: clock.unix_nanos(self.arrived),
            end_unix_nanos: clock.unix_nanos(clock.moment),
            attributes: &attributes.0,
            is_error: error.is_some(),
        });
        let last = outcome.progress.attempts.borrow().len();
        for (number, attempt) in outcome.progress.attempts.borrow().iter().enumerate() {
            // what came between the last of them and its end ended the request, too
            let interrupted = error.filter(|_| attempt.ended.is_none() && number + 1 == last);
            self.record_attempt(spans, &clock, method, (number, attempt), interrupted);
        }
    }

    fn record_attempt(
        &self,
        spans: &mut SpanWriter,
        clock: &SpanClock,
        method: &str,
        (number, attempt): (usize, &Attempt),
        interrupted: Option<&str>,
    ) {
        let status_text = attempt.status.map(|status| status.to_string());
        // to a client, 4xx is an error as well
        let refused = status_text.as_deref().filter(|_| attempt.status.is_some_and(|status| status >= 400));
        let error = attempt.error.or(interrupted).or(refused);
        let (host, port) = attempt.endpoint.as_ref().map_or((None, None), |at| {
            let (host, port) = host_and_port(&at.endpoint);
            (Some(host), port)
        });
        let peer = attempt.endpoint.as_ref().and_then(|at| at.address).map(|at| at.ip().to_string());
        let mut attributes = Attributes::default();
        attributes.text("http.request.method", Some(method));
        attributes.number("http.response.status_code", attempt.status.map(u64::from));
        attributes.number("http.request.resend_count", (number > 0).then_some(number as u64));
        attributes.text("server.address", host);
        attributes.number("server.port", port);
        attributes.text("network.peer.address", peer.as_deref());
        attributes.text("portcullis.upstream", attempt.endpoint.as_ref().map(|at| at.upstream.as_str()));
        attributes.text("error.type", error);
        spans.record(&Span {
            trace_id: self.trace.trace_number(),
            id: self.trace.span_id(number + 1),
            parent_id: Some(self.trace.span_id(0)),
            has_remote_parent: false,
            kind: SpanKind::Client,
            name: method,
            start_unix_nanos: clock.unix_nanos(attempt.begun),
            end_unix_nanos: clock.unix_nanos(attempt.ended.unwrap_or(clock.moment)),
            attributes: &attributes.0,
            is_error: error.is_some(),
        });
    }
}

/// The attributes of a span that have a value.
#[derive(Default)]
struct Attributes<'a>(Vec<(&'static str, AttributeValue<'a>)>);

impl<'a> Attributes<'a> {
    fn text(&mut self, name: &'static str, value: Option<&'a str>) {
        self.0.extend(value.map(|value| (name, AttributeValue::Text(value))));
    }

    fn number(&mut self, name: &'static str, value: Option<u64>) {
        self.0.extend(value.map(|value| (name, AttributeValue::Number(value))));
    }
}

/// The system's clock, read once for all spans of a request: the one of the workers ticks ten times a second.
struct SpanClock {
    moment: Instant,
    time: SystemTime,
}

impl SpanClock {
    fn now() -> Self {
        Self { moment: Instant::now(), time: SystemTime::now() }
    }

    fn unix_nanos(&self, moment: Instant) -> u64 {
        let since = self.moment.saturating_duration_since(moment);
        let time = self.time.checked_sub(since).unwrap_or(SystemTime::UNIX_EPOCH);
        let since_1970 = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since_1970.as_nanos()).unwrap_or(u64::MAX)
    }
}

/// `host [":" port]`, an IPv6 address without its brackets, or the path of `unix:/path`.
fn host_and_port(text: &str) -> (&str, Option<u64>) {
    let with_port = text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    let (host, port) = match with_port {
        Some((host, port)) => (host, Some(port)),
        None => (text.strip_prefix("unix:").unwrap_or(text), None),
    };
    (host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host), port)
}

fn protocol_version(version: Version) -> &'static str {
    match version {
        Version::Http10 => "1.0",
        Version::Http11 => "1.1",
        Version::Http2 => "2",
    }
}

#[cfg(test)]
mod tests {
    use super::host_and_port;

    #[test]
    fn a_host_is_told_apart_from_its_port() {
        for (text, parts) in [
            ("api.test", ("api.test", None)),
            ("api.test:8080", ("api.test", Some(8080))),
            ("[::1]", ("::1", None)),
            ("[::1]:443", ("::1", Some(443))),
            ("127.0.0.1:80", ("127.0.0.1", Some(80))),
            ("unix:/run/api.sock", ("/run/api.sock", None)),
        ] {
            assert_eq!(host_and_port(text), parts, "{text}");
        }
    }
}
