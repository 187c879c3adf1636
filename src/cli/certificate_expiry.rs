//! Until when a certificate is valid, which no client forgives: what `check` says of those that a listener shows.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use rustls::CertificateError;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, UnixTime};

use crate::proxy::certificate_time_error;

/// An operator is told this long before a certificate expires.
const NOTICE: Duration = Duration::from_hours(14 * 24);

/// What is wrong with the time of the certificate in `file`, or soon will be.
pub(super) fn warning(file: &Path) -> Option<String> {
    let certificate = CertificateDer::from_pem_file(file).ok()?;
    let now = UnixTime::now();
    let soon = UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs()).saturating_add(NOTICE));
    let name = file.display();
    match certificate_time_error(&certificate, now) {
        Some(CertificateError::ExpiredContext { not_after, .. }) => {
            Some(format!("'{name}' expired {}: clients refuse it", at(not_after)))
        }
        Some(CertificateError::NotValidYetContext { not_before, .. }) => {
            Some(format!("'{name}' is not valid before {}: clients refuse it", at(not_before)))
        }
        _ => match certificate_time_error(&certificate, soon) {
            Some(CertificateError::ExpiredContext { not_after, .. }) => {
                Some(format!("'{name}' expires {}", at(not_after)))
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
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("gateway.pem");
        let key = || KeyPair::generate().unwrap();
        let issuer =
            CertifiedIssuer::self_signed(CertificateParams::new(vec!["ca".to_owned()]).unwrap(), key())
                .unwrap();
        let warning_about = |from: i32, to: i32| {
            let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
            params.not_before = date_time_ymd(from, 1, 1);
            params.not_after = date_time_ymd(to, 1, 1);
            let own_key = key();
            let own = params.self_signed(&own_key).unwrap().pem();
            let signed = params.signed_by(&own_key, &issuer).unwrap().pem();
            let warnings = [own, signed].map(|pem| {
                std::fs::write(&file, pem).unwrap();
                warning(&file).unwrap_or_default()
            });
            assert_eq!(warnings[0], warnings[1], "self-signed and not");
            warnings[0].clone()
        };
        assert!(warning_about(2020, 2021).contains("expired 2021-01-01T00:00:00Z: clients refuse it"));
        assert!(warning_about(3020, 3021).contains("not valid before 3020-01-01"));
        assert_eq!(warning_about(2020, 3021), "");
    }
}
