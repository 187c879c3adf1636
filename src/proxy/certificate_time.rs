//! Until when a certificate is valid.

use std::time::Duration;

use jiff::Timestamp;
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error, RootCertStore};

/// The last moment of the year 9999, after which no certificate can end.
const LAST: UnixTime = UnixTime::since_unix_epoch(Duration::from_secs(253_402_300_799));

/// Why the certificate is refused at a time. Its own dates are looked at before who signed it; as nobody is trusted
/// here, every other answer means that they are right.
fn certificate_time_error(certificate: &CertificateDer<'_>, time: UnixTime) -> Option<CertificateError> {
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

/// An operator is told this long before a certificate expires.
const NOTICE: Duration = Duration::from_hours(14 * 24);

/// What is wrong with the time of the certificate, or soon will be.
pub fn time_warning(certificate: &CertificateDer<'_>) -> Option<String> {
    let now = UnixTime::now();
    let soon = UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs()).saturating_add(NOTICE));
    match certificate_time_error(certificate, now) {
        Some(CertificateError::ExpiredContext { not_after, .. }) => {
            Some(format!("expired {}: clients refuse it", at(not_after)))
        }
        Some(CertificateError::NotValidYetContext { not_before, .. }) => {
            Some(format!("is not valid before {}: clients refuse it", at(not_before)))
        }
        _ => match certificate_time_error(certificate, soon) {
            Some(CertificateError::ExpiredContext { not_after, .. }) => {
                Some(format!("expires {}", at(not_after)))
            }
            _ => None,
        },
    }
}

fn at(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds).map_or_else(|_| "at an unknown time".to_owned(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, CertifiedIssuer, KeyPair, date_time_ymd};

    use super::*;

    #[test]
    fn a_certificate_out_of_its_time_is_told_whoever_signed_it() {
        let key = || KeyPair::generate().unwrap();
        let issuer =
            CertifiedIssuer::self_signed(CertificateParams::new(vec!["ca".to_owned()]).unwrap(), key())
                .unwrap();
        let warning_about = |from: i32, to: i32| {
            let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
            params.not_before = date_time_ymd(from, 1, 1);
            params.not_after = date_time_ymd(to, 1, 1);
            let own_key = key();
            let own = params.self_signed(&own_key).unwrap();
            let signed = params.signed_by(&own_key, &issuer).unwrap();
            let warnings =
                [own, signed].map(|certificate| time_warning(certificate.der()).unwrap_or_default());
            assert_eq!(warnings[0], warnings[1], "self-signed and not");
            warnings[0].clone()
        };
        assert!(warning_about(2020, 2021).contains("expired 2021-01-01T00:00:00Z: clients refuse it"));
        assert!(warning_about(3020, 3021).contains("not valid before 3020-01-01"));
        assert_eq!(warning_about(2020, 3021), "");
    }
}
