//! `tracing:`: spans of requests, sent to a collector by OTLP.

use http::uri::PathAndQuery;

use super::reader::Reader;
use super::upstream::EndpointUrl;
use super::yaml::{Node, Text, Value};

/// Where the OpenTelemetry Protocol has traces if a URL names no path.
const TRACES_PATH: &str = "/v1/traces";

/// `tracing:`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tracing {
    /// Where spans go.
    pub otlp: OtlpUrl,
    /// Which traces are recorded that begin at the gateway.
    pub sample: SampleRate,
}

/// The URL of a collector, for OTLP over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtlpUrl {
    /// Scheme, host and port.
    pub endpoint: EndpointUrl,
    /// Where spans are posted.
    pub path: String,
}

/// How many of all traces are recorded.
///
/// The trace's id decides, as OpenTelemetry's consistent probability sampling has it: a trace is recorded if the last 56
/// bits of its id are at least the threshold. So others who sample by the id agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SampleRate {
    threshold: u64,
}

impl SampleRate {
    /// One more than the greatest number of 56 bits.
    const END: u64 = 1 << 56;

    /// From 0, none, to 1, all; `None`: it is neither, nor between the two.
    pub fn new(rate: f64) -> Option<Self> {
        #[expect(clippy::cast_precision_loss, reason = "a power of two is exact")]
        let end = Self::END as f64;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is looked at only where it lies between 0 and 2^56"
        )]
        let threshold = ((1.0 - rate) * end) as u64;
        (0.0..=1.0).contains(&rate).then_some(Self { threshold })
    }

    /// Whether the trace with this id is recorded.
    pub fn includes(self, trace_id: u128) -> bool {
        let last_bits = trace_id & u128::from(Self::END - 1);
        last_bits >= u128::from(self.threshold)
    }
}

impl OtlpUrl {
    fn parse(text: &str) -> Option<Self> {
        let uri: http::Uri = text.parse().ok()?;
        let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
        if uri.query().is_some() || text.contains('#') {
            return None;
        }
        let base = text.strip_suffix(path).unwrap_or(text);
        let endpoint = EndpointUrl::parse(base)?;
        let path = if path == "/" { TRACES_PATH } else { path };
        Some(Self { endpoint, path: path.to_owned() })
    }
}

impl std::fmt::Display for OtlpUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", self.endpoint, self.path)
    }
}

/// Reads `tracing:`.
pub(super) fn read(reader: &mut Reader<'_>, node: &Node) -> Option<Tracing> {
    let section = reader.section(node, &["otlp", "sample"])?;
    let otlp = reader.required(&section, "otlp").and_then(|node| {
        const EXPECTED: &str = "the http:// or https:// URL of a collector, without user and query, such as http://127.0.0.1:4318";
        let text = reader.text(node, EXPECTED)?;
        let url = OtlpUrl::parse(text);
        if url.is_none() {
            // what was found is not shown: people put tokens into such URLs
            reader.error(node, format!("expected {EXPECTED}"));
        }
        url
    });
    let mut sample = SampleRate::new(0.01)?;
    reader.set(&mut sample, section.get("sample"), |reader, node| {
        let rate = match &node.value {
            Value::Integer(0) => Some(0.0),
            Value::Integer(1) => Some(1.0),
            Value::Float(rate) => Some(*rate),
            // a substituted number is a text
            Value::Text(Text { text, .. }) => text.parse().ok(),
            _ => None,
        };
        let sample = rate.and_then(SampleRate::new);
        sample.or_else(|| {
            reader.unexpected(node, "a number from 0 (no trace) to 1 (all of them), such as 0.01")
        })
    });
    Some(Tracing { otlp: otlp?, sample })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_without_a_path_gets_the_protocols_own() {
        for (text, url) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
            ("http://collector:4318/", "http://collector:4318/v1/traces"),
            ("https://otlp.example", "https://otlp.example:443/v1/traces"),
            ("https://[::1]:8443/api/otlp/", "https://[::1]:8443/api/otlp/"),
            ("http://collector/v1/traces", "http://collector:80/v1/traces"),
        ] {
            assert_eq!(OtlpUrl::parse(text).map(|url| url.to_string()).as_deref(), Some(url), "{text}");
        }
        for wrong in [
            "collector:4318",
            "grpc://collector:4317",
            "http://user:pass@collector:4318",
            "http://collector/v1/traces?token=x",
            "http://collector/#x",
            "http://",
            "/v1/traces",
            "",
        ] {
            assert_eq!(OtlpUrl::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_rate_is_a_share_of_all_traces() {
        let greatest = u128::MAX;
        let rate = |rate| SampleRate::new(rate).unwrap();
        assert!(rate(1.0).includes(0) && rate(1.0).includes(greatest));
        assert!(!rate(0.0).includes(0) && !rate(0.0).includes(greatest));
        assert!(rate(0.5).includes(1 << 55) && !rate(0.5).includes((1 << 55) - 1));
        assert!(rate(0.01).includes(greatest) && !rate(0.01).includes(greatest << 56 | (1 << 55)));
        for wrong in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            assert_eq!(SampleRate::new(wrong), None);
        }
    }
}
