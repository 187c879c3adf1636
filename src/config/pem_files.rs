//! Certificates and private keys in PEM form. Every error is a sentence that names the file and quotes nothing of it.

use std::fs;
use std::path::Path;

use rustls::pki_types::pem::{Error, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

/// A file's bytes; wiped, since they may be a private key.
pub fn read_pem_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    fs::read(path).map(Zeroizing::new).map_err(|error| format!("cannot read '{}': {error}", path.display()))
}

/// The certificates in `pem`, which stood in the file `path`: at least one.
pub fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| message(path, "a certificate", &error))?;
    if found.is_empty() {
        return Err(message(path, "a certificate", &Error::NoItemsFound));
    }
    Ok(found)
}

/// The private key in `pem`, which stood in the file `path`.
pub fn private_key(path: &Path, pem: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| {
        // of a key with a passphrase the PEM reader finds none, or says that it is broken
        if memchr::memmem::find(pem, b"ENCRYPTED").is_none() {
            return message(path, "a private key", &error);
        }
        let path = path.display();
        format!(
            "the private key in '{path}' is encrypted, and there is nobody to ask for its passphrase: decrypt it \
             (openssl pkey -in '{path}' -out NEW) and let only the gateway's user read it"
        )
    })
}

/// What is wrong with a certificate and a key that were read.
pub enum PairError {
    /// The key belongs to another certificate, that of the file being named.
    OtherKey(String),
    /// The certificate, or both.
    Unusable(String),
}

/// A certificate, which stood in the file `path`, with its key: they belong together.
pub fn certified_key(
    path: &Path,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<CertifiedKey, PairError> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    CertifiedKey::from_der(chain, key, &provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => PairError::OtherKey(format!(
            "expected the private key of the certificate in '{}', found another one",
            path.display()
        )),
        // no other error is told by the key alone
        error => PairError::Unusable(format!("expected a usable certificate and key: {error}")),
    })
}

fn message(path: &Path, what: &str, error: &Error) -> String {
    let path = path.display();
    match error {
        Error::NoItemsFound => format!("expected {what} in PEM form in '{path}', found none"),
        // the library's message may quote the file, which may be a private key
        _ => format!("expected {what} in PEM form in '{path}', found PEM that is broken"),
    }
}
