//! What the metrics say of the configuration in use: how the last reload went, and when its certificates end.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::gateway::Addresses;
use crate::config::{Config, ListenerTls};
use crate::proxy::certificate_end;

/// What the metrics say of the configuration in use.
#[derive(Debug)]
pub(super) struct ConfigStatus {
    /// Whether the last reload was taken over. A start counts as one.
    pub(super) last_reload_succeeded: AtomicBool,
    /// When the configuration in use was taken over, in seconds since 1970.
    pub(super) taken_over_at: AtomicU64,
    certificates: Mutex<Vec<CertificateEnd>>,
}

/// When a certificate that a listener shows ends.
#[derive(Debug, Clone)]
pub(super) struct CertificateEnd {
    pub(super) listener: String,
    pub(super) file: String,
    /// In seconds since 1970.
    pub(super) end: u64,
}

impl ConfigStatus {
    /// The status after a start.
    pub(super) fn new(config: &Config, addresses: &Addresses) -> Self {
        Self {
            last_reload_succeeded: AtomicBool::new(true),
            taken_over_at: AtomicU64::new(now()),
            certificates: Mutex::new(certificate_ends(config, addresses)),
        }
    }

    /// Takes note of a configuration that was taken over.
    pub(super) fn taken_over(&self, config: &Config, addresses: &Addresses) {
        *self.certificates.lock().unwrap_or_else(PoisonError::into_inner) =
            certificate_ends(config, addresses);
        self.taken_over_at.store(now(), Ordering::Relaxed);
        self.last_reload_succeeded.store(true, Ordering::Relaxed);
    }

    /// Takes note of one that was not.
    pub(super) fn refused(&self) {
        self.last_reload_succeeded.store(false, Ordering::Relaxed);
    }

    /// The certificates of all listeners, that of `management` too.
    pub(super) fn certificates(&self) -> Vec<CertificateEnd> {
        self.certificates.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn certificate_ends(config: &Config, addresses: &Addresses) -> Vec<CertificateEnd> {
    let listeners = config.listeners.iter().zip(&addresses.listeners);
    let listeners = listeners.map(|(listener, (address, _))| (Some(*address), listener.tls.as_ref()));
    let management = config.management.as_ref().and_then(|management| management.tls.as_ref());
    listeners
        .chain([(addresses.management, management)])
        .filter_map(|(address, tls)| Some((address?, tls?)))
        .flat_map(|(address, ListenerTls { certificates })| {
            certificates.iter().filter_map(move |files| {
                let certificate = CertificateDer::from_pem_file(&files.certificate).ok()?;
                Some(CertificateEnd {
                    listener: address.to_string(),
                    file: files.certificate.display().to_string(),
                    end: certificate_end(&certificate)?.as_secs(),
                })
            })
        })
        .collect()
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}
