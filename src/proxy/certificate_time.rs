//! Until when a certificate is valid.

use std::time::Duration;

use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error, RootCertStore};

/// The last moment of the year 9999, after which no certificate can end.
const LAST: UnixTime = UnixTime::since_unix_epoch(Duration::from_secs(253_402_300_799));

/// Why the certificate is refused at a time. Its own dates are looked at before who signed it; as nobody is trusted
/// here, every other answer means that they are right.
pub fn certificate_time_error(certificate: &CertificateDer<'_>, time: UnixTime) -> Option<CertificateError> {
    let certificate = ParsedCertificate::try_from(certificate).ok()?;
    let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms.all;
    let nobody = RootCertStore::empty();
    match verify_server_cert_signed_by_trust_anchor(&certificate, &nobody, &[], time, algorithms) {
        Err(Error::InvalidCertificate(error)) => Some(error),
        _ => None,
    }
}

/// When the certificate ends; the end of the year 9999 if it never does.
pub fn certificate_end(certificate: &CertificateDer<'_>) -> Option<UnixTime> {
    match certificate_time_error(certificate, LAST)? {
        CertificateError::ExpiredContext { not_after, .. } => Some(not_after),
        CertificateError::BadEncoding => None,
        _ => Some(LAST),
    }
}
