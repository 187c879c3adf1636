//! What a form sends, and whether it may have come from a page of ours.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use http::Method;
use zeroize::Zeroizing;

use super::super::refusal::Refusal;
use super::super::request::Request;
use super::super::session::Session;
use crate::model::{Description, Name, TextError};

/// The fields of a form, wiped when dropped: one of them may be a secret.
pub(super) struct Form(Vec<(String, Zeroizing<String>)>);

impl Form {
    /// Reads a body of `application/x-www-form-urlencoded`. Anything is such a body, if an odd one.
    pub(super) fn read(body: &[u8]) -> Self {
        let fields = form_urlencoded::parse(body);
        Self(fields.map(|(name, value)| (name.into_owned(), Zeroizing::new(value.into_owned()))).collect())
    }

    /// The value of a field; empty where it is absent or given twice.
    pub(super) fn value(&self, name: &str) -> &str {
        let mut values = self.0.iter().filter(|(found, _)| found == name);
        match (values.next(), values.next()) {
            (Some((_, value)), None) => value,
            _ => "",
        }
    }

    /// A text as it was typed: browsers end its lines with CR LF.
    pub(super) fn lines(&self, name: &str) -> String {
        self.value(name).replace("\r\n", "\n")
    }

    /// The name, if it can be one.
    pub(super) fn name(&self) -> Result<Option<Name>, TextError> {
        Name::parse(self.value("name"))
    }

    /// The description, if it can be one.
    pub(super) fn description(&self) -> Result<Option<Description>, TextError> {
        Description::parse(&self.lines("description"))
    }

    /// Refuses a form that does not carry the session's token: another site's page cannot know it.
    pub(super) fn admit_token(&self, session: &Session) -> Result<(), Refusal> {
        let given = self.value("form_token").as_bytes();
        verify_slices_are_equal(given, session.form_token.as_bytes()).map_err(|_| {
            forged("The form does not belong to this session. Open the page again, and repeat what you did.")
        })
    }
}

/// Refuses what another site's page has sent, as far as the browser tells: `Origin`, and `Sec-Fetch-Site` of
/// [Fetch Metadata](https://www.w3.org/TR/fetch-metadata/). Following a link to a page is no harm; a page that is
/// fetched or embedded is.
pub(super) fn admit_origin(request: &Request) -> Result<(), Refusal> {
    let headers = &request.head.headers;
    let is_sent = request.head.method == Method::POST;
    let site = headers.contains_key("sec-fetch-site").then(|| request.field("sec-fetch-site"));
    let is_own = match site {
        None | Some(Some("same-origin")) => true,
        // typed, or from a bookmark
        Some(Some("none")) => !is_sent,
        Some(_) => !is_sent && request.field("sec-fetch-mode") == Some("navigate"),
    };
    let origin = headers.contains_key("origin").then(|| request.field("origin"));
    let is_ours = origin.is_none_or(|origin| origin == Some(request.base().as_str()));
    if is_own && is_ours {
        return Ok(());
    }
    Err(forged("The request comes from another site's page, as your browser says. Nothing was done."))
}

fn forged(detail: &str) -> Refusal {
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
    fn only_our_own_pages_send_forms() {
        let admitted = |headers: &[(&str, &str)]| admit_origin(&request("POST", headers)).is_ok();
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
        let admitted = |headers: &[(&str, &str)]| admit_origin(&request("GET", headers)).is_ok();
        assert!(admitted(&[("sec-fetch-site", "none"), ("sec-fetch-mode", "navigate")]));
        assert!(admitted(&[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")]));
        assert!(admitted(&[("sec-fetch-site", "same-origin"), ("sec-fetch-mode", "cors")]));
        assert!(!admitted(&[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")]));
        assert!(!admitted(&[("sec-fetch-site", "same-site"), ("sec-fetch-mode", "cors")]));
    }

    #[test]
    fn a_field_given_twice_is_none() {
        let form = Form::read(b"a=1&b=2&a=3&c=x%0D%0Ay");
        assert_eq!((form.value("a"), form.value("b"), form.value("d")), ("", "2", ""));
        assert_eq!(form.lines("c"), "x\ny");
    }
}
