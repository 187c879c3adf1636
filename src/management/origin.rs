//! Whether another site's page has made the browser send a request, as far as the browser tells: `Origin`, and
//! `Sec-Fetch-Site` of [Fetch Metadata](https://www.w3.org/TR/fetch-metadata/). One rule for the page, where the
//! browser adds the session's cookie, and for the API, where it may add a key that somebody has typed into its own
//! prompt. Clients that are no browsers send neither.

use super::refusal::Refusal;
use super::request::Request;

/// Refuses what another site's page has sent.
pub(super) fn admit_sent(request: &Request) -> Result<(), Refusal> {
    let is_own = matches!(site(request), None | Some(Some("same-origin")));
    if is_own && is_ours(request) { Ok(()) } else { Err(forged()) }
}

/// Refuses to show a page to another site's. Following a link to a page is no harm; a page that is fetched or embedded
/// is.
pub(super) fn admit_looked_at(request: &Request) -> Result<(), Refusal> {
    let is_own = match site(request) {
        // typed, or from a bookmark
        None | Some(Some("same-origin" | "none")) => true,
        Some(_) => request.field("sec-fetch-mode") == Some("navigate"),
    };
    if is_own && is_ours(request) { Ok(()) } else { Err(forged()) }
}

/// What the browser says of the site that has made it send this, if it says anything; `Some(None)`: nothing that can
/// be read.
fn site(request: &Request) -> Option<Option<&str>> {
    let is_said = request.head.headers.contains_key("sec-fetch-site");
    is_said.then(|| request.field("sec-fetch-site"))
}

/// Whether no other origin is named than the listener's own.
fn is_ours(request: &Request) -> bool {
    let is_said = request.head.headers.contains_key("origin");
    !is_said || request.field("origin") == Some(request.base().as_str())
}

fn forged() -> Refusal {
    let detail = "The request comes from another site's page, as your browser says. Nothing was done.";
    Refusal::Forbidden { detail: Some(detail.to_owned()) }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn request(method: &str, headers: &[(&str, &str)]) -> Request {
        let mut builder = http::Request::builder().method(method).uri("/keys");
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        Request {
            id: String::new(),
            source: [127, 0, 0, 1].into(),
            host: "gw.test:8081".to_owned(),
            is_secure: true,
            head: builder.body(()).unwrap().into_parts().0,
            body: Bytes::new(),
        }
    }

    #[test]
    fn only_our_own_pages_send_something() {
        let admitted = |headers: &[(&str, &str)]| admit_sent(&request("POST", headers)).is_ok();
        assert!(admitted(&[]));
        assert!(admitted(&[("origin", "https://gw.test:8081"), ("sec-fetch-site", "same-origin")]));
        for origin in ["http://gw.test:8081", "https://gw.test", "https://gw.test:8081.evil.test", "null", ""]
        {
            assert!(!admitted(&[("origin", origin)]), "{origin}");
        }
        assert!(!admitted(&[("origin", "https://gw.test:8081"), ("origin", "https://evil.test")]));
        for site in ["cross-site", "same-site", "none", "", "Same-Origin"] {
            assert!(!admitted(&[("sec-fetch-site", site), ("sec-fetch-mode", "navigate")]), "{site}");
        }
    }

    #[test]
    fn a_link_may_be_followed_from_anywhere_and_nothing_else() {
        let admitted = |headers: &[(&str, &str)]| admit_looked_at(&request("GET", headers)).is_ok();
        assert!(admitted(&[("sec-fetch-site", "none"), ("sec-fetch-mode", "navigate")]));
        assert!(admitted(&[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")]));
        assert!(admitted(&[("sec-fetch-site", "same-origin"), ("sec-fetch-mode", "cors")]));
        assert!(!admitted(&[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")]));
        assert!(!admitted(&[("sec-fetch-site", "same-site"), ("sec-fetch-mode", "cors")]));
    }
}
