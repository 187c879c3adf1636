//! Divides the files that the system lets the process open.
//!
//! Each connection is one, to a client or to an upstream. If clients could use them all up, no others would get in,
//! health checks would fail and the store could not be read. So what the gateway itself needs is set aside first, then
//! what management may take, and neither clients nor upstreams can have all of the rest.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::{Config, DEFAULT_MAX_CONNECTIONS, Limits};
use crate::proxy::WorkerFileLimits;
use crate::wire::PipePool;

/// Files for the store, the record, the logs, and what is open for a moment.
const OWN: usize = 96;
/// A worker's event loop, and what it holds between accepting a connection and refusing it.
const OWN_OF_WORKER: usize = 8;
/// Management connections beyond `management.connections`, for health checks and for being refused.
const MANAGEMENT_BEYOND: usize = 20;
/// The least that everybody gets, even where the system allows too little for it.
const LEAST: usize = 8;

/// How many open files there are for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shares {
    /// Connections to clients.
    clients: usize,
    /// Connections to the management listener.
    management: usize,
    /// Connections of one worker to all upstreams.
    upstreams: usize,
    /// Pipes of one worker, two files each.
    pipes: usize,
}

impl Shares {
    /// What the configuration asks for.
    fn wanted(config: &Config) -> Self {
        let upstreams = config.upstreams.iter();
        let upstreams = upstreams.map(|upstream| upstream.max_connections.unwrap_or(DEFAULT_MAX_CONNECTIONS));
        Self {
            clients: config.limits.connections,
            management: config.management.as_ref().map_or(0, |management| management.connections),
            upstreams: upstreams.fold(0, usize::saturating_add),
            pipes: PipePool::LIMIT,
        }
    }

    fn files(self, config: &Config) -> usize {
        let of_worker = self.upstreams.saturating_add(2 * self.pipes);
        let all = own(config) + self.management;
        all.saturating_add(self.clients).saturating_add(of_worker.saturating_mul(config.workers))
    }

    /// What it gets where the system allows this many.
    fn of(files: usize, config: &Config) -> Self {
        let wanted = Self::wanted(config);
        let workers = config.workers.max(1);
        let left = files.saturating_sub(own(config));
        let management = wanted.management.min(left / 8).max(LEAST.min(wanted.management));
        let left = left.saturating_sub(management);
        let pipes = wanted.pipes.min(left / 16 / workers);
        let left = left.saturating_sub(2 * pipes * workers);
        // half for each side, and what one does not need is the other's
        let for_upstreams = (left / 2).max(left.saturating_sub(wanted.clients));
        let upstreams = wanted.upstreams.min(for_upstreams / workers).max(LEAST.min(wanted.upstreams));
        let clients =
            wanted.clients.min(left.saturating_sub(upstreams * workers)).max(LEAST.min(wanted.clients));
        Self { clients, management, upstreams, pipes }
    }
}

fn own(config: &Config) -> usize {
    OWN + MANAGEMENT_BEYOND + config.workers * (OWN_OF_WORKER + 2 * config.listeners.len())
}

/// Raises the soft limit of open files as far as the configuration needs and the system allows, and lowers in the
/// configuration what does not fit.
pub(super) fn divide_open_files(config: &mut Config) -> WorkerFileLimits {
    let wanted = Shares::wanted(config);
    let needed = wanted.files(config);
    let allowed = raise(needed);
    let shares = Shares::of(allowed, config);
    let limits = &mut config.limits;
    let mut lowered = Vec::new();
    if shares.clients < wanted.clients {
        lowered.push(format!("'limits.connections' is {} instead of {}", shares.clients, wanted.clients));
        // no source gets them all: half of them, or more if the configuration gives more
        let same_part = limits.connections_per_source.min(wanted.clients) * shares.clients / wanted.clients;
        limits.connections_per_source = limits.connections_per_source.min(same_part.max(shares.clients / 2));
        limits.connections = shares.clients;
    }
    if let Some(management) = config.management.as_mut().filter(|_| shares.management < wanted.management) {
        lowered.push(format!(
            "'management.connections' is {} instead of {}",
            shares.management, wanted.management
        ));
        management.connections = shares.management;
        management.connections_per_source = management.connections_per_source.min(shares.management);
    }
    let each = shares.upstreams / config.upstreams.len().max(1);
    if shares.upstreams < wanted.upstreams
        && config.upstreams.iter().any(|upstream| upstream.max_connections.is_some_and(|most| most > each))
    {
        lowered.push(format!("'max_connections' of an upstream is {each}"));
    }
    if !lowered.is_empty() {
        let message = format!(
            "the system allows {allowed} open files, the configuration needs {needed}: {}. Raise the hard limit \
             (LimitNOFILE= of a systemd unit) or lower these settings",
            lowered.join(", ")
        );
        // nobody has asked for the defaults
        if wanted.clients == Limits::default().connections {
            tracing::info!("{message}");
        } else {
            tracing::warn!("{message}");
        }
    }
    WorkerFileLimits { upstream_connections: shares.upstreams, pipes: shares.pipes }
}

/// How many files the process may open, after the limit was raised towards `wanted`. Shells usually allow 1,024.
fn raise(wanted: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    let count = |files: u64| usize::try_from(files).unwrap_or(usize::MAX);
    let current = limit.current.map_or(usize::MAX, count);
    if current >= wanted {
        return current;
    }
    let raised = limit.maximum.map_or(wanted, |maximum| wanted.min(count(maximum)));
    let files = Some(raised as u64);
    match setrlimit(Resource::Nofile, Rlimit { current: files, ..limit }) {
        Ok(()) => raised,
        Err(error) => {
            tracing::warn!(%error, current, "the limit of open files cannot be raised");
            current
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn config(rest: &str) -> Config {
        let text = format!(
            "listeners: [{{ address: 127.0.0.1:0 }}]\nmanagement: {{ address: 127.0.0.1:0 }}\nworkers: 4\n\
             store: {{ sqlite: a.db }}\npepper_file: a.pepper\nroutes: [{{ path: /v1, upstream: api }}]\n\
             upstreams: {{ api: {{ endpoints: [\"http://127.0.0.1:3000\"] }} }}\n{rest}"
        );
        crate::config::parse(&text, Path::new("p.yaml"), &|_| None).unwrap()
    }

    #[test]
    fn case_103_open_files_are_set_aside_before_clients_and_upstreams_share_the_rest() {
        let config = config("");
        let wanted = Shares::wanted(&config);
        let needed = wanted.files(&config);
        assert_eq!(Shares::of(needed, &config), wanted);
        assert_eq!(Shares::of(usize::MAX, &config), wanted);
        for files in [300, 512, 1024, 4096, 20_000, needed - 1] {
            let shares = Shares::of(files, &config);
            assert!(shares.files(&config) <= files, "{files}: {shares:?}");
            assert!(shares.clients < wanted.clients, "{files}: {shares:?}");
            assert!(
                shares.clients >= 20 && shares.upstreams >= 8 && shares.management >= 8,
                "{files}: {shares:?}"
            );
        }
    }

    #[test]
    fn open_files_that_one_side_does_not_need_go_to_the_other() {
        let few = config("limits: { connections: 100 }");
        let shares = Shares::of(4096, &few);
        assert_eq!(shares.clients, 100);
        assert!(shares.upstreams * 4 > 2500, "{shares:?}");
        assert!(shares.files(&few) <= 4096);
    }
}
