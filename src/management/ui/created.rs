//! The page of a new key, with the secret that is shown this once.

use askama::Template;
use http::{Method, StatusCode};

use super::super::answer::Answer;
use super::super::refusal::Refusal;
use super::keys::{list_of, shown};
use super::page::{Frame, Section, render};
use super::visit::Visit;
use crate::auth::Secret;
use crate::model::{ApiKey, KeyId};

#[derive(Template)]
#[template(path = "created.html")]
struct CreatedPage {
    frame: Frame,
    name: String,
    key: ApiKey,
    /// `None`: it was shown already, or nobody came for it in time.
    secret: Option<Secret>,
    /// Where the key can be used.
    endpoint: Option<String>,
    close: String,
}

impl CreatedPage {
    fn secret_text(&self) -> &str {
        self.secret.as_ref().map(Secret::as_str).unwrap_or_default()
    }
}

/// `/keys/{id}/created`
pub(super) async fn show(visit: &Visit<'_>, id: &str) -> Result<Answer, Refusal> {
    let id: KeyId = id.parse().map_err(|_| Refusal::NotFound)?;
    let key = visit.operations().key(&visit.caller, id).await?.key;
    // nobody reads the answer to a HEAD, and a page elsewhere that leads here may not use the one time up
    let is_read = visit.request.head.method == Method::GET
        && matches!(visit.request.header("sec-fetch-site"), None | Some("same-origin"));
    let secret = if is_read { visit.session.flash.take_secret(id, std::time::Instant::now()) } else { None };
    let page = CreatedPage {
        frame: visit.frame("API Key Created", Section::Keys),
        name: shown(&key).to_owned(),
        secret,
        endpoint: visit.management.settings().endpoints(&key.owner, &visit.request.host).into_iter().next(),
        close: visit.origin(&list_of(visit, &key.owner)),
        key,
    };
    Ok(render(StatusCode::OK, &page))
}
