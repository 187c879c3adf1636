//! What operators see of the gateway: its log, the access log and the metrics.
//!
//! Nothing in here ever makes a request wait: lines go through bounded queues to threads of their own, and what does
//! not fit is dropped and counted; counters belong to one worker each and are summed when they are read.

mod access;
mod alarm;
mod history;
mod log;
mod metrics;
mod queue;

pub use access::{AccessLog, AccessWriter, ReasonText, Record};
pub use alarm::Alarm;
pub use history::{History, Minute, Outcome, OutcomeCounts};
pub use log::Log;
pub use metrics::{Count, Histogram, Kind, Metrics, Source, WorkerMetrics};

use std::io;
use std::path::PathBuf;

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The level or filter is not one.
    #[error(
        "log.level '{filter}' is not a filter such as 'info' or 'info,portcullis::proxy=debug': {detail}"
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
    /// The system gives no thread.
    #[error("cannot start the thread that writes a log: {0}")]
    Thread(#[source] io::Error),
}
