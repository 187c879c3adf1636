//! TLS to the record: rustls, and what libpq's `sslmode` asks of it.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::config::{ServerTrust, TrustedRoots, trusted_roots};

/// How connections to the record speak TLS; the error says what is wrong with the roots.
pub(super) fn connector(trust: &ServerTrust) -> Result<MakeRustlsConnect, String> {
    let builder = ClientConfig::builder();
    let config = match trust {
        ServerTrust::Name(roots) => builder.with_root_certificates(trusted(roots)?).with_no_client_auth(),
        ServerTrust::Chain(roots) => {
            let whole = WebPkiServerVerifier::builder(Arc::new(trusted(roots)?))
                .build()
                .map_err(|error| error.to_string())?;
            let verifier = Verifier { provider: aws_lc_rs::default_provider(), chain: Some(whole) };
            builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth()
        }
        ServerTrust::Anything => {
            let verifier = Verifier { provider: aws_lc_rs::default_provider(), chain: None };
            builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth()
        }
    };
    Ok(MakeRustlsConnect::new(config))
}

fn trusted(roots: &TrustedRoots) -> Result<RootCertStore, String> {
    match roots {
        TrustedRoots::System => trusted_roots(None)
            .map_err(|why| format!("the system's root certificates (sslrootcert names others): {why}")),
        TrustedRoots::File(path) => trusted_roots(Some(path))
            .map_err(|why| format!("the root certificates in {} (sslrootcert): {why}", path.display())),
    }
}

/// Checks less than the name: nothing (`prefer`, `require`), or the chain (`verify-ca`).
#[derive(Debug)]
struct Verifier {
    provider: CryptoProvider,
    chain: Option<Arc<WebPkiServerVerifier>>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        match chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // the name is looked at last: everything else was right
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
