//! Whom TLS clients trust: that of upstreams, of the record, and of the command line.

use std::fs;
use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// Whom a TLS client trusts: the certificates in a PEM file, or the system's authorities. Never nobody; the error is
/// what was found instead.
pub fn trusted_roots(ca_file: Option<&Path>) -> Result<RootCertStore, String> {
    match ca_file {
        Some(path) => roots_in(&fs::read(path).map_err(|error| error.to_string())?),
        None => system_roots(),
    }
}

/// The certificates in PEM form. Never none.
pub fn roots_in(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    if roots.is_empty() {
        return Err("it holds no certificate".to_owned());
    }
    Ok(roots)
}

fn system_roots() -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(found.errors.first().map_or_else(|| "none found".to_owned(), ToString::to_string));
    }
    Ok(roots)
}
