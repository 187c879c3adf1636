//! Where a client's credential may stand, made ready to serve requests.

use super::refusal::OwnField;
use crate::auth::{Credential, CredentialError};
use crate::config::{AcceptedCredentials, Config, CredentialHeader};
use crate::wire::{BASIC_CHALLENGE, FieldNameSet, HeaderRule};

/// What a client that can send `Authorization: Bearer` is asked for (RFC 9110 §11.6.1).
const BEARER_CHALLENGE: &str = r#"Bearer realm="Enter API access key and secret key, joined by a colon""#;

/// Names that have no rule of their own, and that mean something to the gateway, to browsers or to every server.
const RESERVED: &[&str] = &[
    "accept",
    "access-control-",
    "allow",
    "cache-control",
    "content-",
    "cookie",
    "date",
    "link",
    "location",
    "priority",
    "retry-after",
    "sec-",
    "server",
    "set-cookie",
    "vary",
    "www-authenticate",
    "x-api-account-",
    "x-api-action-links",
    "x-api-csrf",
    "x-api-key-expires",
    "x-api-key-id",
    "x-api-project-id",
    "x-api-roles",
    "x-content-type-options",
];

/// What is wrong with them.
pub const UNUSABLE: &str =
    "cannot hold a credential: this header has a meaning of its own. Choose another name, such as X-API-Key";

/// The accepted headers that mean something else already: the gateway sends them, frames messages with them or reads them.
pub fn unusable_credential_headers(config: &Config) -> impl Iterator<Item = &CredentialHeader> {
    config.authentication.accept.headers.iter().filter(|header| {
        let name = header.name.to_ascii_lowercase();
        let has_rule =
            !matches!(HeaderRule::of(name.as_bytes()), HeaderRule::Other | HeaderRule::GatewayOnly);
        // one that ends with a hyphen stands for all that begin like it
        let is = |reserved: &&str| {
            if reserved.ends_with('-') { name.starts_with(*reserved) } else { name == **reserved }
        };
        has_rule || RESERVED.iter().any(is)
    })
}

/// Where a credential was sent, and its value.
#[derive(Debug, Clone, Copy)]
pub(super) enum SentCredential<'h> {
    /// In `Authorization`, whatever the scheme.
    Authorization(&'h [u8]),
    /// In a header that the configuration accepts.
    Header(&'h [u8]),
}

/// Where credentials are looked for, and what a client without one is told.
pub(super) struct CredentialPlaces {
    basic: bool,
    pub(super) bearer: bool,
    pub(super) headers: FieldNameSet,
    /// What a client without a key is told.
    message: String,
}

impl CredentialPlaces {
    pub(super) fn new(accepted: &AcceptedCredentials) -> Self {
        let mut ways: Vec<_> = [
            accepted.basic.then(|| "with HTTP Basic".to_owned()),
            accepted.bearer.then(|| "as 'Authorization: Bearer ACCESS_KEY:SECRET_KEY'".to_owned()),
        ]
        .into_iter()
        .flatten()
        .collect();
        ways.extend(accepted.headers.iter().map(|h| format!("as '{}: ACCESS_KEY:SECRET_KEY'", h.name)));
        Self {
            basic: accepted.basic,
            bearer: accepted.bearer,
            headers: FieldNameSet::new(accepted.headers.iter().map(|header| &header.name)),
            message: format!(
                "Portcullis needs a valid access key and its secret key, sent {}",
                ways.join(" or ")
            ),
        }
    }

    /// Reads a credential by the rules of the place where it was sent.
    pub(super) fn read(&self, sent: SentCredential<'_>) -> Result<Credential, CredentialError> {
        let value = match sent {
            SentCredential::Header(pair) => return Credential::parse_pair(pair),
            SentCredential::Authorization(value) => value,
        };
        let basic = if self.basic { Credential::parse(value) } else { Err(CredentialError::OtherScheme) };
        match basic {
            Err(CredentialError::OtherScheme) if self.bearer => Credential::parse_bearer(value),
            read => read,
        }
    }

    /// What a client is told whose request has no credential that works.
    pub(super) fn message(&self) -> &str {
        &self.message
    }

    /// The `WWW-Authenticate` fields of a 401, none where no scheme is accepted.
    pub(super) fn challenges(&self) -> [Option<OwnField<'static>>; 2] {
        let challenge = |text: &'static str| ("WWW-Authenticate", text.into());
        [self.basic.then(|| challenge(BASIC_CHALLENGE)), self.bearer.then(|| challenge(BEARER_CHALLENGE))]
    }
}
