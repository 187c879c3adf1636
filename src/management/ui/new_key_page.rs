//! The page of a new key, with the secret that is shown this once.

use askama::Template;
use http::{Method, StatusCode};

use super::super::answer::Answer;
use super::super::refusal::Refusal;
use super::endpoints::Endpoints;
use super::key_display::{key_label, key_list_path};
use super::page::{Layout, Section, render};
use super::relative_time::full;
use super::signed_in_request::SignedInRequest;
use crate::auth::Secret;
use crate::config::lifetime_text;
use crate::model::{ApiKey, KeyId};

#[derive(Template)]
#[template(path = "new_key.html")]
struct NewKeyPage {
    layout: Layout,
    name: String,
    key: ApiKey,
    /// `None`: it was shown already, or nobody came for it in time.
    secret: Option<Secret>,
    /// The key has existed before, and was given another secret.
    is_rotated: bool,
    /// How long the secret before is valid.
    former: Option<String>,
    /// Where the key can be used.
    endpoint: Option<String>,
    /// What to do where it can be used nowhere.
    unreachable: Option<&'static str>,
    close: String,
}

impl NewKeyPage {
    fn secret_text(&self) -> &str {
        self.secret.as_ref().map(Secret::as_str).unwrap_or_default()
    }
}

/// `/keys/{id}/created`
pub(super) async fn show(request: &SignedInRequest<'_>, id: &str) -> Result<Answer, Refusal> {
    let id: KeyId = id.parse().map_err(|_| Refusal::NotFound)?;
    let key = request.operations().key(&request.caller, id).await?.key;
    // before the secret is taken: a page that fails would lose it
    let endpoints = Endpoints::of(request, &key.owner).await?;
    // nobody reads the answer to a HEAD, and a page elsewhere that leads here may not use the one time up
    let is_read = request.http.head.method == Method::GET
        && matches!(request.http.header("sec-fetch-site"), None | Some("same-origin"));
    let secret =
        if is_read { request.session.flash.take_secret(id, std::time::Instant::now()) } else { None };
    let page = NewKeyPage {
        layout: request.layout("API key created", Section::Keys),
        name: key_label(&key).to_owned(),
        secret,
        is_rotated: key.secret_since > key.created,
        former: key.former_at(request.operations().now()).map(|former| match former.until_unused {
            None => format!("The former secret key works until {}.", full(former.ends)),
            Some(idle) => format!(
                "The former secret key works until nobody has used it for {}, at the latest until {}.",
                lifetime_text(idle),
                full(former.ends)
            ),
        }),
        endpoint: endpoints.urls.into_iter().next(),
        unreachable: endpoints.missing,
        close: request.return_path(&key_list_path(request, &key.owner)),
        key,
    };
    Ok(render(StatusCode::OK, &page))
}
