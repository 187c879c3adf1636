//! Style, script and icon. Their names hold a digest of their content, so browsers may keep them for ever.

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use http::header::CACHE_CONTROL;
use http::{HeaderValue, StatusCode};

use super::super::answer::{Answer, with_body};

/// A file that every page links.
pub(super) struct StaticFile {
    /// Where it is found.
    pub(super) path: String,
    content_type: &'static str,
    content: &'static [u8],
}

/// The style sheet.
pub(super) static STYLE: LazyLock<StaticFile> = LazyLock::new(|| {
    StaticFile::new("page", "css", "text/css; charset=utf-8", include_bytes!("static/page.css"))
});

/// The script.
pub(super) static SCRIPT: LazyLock<StaticFile> = LazyLock::new(|| {
    StaticFile::new("page", "js", "text/javascript; charset=utf-8", include_bytes!("static/page.js"))
});

/// The icon.
pub(super) static ICON: LazyLock<StaticFile> = LazyLock::new(|| {
    StaticFile::new("portcullis", "svg", "image/svg+xml", include_bytes!("static/portcullis.svg"))
});

impl StaticFile {
    fn new(name: &str, end: &str, content_type: &'static str, content: &'static [u8]) -> Self {
        let digest = digest(&SHA256, content);
        let hash = digest.as_ref().first_chunk().map_or(0, |first| u64::from_be_bytes(*first));
        Self { path: format!("/static/{name}.{hash:016x}.{end}"), content_type, content }
    }
}

/// The file at a path, if there is one.
pub(super) fn answer(path: &str) -> Option<Answer> {
    let file = [&*STYLE, &*SCRIPT, &*ICON].into_iter().find(|file| file.path == path)?;
    let mut answer = with_body(StatusCode::OK, file.content_type, file.content);
    let forever = HeaderValue::from_static("public, max-age=31536000, immutable");
    answer.headers_mut().insert(CACHE_CONTROL, forever);
    Some(answer)
}
