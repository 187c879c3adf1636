//! The development certificate that `init` and `demo` make.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use anyhow::Context as _;
use jiff::{Span, Timestamp, civil::Date, tz::TimeZone};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use zeroize::Zeroizing;

use crate::store::give_to_owner_of_folder;

/// Longer than this, and some clients refuse a certificate whoever signed it.
const DAYS: i64 = 397;

/// Makes a self-signed certificate for `localhost`, `127.0.0.1` and `::1` and writes it to two new files: the
/// certificate, and its private key, which only the owner can read. Overwrites nothing.
pub(super) fn create(certificate: &Path, key: &Path) -> anyhow::Result<()> {
    let pair = KeyPair::generate()?;
    let mut params = CertificateParams::new(["localhost", "127.0.0.1", "::1"].map(str::to_owned))?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Portcullis development certificate");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let midnight = |date: Date| -> anyhow::Result<_> {
        Ok(date_time_ymd(date.year().into(), u8::try_from(date.month())?, u8::try_from(date.day())?))
    };
    let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
    // from yesterday on, for machines whose clock is a little behind
    params.not_before = midnight(today.checked_sub(Span::new().days(1))?)?;
    params.not_after = midnight(today.checked_add(Span::new().days(DAYS))?)?;
    let signed = params.self_signed(&pair)?;
    write_new(certificate, 0o644, signed.pem().as_bytes())?;
    write_new(key, 0o600, Zeroizing::new(pair.serialize_pem()).as_bytes())
}

fn write_new(path: &Path, mode: u32, content: &[u8]) -> anyhow::Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.exists()) {
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(folder)
            .and_then(|()| give_to_owner_of_folder(&File::open(folder)?, folder))
            .with_context(|| format!("cannot create the folder {}", folder.display()))?;
    }
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        give_to_owner_of_folder(&file, path)?;
        file.write_all(content)?;
        file.sync_all()
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};

    use super::*;

    #[test]
    fn the_certificate_serves_tls_and_its_key_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) =
            (folder.path().join("certs/gateway.pem"), folder.path().join("certs/gateway.key"));
        create(&certificate, &key).unwrap();
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);

        let chain = vec![CertificateDer::from_pem_file(&certificate).unwrap()];
        let private = PrivateKeyDer::from_pem_file(&key).unwrap();
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        rustls::ServerConfig::builder_with_provider(provider.into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, private)
            .expect("the key belongs to the certificate");

        let before = fs::read(&key).unwrap();
        create(&certificate, &key).expect_err("nothing is overwritten");
        assert_eq!(fs::read(&key).unwrap(), before);
    }
}
