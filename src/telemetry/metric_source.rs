//! Values that other modules keep and the metrics show, and the names for what the workers count.

use std::fmt;

/// What a value of a [`MetricSource`] means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// It only rises.
    Counter,
    /// It rises and falls.
    Gauge,
}

/// A value that another module keeps, read when the metrics are read.
pub struct MetricSource {
    /// Without the prefix `portcullis_` and, for counters, without `_total`.
    pub name: &'static str,
    /// One sentence without a full stop at its end. Sources of one name stand together and share the first one's.
    pub help: &'static str,
    /// A label that tells sources of one name apart.
    pub label: Option<(&'static str, String)>,
    /// Counter or gauge.
    pub kind: MetricKind,
    /// Reads the value.
    pub read: Box<dyn Fn() -> u64 + Send + Sync>,
}

impl fmt::Debug for MetricSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("name", &self.name).field("label", &self.label).finish_non_exhaustive()
    }
}

/// Values that another module keeps under labels that come and go, read when the metrics are read.
pub struct MetricFamily {
    /// As in [`MetricSource`].
    pub name: &'static str,
    /// One sentence without a full stop at its end.
    pub help: &'static str,
    /// Counter or gauge.
    pub kind: MetricKind,
    /// Reads all values, each with its labels.
    pub read: Box<dyn Fn() -> Vec<LabelledValue> + Send + Sync>,
}

/// The labels of a value, and the value.
pub type LabelledValue = (Vec<(&'static str, String)>, u64);

impl fmt::Debug for MetricFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricFamily").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What the workers count by number, by the names that the metrics give it.
#[derive(Debug, Clone)]
pub struct MetricNames {
    /// The listeners' addresses.
    pub listeners: Vec<String>,
    /// The causes of refusals.
    pub causes: &'static [&'static str],
    /// Why requests are not authenticated.
    pub auth_failures: &'static [&'static str],
}
