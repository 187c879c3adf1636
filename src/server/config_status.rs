//! What the metrics say of the configuration in use: how the last reload went, and of its certificates.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use super::gateway::Addresses;
use crate::config::Watched;
use crate::proxy::{ConfigSnapshot, ServerTls, WatchedCertificate};

/// What the metrics say of the configuration in use.
#[derive(Default)]
pub(super) struct ConfigStatus {
    /// Whether the last reload was taken over. A start counts as one.
    pub(super) last_reload_succeeded: AtomicBool,
    /// When the configuration in use was taken over, in seconds since 1970.
    pub(super) taken_over_at: AtomicU64,
    certificates: Mutex<ConfigCertificates>,
}

/// The certificates of a configuration.
#[derive(Default, Clone)]
pub(super) struct ConfigCertificates {
    /// What each listener shows.
    shown: Vec<(String, Arc<WatchedCertificate>)>,
    /// Whom TLS to upstreams trusts.
    trusted: Vec<Arc<dyn Watched>>,
}

/// When a certificate that a listener shows ends.
pub(super) struct CertificateEnd {
    pub(super) listener: String,
    pub(super) file: String,
    /// In seconds since 1970.
    pub(super) end: u64,
}

impl ConfigCertificates {
    /// Those of all listeners, that of `management` too, and of the upstreams.
    pub(super) fn new(
        snapshot: &ConfigSnapshot,
        management: Option<&ServerTls>,
        addresses: &Addresses,
    ) -> Self {
        let listeners =
            addresses.listeners.iter().map(|(address, _)| address.clone()).zip(snapshot.certificates());
        let management =
            addresses.management.map(Into::into).zip(management.map(|tls| tls.certificates.as_slice()));
        let shown = listeners.chain(management).flat_map(|(address, certificates)| {
            let listener = address.to_string();
            certificates.iter().map(move |certificate| (listener.clone(), Arc::clone(certificate)))
        });
        let upstreams = snapshot.upstreams().iter();
        Self {
            shown: shown.collect(),
            trusted: upstreams.filter_map(|upstream| upstream.watched_files()).collect(),
        }
    }

    /// All of them, to be looked at.
    pub(super) fn watched(&self) -> Vec<Arc<dyn Watched>> {
        let shown = self.shown.iter().map(|(_, certificate)| Arc::clone(certificate) as Arc<dyn Watched>);
        shown.chain(self.trusted.iter().cloned()).collect()
    }
}

impl ConfigStatus {
    /// Takes note of a configuration that was taken over, also at the start.
    pub(super) fn taken_over(&self, certificates: ConfigCertificates) {
        *self.certificates.lock().unwrap_or_else(PoisonError::into_inner) = certificates;
        self.taken_over_at.store(now(), Ordering::Relaxed);
        self.last_reload_succeeded.store(true, Ordering::Relaxed);
    }

    /// Takes note of one that was not.
    pub(super) fn refused(&self) {
        self.last_reload_succeeded.store(false, Ordering::Relaxed);
    }

    /// The certificates of all listeners, that of `management` too.
    pub(super) fn certificate_ends(&self) -> Vec<CertificateEnd> {
        let certificates = self.certificates.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let shown = certificates.shown.into_iter();
        shown
            .filter_map(|(listener, certificate)| {
                let file = certificate.paths().first()?.display().to_string();
                Some(CertificateEnd { listener, file, end: certificate.current().end?.as_secs() })
            })
            .collect()
    }

    /// Each file of certificates, and whether what it holds is in use.
    pub(super) fn certificate_files(&self) -> BTreeMap<String, bool> {
        let certificates = self.certificates.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut files = BTreeMap::new();
        for watched in certificates.watched() {
            if let Some(file) = watched.paths().first() {
                *files.entry(file.display().to_string()).or_insert(true) &= watched.is_current();
            }
        }
        files
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}
