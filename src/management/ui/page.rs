//! What all pages have in common: the layout round the content, and the headers that keep others out.

use std::fmt;
use std::sync::Arc;

use askama::Template;
use askama::filters::HtmlSafe;
use http::StatusCode;
use http::header::{CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY, X_FRAME_OPTIONS};
use zeroize::Zeroizing;

use super::super::answer::{Answer, with_body};
use super::super::flash::{Notice, NoticeKind};
use super::static_files::{ICON, SCRIPT, STYLE};

const HTML: &str = "text/html; charset=utf-8";
/// Room for a page, so that rendering one with a secret leaves no copies behind as it grows.
const PAGE_BYTES: usize = 64 << 10;

/// Nothing from elsewhere, nothing inline, no frames; forms are sent here only.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; \
                      connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Which part of the page is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    Overview,
    Keys,
    Environments,
    Accounts,
    Audit,
}

/// Who has signed in.
#[derive(Debug, Clone)]
pub(super) struct SignedInAccount {
    /// The account's name.
    pub(super) name: String,
    /// Its id.
    pub(super) id: String,
    /// Whether it is an admin's.
    pub(super) is_admin: bool,
}

/// What the layout shows.
pub(super) struct Layout {
    /// The page's title.
    pub(super) title: String,
    /// Which entry of the navigation is the current one.
    pub(super) section: Option<Section>,
    /// `None`: nobody has signed in.
    pub(super) account: Option<SignedInAccount>,
    /// What the search box holds.
    pub(super) search: String,
    /// What every form carries.
    pub(super) csrf_token: Arc<str>,
    /// What the page before has left.
    pub(super) notice: Option<Notice>,
    /// How old what is shown is, in seconds, where the record cannot be followed.
    pub(super) age: Option<u64>,
}

#[allow(clippy::unused_self, reason = "templates ask the value that they are given")]
impl Layout {
    /// The layout for somebody who has not signed in.
    pub(super) fn signed_out(title: &str) -> Self {
        Self {
            title: title.to_owned(),
            section: None,
            account: None,
            search: String::new(),
            csrf_token: Arc::from(""),
            notice: None,
            age: None,
        }
    }

    pub(super) fn style(&self) -> &'static str {
        &STYLE.path
    }

    pub(super) fn script(&self) -> &'static str {
        &SCRIPT.path
    }

    pub(super) fn icon(&self) -> &'static str {
        &ICON.path
    }

    /// The entries of the navigation: path, word, whether it is the current one.
    pub(super) fn entries(&self) -> Vec<(&'static str, &'static str, bool)> {
        let all = [
            ("/", "Overview", Section::Overview, true),
            ("/keys", "API keys", Section::Keys, false),
            ("/environments", "Environments", Section::Environments, false),
            ("/accounts", "Accounts", Section::Accounts, true),
            ("/audit", "Audit log", Section::Audit, true),
        ];
        let Some(account) = &self.account else { return Vec::new() };
        all.into_iter()
            .filter(|(.., for_admins)| account.is_admin || !for_admins)
            .map(|(path, word, section, _)| (path, word, self.section == Some(section)))
            .collect()
    }
}

impl NoticeKind {
    /// The word in the style sheet.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Pending => "pending",
            Self::Problem => "problem",
        }
    }
}

/// A part of a page that is rendered already.
pub(super) struct Rendered(pub(super) String);

impl HtmlSafe for Rendered {}

impl Rendered {
    /// A component.
    pub(super) fn of(component: &(impl Template + HtmlSafe)) -> Self {
        // writing to memory does not fail
        Self(component.render().unwrap_or_default())
    }
}

impl fmt::Display for Rendered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Answers with a page.
pub(super) fn render(status: StatusCode, template: &impl Template) -> Answer {
    let mut text = Zeroizing::new(String::with_capacity(PAGE_BYTES));
    if let Err(error) = template.render_into(&mut *text) {
        tracing::error!(%error, "a page cannot be rendered");
        return with_body(
            StatusCode::INTERNAL_SERVER_ERROR,
            "text/plain; charset=utf-8",
            "The page cannot be shown.\n",
        );
    }
    // wiped when the answer has gone out: it may hold a secret
    with_body(status, HTML, bytes::Bytes::from_owner(Wiped(text)))
}

struct Wiped(Zeroizing<String>);

impl AsRef<[u8]> for Wiped {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// Sets the headers of every answer of the page.
pub(super) fn protect(answer: &mut Answer) {
    const OPENER: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
    const RESOURCE: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
    let headers = answer.headers_mut();
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_FRAME_OPTIONS, "DENY"),
        // with `no-referrer` browsers would send `Origin: null` with our own forms
        (REFERRER_POLICY, "same-origin"),
        (OPENER, "same-origin"),
        (RESOURCE, "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}
