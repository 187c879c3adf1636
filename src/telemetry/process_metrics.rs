//! What the system knows of the process, under the names that all Prometheus clients use.

use std::fmt;
use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue};
use prometheus_client::metrics::MetricType;
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::metrics_collector::NO_EXEMPLAR;

/// Reads when metrics are read. What the system does not tell is left out.
#[derive(Debug)]
pub(super) struct ProcessMetrics {
    /// Seconds since 1970.
    pub(super) started: f64,
}

impl Collector for ProcessMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "User and system CPU time of the process";
        encoder
            .encode_descriptor("process_cpu_seconds", help, None, MetricType::Counter)?
            .encode_counter(&cpu_seconds(), NO_EXEMPLAR)?;
        gauge(
            &mut encoder,
            "process_start_time_seconds",
            "When the process started, since 1970",
            &self.started,
        )?;
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        if let Some(bytes) = memory_bytes(&status, "VmRSS:") {
            gauge(&mut encoder, "process_resident_memory_bytes", "Memory that the process uses", &bytes)?;
        }
        if let Some(bytes) = memory_bytes(&status, "VmSize:") {
            gauge(&mut encoder, "process_virtual_memory_bytes", "Address space of the process", &bytes)?;
        }
        if let Ok(files) = fs::read_dir("/proc/self/fd") {
            // without the one that reads them
            let open = u64::try_from(files.count()).unwrap_or(u64::MAX).saturating_sub(1);
            gauge(
                &mut encoder,
                "process_open_fds",
                "Files that the process has open, sockets among them",
                &open,
            )?;
        }
        if let Some(most) = getrlimit(Resource::Nofile).current {
            gauge(&mut encoder, "process_max_fds", "Files that the process may have open", &most)?;
        }
        Ok(())
    }
}

fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: &impl EncodeGaugeValue,
) -> fmt::Result {
    encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(value)
}

#[expect(clippy::cast_precision_loss, reason = "seconds as f64 are what the format wants")]
fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// A line such as `VmRSS:     1234 kB` of `/proc/self/status`.
fn memory_bytes(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}
