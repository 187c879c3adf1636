//! Taking over another configuration while the gateway runs.

use std::sync::Arc;

use super::{Gateway, management_tls};
use crate::config::{Authentication, Config, OtlpUrl, SecretFileError};
use crate::management::{MetricsToken, Settings};
use crate::proxy::{ConfigSnapshot, ConfigSnapshotError, TlsError};
use crate::server::config_status::ConfigCertificates;
use crate::server::open_files;

/// Why a configuration is not taken over while the gateway runs. The old one stays in force.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// What only another process can change.
    #[error("'{}' cannot change while the gateway runs: run `portcullis upgrade`", keys.join("', '"))]
    NeedsUpgrade {
        /// the configuration's keys
        keys: Vec<&'static str>,
    },
    /// The store's path, by which the commands find the gateway.
    #[error("the path of the store cannot change while the gateway runs: stop it and start it again")]
    NeedsRestart,
    /// Routes, upstreams or certificates.
    #[error(transparent)]
    Snapshot(#[from] ConfigSnapshotError),
    /// The management listener's certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The scraper's token.
    #[error("management.metrics.token_file: {0}")]
    MetricsToken(#[from] SecretFileError),
}

impl Gateway {
    /// Takes over what a running gateway can: routes, upstreams, certificates, limits and timeouts. All or nothing;
    /// running requests keep what they began with.
    pub fn reload(&mut self, mut config: Config) -> Result<(), ReloadError> {
        if self.config.store.path() != config.store.path() {
            return Err(ReloadError::NeedsRestart);
        }
        let fixed = [
            ("listeners", same_listeners(&self.config, &config)),
            ("management", same_management(&self.config, &config)),
            ("workers", self.config.workers == config.workers),
            (
                "store",
                self.config.store == config.store
                    && self.config.max_staleness == config.max_staleness
                    && self.config.gateway == config.gateway,
            ),
            ("pepper_file", self.config.pepper_files == config.pepper_files),
            ("key_prefix", self.config.key_prefix == config.key_prefix),
            ("argon2", self.config.argon2 == config.argon2),
            ("cache", self.config.cache == config.cache),
            ("throttle", self.config.throttle == config.throttle),
            ("authentication", same_authentication_times(&self.config, &config)),
            ("log", self.config.log == config.log),
            ("tracing.otlp", otlp(&self.config) == otlp(&config)),
        ];
        let keys: Vec<_> = fixed.into_iter().filter(|(_, same)| !same).map(|(key, _)| key).collect();
        if !keys.is_empty() {
            return Err(ReloadError::NeedsUpgrade { keys });
        }
        // all that can fail before anything is taken over
        let files = open_files::divide_open_files(&mut config);
        let snapshot = ConfigSnapshot::new(&config, files)?;
        let tls = management_tls(&config)?;
        let metrics_token = MetricsToken::read(&config)?;
        let certificates = ConfigCertificates::new(&snapshot, tls.as_ref(), &self.addresses);
        snapshot.take_over(&self.shared.snapshot.load());
        self.upstream_monitor.watch(snapshot.upstreams().to_vec());
        self.certificate_watch.watch(certificates.watched());
        self.shared.snapshot.store(Arc::new(snapshot));
        if let Some(management_plane) = &self.management_plane {
            let tls = tls.map(|tls| tls.config);
            management_plane.reload(Settings::new(&config, &self.addresses.listeners, tls, metrics_token));
        }
        self.status.taken_over(certificates);
        self.config = config;
        Ok(())
    }
}

fn otlp(config: &Config) -> Option<&OtlpUrl> {
    config.tracing.as_ref().map(|tracing| &tracing.otlp)
}

/// Names, certificates and the lengths of sessions may change; the address, and whether it speaks TLS, may not.
fn same_management(old: &Config, new: &Config) -> bool {
    let fixed = |config: &Config| config.management.as_ref().map(|it| (it.address, it.tls.is_some()));
    fixed(old) == fixed(new)
}

fn same_listeners(old: &Config, new: &Config) -> bool {
    old.listeners.len() == new.listeners.len()
        && old
            .listeners
            .iter()
            .zip(&new.listeners)
            .all(|(old, new)| old.address == new.address && old.tls.is_some() == new.tls.is_some())
}

/// What is accepted as a credential belongs to the snapshot; the times belong to threads that a reload leaves alone.
fn same_authentication_times(old: &Config, new: &Config) -> bool {
    let times = |config: &Config| {
        let Authentication { refusal_time, verification_timeout, .. } = config.authentication;
        (refusal_time, verification_timeout)
    };
    times(old) == times(new)
}
