//! The two formats that metrics are read in, and which of them a reader gets.

use std::fmt::Write as _;

/// A text format of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricsFormat {
    /// Prometheus' own, which every reader of metrics knows.
    Prometheus,
    /// `OpenMetrics` 1.0.
    OpenMetrics,
}

impl MetricsFormat {
    /// The value of `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// What a request with this `Accept` wants: `OpenMetrics` if it names it, and no less than plain text.
    pub fn from_accept(accept: &str) -> Self {
        let (mut open_metrics, mut plain) = (0.0_f32, 0.0_f32);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default();
            let (mut weight, mut is_our_version) = (1.0, true);
            for (name, value) in parts.filter_map(|part| part.split_once('=')) {
                if name.eq_ignore_ascii_case("q") {
                    weight = value.parse().unwrap_or(0.0);
                } else if name.eq_ignore_ascii_case("version") {
                    is_our_version = value.trim_matches('"') == "1.0.0";
                }
            }
            if kind.eq_ignore_ascii_case("application/openmetrics-text") && is_our_version {
                open_metrics = open_metrics.max(weight);
            } else if kind.eq_ignore_ascii_case("text/plain") {
                plain = plain.max(weight);
            }
        }
        if open_metrics > 0.0 && open_metrics >= plain { Self::OpenMetrics } else { Self::Prometheus }
    }
}

/// The same metrics in Prometheus' format, in which `# HELP` and `# TYPE` name a counter with its `_total`, and there
/// is no kind `info`.
pub(super) fn to_prometheus(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len() + open_metrics.len() / 16);
    let mut help = "";
    for line in open_metrics.lines() {
        if let Some(line) = line.strip_prefix("# HELP ") {
            // the kind, which decides on the name, comes with the next line
            help = line.split_once(' ').map_or("", |(_, help)| help);
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|line| line.split_once(' '))
        {
            let (suffix, kind) = match kind {
                "counter" => ("_total", kind),
                "info" => ("_info", "gauge"),
                _ => ("", kind),
            };
            // writing to a string cannot fail
            let _ = writeln!(text, "# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}");
        } else if !line.starts_with('#') {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_metrics_is_for_those_who_prefer_it() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        let plain_first = "text/plain;version=0.0.4;q=0.6,application/openmetrics-text;version=1.0.0;q=0.5";
        for (accept, format) in [
            ("", MetricsFormat::Prometheus),
            ("*/*", MetricsFormat::Prometheus),
            ("text/html, text/plain;q=0.5", MetricsFormat::Prometheus),
            ("application/openmetrics-text", MetricsFormat::OpenMetrics),
            ("Application/OpenMetrics-Text; version=\"1.0.0\"; charset=utf-8", MetricsFormat::OpenMetrics),
            ("application/openmetrics-text; version=2.0.0", MetricsFormat::Prometheus),
            ("application/openmetrics-text;q=0", MetricsFormat::Prometheus),
            (prometheus, MetricsFormat::OpenMetrics),
            (plain_first, MetricsFormat::Prometheus),
            ("application/openmetrics-text;q=nonsense, ;;=,q", MetricsFormat::Prometheus),
        ] {
            assert_eq!(MetricsFormat::from_accept(accept), format, "{accept}");
        }
    }

    #[test]
    fn families_are_named_as_prometheus_names_them() {
        let open_metrics = "# HELP a_build Version of it\n# TYPE a_build info\na_build_info{version=\"1\"} 1\n\
                            # HELP b Some\n# TYPE b counter\nb_total{l=\"# x\"} 2\n\
                            # HELP c_seconds Time\n# TYPE c_seconds gauge\n# UNIT c_seconds seconds\nc_seconds 3\n# EOF\n";
        let text = "# HELP a_build_info Version of it\n# TYPE a_build_info gauge\na_build_info{version=\"1\"} 1\n\
                    # HELP b_total Some\n# TYPE b_total counter\nb_total{l=\"# x\"} 2\n\
                    # HELP c_seconds Time\n# TYPE c_seconds gauge\nc_seconds 3\n";
        assert_eq!(to_prometheus(open_metrics), text);
    }
}
