//! The key that a command uses, and where it comes from: `--key`, the environment, `.netrc`.

use std::env;
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use zeroize::Zeroizing;

use super::netrc;
use super::origin::Origin;
use crate::auth;
use crate::cli::output::eprint_line;
use crate::model::AccessKey;

/// The whole pair, or its access key.
const KEY_VARIABLE: &str = "PORTCULLIS_KEY";
/// The secret, where the access key stands elsewhere.
const SECRET_VARIABLE: &str = "PORTCULLIS_SECRET";
/// A `.netrc` that is larger is something else.
const MAX_NETRC_BYTES: usize = 1 << 20;

/// `ACCESS_KEY:SECRET_KEY`, or the access key alone, as it was given. It does not print.
#[derive(Clone)]
pub(super) struct KeyArgument(Zeroizing<String>);

impl fmt::Debug for KeyArgument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyArgument(..)")
    }
}

impl FromStr for KeyArgument {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(Zeroizing::new(text.to_owned())))
    }
}

/// An access key with its secret. It does not print.
pub(super) struct Credential {
    access_key: AccessKey,
    secret: Zeroizing<String>,
    source: Source,
}

/// Where a credential comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    Option,
    Variable,
    Netrc(PathBuf),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Option => f.write_str("the key given with --key"),
            Self::Variable => write!(f, "the key in {KEY_VARIABLE}"),
            Self::Netrc(path) => write!(f, "the key in {}", path.display()),
        }
    }
}

impl Credential {
    /// The key for a gateway. None of the errors quotes what was given: halves are easily mistaken for each other.
    pub(super) fn find(given: Option<&KeyArgument>, origin: &Origin) -> anyhow::Result<Self> {
        let variable = variable(KEY_VARIABLE)?;
        let (pair, source) = match (given, &variable) {
            (Some(KeyArgument(pair)), _) => (pair, Source::Option),
            (None, Some(pair)) => (pair, Source::Variable),
            (None, None) => return Self::in_netrc(origin),
        };
        let (access_key, secret) = match pair.split_once(':') {
            Some((access_key, secret)) => (access_key, Some(Zeroizing::new(secret.to_owned()))),
            None => (pair.as_str(), None),
        };
        let access_key = AccessKey::from_str(access_key)
            .with_context(|| format!("{source} is not ACCESS_KEY:SECRET_KEY"))?;
        let secret = match secret {
            Some(secret) => secret,
            None => match entry(&origin.host, Some(access_key.as_str()))? {
                Some((entry, _)) => entry.password,
                None => self::variable(SECRET_VARIABLE)?.with_context(|| {
                    format!(
                        "{source} has no secret: {SECRET_VARIABLE} is not set, and no entry of .netrc for machine \
                         {} has that login",
                        origin.host
                    )
                })?,
            },
        };
        Self::new(access_key, secret, source)
    }

    fn in_netrc(origin: &Origin) -> anyhow::Result<Self> {
        let Some((entry, path)) = entry(&origin.host, None)? else {
            bail!(
                "no key for {origin}: set {KEY_VARIABLE}=ACCESS_KEY:SECRET_KEY, or write \
                 'machine {} login ACCESS_KEY password SECRET_KEY' into ~/.netrc (or the file that NETRC names)",
                origin.host
            );
        };
        let access_key = AccessKey::from_str(&entry.login)
            .with_context(|| format!("{}: the login for {}", path.display(), origin.host))?;
        Self::new(access_key, entry.password, Source::Netrc(path))
    }

    fn new(access_key: AccessKey, secret: Zeroizing<String>, source: Source) -> anyhow::Result<Self> {
        if secret.is_empty() {
            bail!("{source} has an empty secret");
        }
        if secret.chars().any(char::is_control) || secret.len() > auth::ChosenPair::MAX_SECRET_BYTES {
            bail!("{source} has a secret that no request can carry: it is too long, or holds a line break");
        }
        Ok(Self { access_key, secret, source })
    }

    /// Where it comes from.
    pub(super) fn source(&self) -> &Source {
        &self.source
    }

