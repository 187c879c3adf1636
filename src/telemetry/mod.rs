//! What operators see of the gateway: its log, the access log, the metrics and spans of requests.
//!
//! Nothing in here ever makes a request wait: lines go through bounded queues to threads of their own, and what does
//! not fit is dropped and counted; counters belong to one worker each and are summed when they are read.

mod access_line;
mod access_log;
mod line_queue;
mod log;
mod log_throttle;
mod metric_source;
mod metrics;
mod metrics_collector;
mod metrics_format;
mod otlp_client;
mod otlp_exporter;
mod otlp_message;
mod process_metrics;
mod request_history;
mod route_counts;
mod spans;
mod worker_metrics;

pub use access_line::{AccessRecord, ReasonText, loggable_path};
pub use access_log::{AccessLog, AccessLogWriter};
pub use log::Log;
pub use log_throttle::LogThrottle;
pub use metric_source::{LabelledValue, MetricFamily, MetricKind, MetricNames, MetricSource};
pub use metrics::Metrics;
pub use metrics_format::MetricsFormat;
pub use otlp_exporter::SpanExporter;
pub use request_history::{Minute, Outcome, OutcomeCounts, RequestHistory};
pub use route_counts::{ListenerCounts, RouteCounts};
pub use spans::{AttributeValue, Span, SpanCounts, SpanKind, SpanWriter};
pub use worker_metrics::{Count, GaugeGuard, Histogram, WorkerMetrics};

use std::io;
use std::path::PathBuf;

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is not one.
    #[error(
        "log.filter '{filter}' is not a filter such as 'info' or 'info,portcullis::proxy=debug': {detail}"
    )]
    Filter {
        /// What the configuration says.
        filter: String,
        /// What is wrong with it.
        detail: String,
    },
    /// A log has been set up in this process before.
    #[error("the log of this process is already set up")]
    AlreadySet,
    /// The access log's file cannot be opened for appending.
    #[error("cannot open the access log {} for appending: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The collector's certificate could not be verified.
    #[error("tracing.otlp: the system has no usable root certificates ({0})")]
    Roots(String),
    /// The system gives no thread or runtime.
    #[error("cannot start the thread that exports spans: {0}")]
    Exporter(#[source] io::Error),
    /// The system gives no thread.
    #[error("cannot start the thread that writes a log: {0}")]
    Thread(#[source] io::Error),
}
