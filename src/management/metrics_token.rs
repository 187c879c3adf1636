//! The token of a scraper: it reads the metrics, and nothing else.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use zeroize::Zeroizing;

use crate::config::{Config, SecretFileError};

/// What a scraper sends as `Authorization: Bearer`. Wiped when it is dropped.
pub struct MetricsToken(Zeroizing<String>);

impl MetricsToken {
    /// Reads the file that `management.metrics.token_file` names, if it names one.
    pub fn read(config: &Config) -> Result<Option<Self>, SecretFileError> {
        let management = config.management.as_ref();
        let token = management.and_then(|management| management.metrics_token.as_ref());
        token.map(|token| Ok(Self(token.read()?))).transpose()
    }

    /// Whether the value of an `Authorization` header has it. Takes the same time for every wrong one of its length.
    pub(super) fn is_in(&self, authorization: &[u8]) -> bool {
        let Some((scheme, token)) = authorization.split_at_checked(b"Bearer ".len()) else { return false };
        scheme.eq_ignore_ascii_case(b"Bearer ") && verify_slices_are_equal(token, self.0.as_bytes()).is_ok()
    }
}

impl std::fmt::Debug for MetricsToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MetricsToken")
    }
}