    /// The value of `Authorization` (RFC 7617).
    pub(super) fn authorization(&self) -> anyhow::Result<HeaderValue> {
        let pair = Zeroizing::new(format!("{}:{}", self.access_key, *self.secret));
        let value = Zeroizing::new(format!("Basic {}", *Zeroizing::new(STANDARD.encode(pair.as_bytes()))));
        let value = bytes::Bytes::from_owner(Zeroizing::new(value.as_bytes().to_vec()));
        let mut value = HeaderValue::from_maybe_shared(value).context("the key cannot be sent")?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// A text of the server's without the secret, which a server that repeats its requests would show.
    pub(super) fn redact(&self, text: &str) -> String {
        let pair = Zeroizing::new(format!("{}:{}", self.access_key, *self.secret));
        let encoded = Zeroizing::new(STANDARD.encode(pair.as_bytes()));
        text.replace(self.secret.as_str(), "…").replace(encoded.as_str(), "…")
    }
}

/// A variable of the environment; an empty one is none.
fn variable(name: &str) -> anyhow::Result<Option<Zeroizing<String>>> {
    let Some(value) = env::var_os(name).filter(|value| !value.is_empty()) else { return Ok(None) };
    let text = value.into_string().map_err(|_| anyhow::anyhow!("{name} is not UTF-8"))?;
    Ok(Some(Zeroizing::new(text)))
}

/// The entry of `.netrc` for a host, and the file.
fn entry(host: &str, login: Option<&str>) -> anyhow::Result<Option<(netrc::Entry, PathBuf)>> {
    let named = env::var_os("NETRC").filter(|path| !path.is_empty()).map(PathBuf::from);
    let home = || Some(PathBuf::from(env::var_os("HOME").filter(|home| !home.is_empty())?).join(".netrc"));
    // a file that is named must be there
    let path = match named {
        Some(path) => path,
        None => match home().filter(|path| path.exists()) {
            Some(path) => path,
            None => return Ok(None),
        },
    };
    let name = path.display();
    let (text, is_open) = read(&path).with_context(|| format!("cannot read {name}"))?;
    let text = std::str::from_utf8(&text).map_err(|_| anyhow::anyhow!("{name} is not UTF-8"))?;
    let found = netrc::find(text, host, login).with_context(|| name.to_string())?;
    if found.is_some() && is_open {
        eprint_line(format_args!(
            "warning: {name} holds a secret and can be read by others: chmod 600 {name}"
        ));
    }
    Ok(found.map(|entry| (entry, path)))
}

/// A file's content, and whether others than its owner may read it.
fn read(path: &Path) -> std::io::Result<(Zeroizing<Vec<u8>>, bool)> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    let size = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
    // with all its room at once: a buffer that grows leaves copies behind
    let mut content = Zeroizing::new(Vec::with_capacity(size.min(MAX_NETRC_BYTES) + 1));
    file.take(MAX_NETRC_BYTES as u64 + 1).read_to_end(&mut content)?;
    if content.len() > MAX_NETRC_BYTES {
        return Err(std::io::Error::other(format!("it is larger than {MAX_NETRC_BYTES} bytes")));
    }
    Ok((content, metadata.permissions().mode() & 0o044 != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credential(access_key: &str, secret: &str) -> anyhow::Result<Credential> {
        let origin: Origin = "http://gw.test".parse().unwrap();
        Credential::find(Some(&format!("{access_key}:{secret}").parse().unwrap()), &origin)
    }

    #[test]
    fn the_first_colon_parts_the_halves() {
        let authorization = credential("pca_x", "a:b").unwrap().authorization().unwrap();
        assert_eq!(authorization, "Basic cGNhX3g6YTpi");
        assert!(authorization.is_sensitive());
    }

    #[test]
    fn what_cannot_be_a_key_is_refused_and_never_quoted() {
        for (access_key, secret) in [("", "hush"), ("a hush", "x"), ("a", ""), ("a", "hush\nhush")] {
            let error = credential(access_key, secret).err().unwrap();
            let said = format!("{error:#}");
            assert!(said.contains("the key given with --key") && !said.contains("hush"), "{said}");
        }
    }

    #[test]
    fn a_text_that_repeats_the_secret_is_shown_without_it() {
        let credential = credential("a", "hush").unwrap();
        assert_eq!(credential.redact("no 'hush' and no YTpodXNo!"), "no '…' and no …!");
        assert!(!format!("{:?}", "a:hush".parse::<KeyArgument>()).contains("hush"));
    }
}
