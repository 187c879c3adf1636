//! Where a gateway's management API is: scheme, host and port, and nothing else.

use std::fmt;
use std::str::FromStr;

use http::Uri;

/// Where the API lies, below every origin.
pub(super) const ROOT: &str = "/v2-beta";

/// The one server that a command speaks to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    /// Whether it is spoken to over TLS.
    pub(super) is_tls: bool,
    /// The host in lower case, an IPv6 address without its brackets.
    pub(super) host: String,
    /// The port, given or the scheme's own.
    pub(super) port: u16,
    /// The host, and the port where one was given, as `Host` has them.
    pub(super) authority: String,
}

/// Why a text is no address of a management API. It quotes nothing: there may be a secret in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidOrigin {
    /// No URL, or one of another kind.
    #[error(
        "write http:// or https:// and the host and port of the management listener, such as \
         https://gateway.example:8081"
    )]
    Form,
    /// A key in it.
    #[error("a key does not belong there: PORTCULLIS_KEY, .netrc or --key hold it")]
    Key,
    /// A path, query or fragment.
    #[error("nothing but /v2-beta can follow host and port")]
    Path,
}

impl FromStr for Origin {
    type Err = InvalidOrigin;

    fn from_str(text: &str) -> Result<Self, InvalidOrigin> {
        if text.contains('@') {
            return Err(InvalidOrigin::Key);
        }
        let uri: Uri = text.parse().map_err(|_| InvalidOrigin::Form)?;
        // the parser drops a fragment
        let is_bare = uri.query().is_none() && !text.contains('#');
        if !is_bare || !matches!(uri.path().trim_end_matches('/'), "" | ROOT) {
            return Err(if uri.authority().is_some() { InvalidOrigin::Path } else { InvalidOrigin::Form });
        }
        Self::of(&uri).ok_or(InvalidOrigin::Form)
    }
}

impl Origin {
    /// The origin of an absolute URL.
    fn of(uri: &Uri) -> Option<Self> {
        let is_tls = match uri.scheme_str()? {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let authority = uri.authority()?.as_str().to_ascii_lowercase();
        let host = uri.host()?.to_ascii_lowercase();
        // what follows the host is a port, or nothing
        let port = match authority.strip_prefix(&host)? {
            "" => {
                if is_tls {
                    443
                } else {
                    80
                }
            }
            rest => rest.strip_prefix(':')?.parse().ok().filter(|port| *port != 0)?,
        };
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&host).to_owned();
        (!bare.is_empty()).then_some(Self { is_tls, host: bare, port, authority })
    }

    /// Path and query of a URL that the server gave, where it leads to the API of this very origin.
    pub(super) fn target_of(&self, url: &str) -> Option<String> {
        let uri: Uri = url.parse().ok()?;
        let there = Self::of(&uri)?;
        let is_here = (there.is_tls, &there.host, there.port) == (self.is_tls, &self.host, self.port);
        let target = uri.path_and_query()?.as_str();
        let is_api = target.strip_prefix(ROOT).is_some_and(|rest| rest.starts_with('/'));
        (is_here && is_api).then(|| target.to_owned())
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.is_tls { "https" } else { "http" }, self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_scheme_host_and_port() {
        for (text, is_tls, host, port, shown) in [
            ("http://127.0.0.1:8081", false, "127.0.0.1", 8081, "http://127.0.0.1:8081"),
            ("https://GW.test", true, "gw.test", 443, "https://gw.test"),
            ("https://gw.test/v2-beta", true, "gw.test", 443, "https://gw.test"),
            ("http://gw.test/v2-beta/", false, "gw.test", 80, "http://gw.test"),
            ("http://[::1]:8081/", false, "::1", 8081, "http://[::1]:8081"),
        ] {
            let origin: Origin = text.parse().unwrap();
            let found = (origin.is_tls, &*origin.host, origin.port, &*origin.to_string());
            assert_eq!(found, (is_tls, host, port, shown), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused_without_being_quoted() {
        for (text, error) in [
            ("http://key:secret@gw.test", InvalidOrigin::Key),
            ("http://gw.test/other", InvalidOrigin::Path),
            ("http://gw.test/v2-beta?key=secret", InvalidOrigin::Path),
            ("http://gw.test/#secret", InvalidOrigin::Path),
            ("gw.test:8081", InvalidOrigin::Form),
            ("ftp://gw.test", InvalidOrigin::Form),
            ("http://", InvalidOrigin::Form),
            ("http://gw.test:0", InvalidOrigin::Form),
            ("http://gw.test:65536", InvalidOrigin::Form),
            ("http://gw.test:", InvalidOrigin::Form),
            ("http:// gw.test", InvalidOrigin::Form),
            ("/v2-beta", InvalidOrigin::Form),
        ] {
            assert_eq!(text.parse::<Origin>(), Err(error), "{text}");
        }
    }

    #[test]
    fn only_what_leads_to_the_api_of_this_origin_is_followed() {
        let origin: Origin = "http://gw.test:80/v2-beta".parse().unwrap();
        let target = |url| origin.target_of(url);
        assert_eq!(target("http://GW.test/v2-beta/apikeys?a=b"), Some("/v2-beta/apikeys?a=b".to_owned()));
        for url in [
            "http://other.test/v2-beta/apikeys",
            "https://gw.test/v2-beta/apikeys",
            "http://gw.test:81/v2-beta/apikeys",
            "http://gw.test@other.test/v2-beta/apikeys",
            "http://gw.test/v2-betaapikeys",
            "http://gw.test/metrics",
            "//other.test/v2-beta/apikeys",
            "/v2-beta/apikeys",
        ] {
            assert_eq!(target(url), None, "{url}");
        }
    }
}
