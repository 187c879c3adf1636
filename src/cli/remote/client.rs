//! HTTP/1.1 with one gateway: one connection, one request at a time, and only ever with this one server.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, ETAG, HOST, LOCATION, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use serde_json::Value;
use tokio::runtime::{self, Runtime};
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::connect::{Tls, connect};
use super::credential::Credential;
use super::error::{RemoteError, printable};
use super::origin::Origin;
use super::resources::Unexpected;
use crate::cli::output::eprint_line;
use crate::cli::results::is_in_transition;
use crate::store::ChangeNumber;

const SCHEMAS: HeaderName = HeaderName::from_static("x-api-schemas");
const CHANGE: HeaderName = HeaderName::from_static("x-api-change");
const ACCOUNT_KIND: HeaderName = HeaderName::from_static("x-api-account-kind");

/// The largest answer: a page of 1,000 keys, each with the longest of names and descriptions.
const MAX_ANSWER_BYTES: usize = 16 << 20;
/// Room for any single document.
const INITIAL_ANSWER_BYTES: usize = 64 << 10;
/// How often a request is sent again that the gateway could not do at the time.
const TRIES: u32 = 4;

/// How long a command waits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timeouts {
    /// For a connection, TLS included.
    pub(super) connect: Duration,
    /// For a whole answer.
    pub(super) answer: Duration,
    /// Before it tries again; where the gateway asks for more, the command ends.
    pub(super) pause: Duration,
}

impl Timeouts {
    /// What the commands have.
    pub(super) const DEFAULT: Self = Self {
        connect: Duration::from_secs(10),
        answer: Duration::from_secs(30),
        pause: Duration::from_secs(10),
    };
}

/// A client of one gateway's management API, with one key.
pub(in crate::cli) struct Client {
    runtime: Runtime,
    connection: Option<SendRequest<Full<Bytes>>>,
    origin: Origin,
    tls: Option<Tls>,
    credential: Credential,
    authorization: HeaderValue,
    timeouts: Timeouts,
    /// What the gateway said last of the account whose key this is.
    account_kind: Option<HeaderValue>,
}

/// What a request is made of beside its method and target. It is wiped: there may be a secret in it.
pub(in crate::cli) struct Body(Bytes);

impl Body {
    /// A JSON document.
    pub(in crate::cli) fn json(document: &Value) -> Self {
        Self::of(Zeroizing::new(document.to_string().into_bytes()))
    }

    /// JSON as it was written.
    pub(in crate::cli) fn of(json: Zeroizing<Vec<u8>>) -> Self {
        Self(Bytes::from_owner(json))
    }
}

/// What a gateway has answered, where that is not a refusal.
#[derive(Debug)]
pub(in crate::cli) struct Answer {
    /// The document that it sent.
    pub(in crate::cli) document: Value,
    /// The change that it tells of, or the last one that touched the object.
    pub(in crate::cli) number: Option<ChangeNumber>,
    /// Changed in the record, and not yet confirmed.
    pub(in crate::cli) is_pending: bool,
}

/// A head and a body, bounded and not yet judged.
struct RawAnswer {
    status: StatusCode,
    headers: HeaderMap,
    body: Zeroizing<Vec<u8>>,
}

impl Client {
    /// A client that has not connected yet. `ca_file` stands in for the system's authorities.
    pub(super) fn new(
        origin: Origin,
        credential: Credential,
        ca_file: Option<&Path>,
        timeouts: Timeouts,
    ) -> anyhow::Result<Self> {
        let tls = if origin.is_tls { Some(Tls::new(&origin, ca_file)?) } else { None };
        let authorization = credential.authorization()?;
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let (connection, account_kind) = (None, None);
        Ok(Self { runtime, connection, origin, tls, credential, authorization, timeouts, account_kind })
    }

    /// Whether the last answer said that the key is an admin's.
    pub(in crate::cli) fn is_admin(&self) -> bool {
        self.account_kind.as_ref().is_some_and(|kind| kind == "admin")
    }

    /// Reads a document.
    pub(in crate::cli) fn get(&mut self, target: &str) -> Result<Answer, RemoteError> {
        self.send(&Method::GET, target, None)
    }

    /// Reads a document, if there is one that the key may see.
    pub(in crate::cli) fn find(&mut self, target: &str) -> Result<Option<Answer>, RemoteError> {
        match self.get(target) {
            Ok(answer) => Ok(Some(answer)),
            Err(RemoteError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads a list, page by page: each page's items, and the collection without them.
    pub(in crate::cli) fn pages(
        &mut self,
        target: String,
        mut on_page: impl FnMut(Vec<Value>, Value) -> anyhow::Result<ControlFlow<()>>,
    ) -> anyhow::Result<()> {
        let mut target = target;
        loop {
            let mut collection = self.get(&target)?.document;
            let Some(Value::Array(items)) = collection.get_mut("data").map(Value::take) else {
                return Err(self.unexpected("it is no list").into());
            };
            let next = match collection.pointer("/pagination/next") {
                None | Some(Value::Null) => None,
                Some(Value::String(url)) => Some(
                    self.origin
                        .target_of(url)
                        .filter(|next| *next != target)
                        .ok_or_else(|| self.unexpected("the next page of the list is not on this server"))?,
                ),
                Some(_) => return Err(self.unexpected("pagination.next is no URL").into()),
            };
            match (on_page(items, collection)?, next) {
                (ControlFlow::Continue(()), Some(next)) => target = next,
                _ => return Ok(()),
            }
        }
    }

    /// Sends a request, again where the gateway says that it could not do it at the time.
    pub(in crate::cli) fn send(
        &mut self,
        method: &Method,
        target: &str,
        body: Option<&Body>,
    ) -> Result<Answer, RemoteError> {
        let mut tries = 1;
        loop {
            let answer = self.exchange(method, target, body).and_then(|raw| self.judge(method, raw));
            match &answer {
                Err(RemoteError::Busy { origin, status, after, .. })
                    if tries < TRIES && *after <= self.timeouts.pause =>
                {
                    eprint_line(format_args!(
                        "portcullis: {origin} cannot do it now ({status}): trying again in {after:?}"
                    ));
                    self.runtime.block_on(async { tokio::time::sleep(*after).await });
                    tries += 1;
                }
                _ => return answer,
            }
        }
    }

    /// A document that is not what was asked for.
    pub(in crate::cli) fn unexpected(&self, detail: impl Into<String>) -> RemoteError {
        RemoteError::Unexpected { origin: self.origin.to_string(), detail: detail.into() }
    }

    /// Reads a document as the model's type.
    pub(in crate::cli) fn read<T>(
        &self,
        document: &Value,
        read: impl Fn(&Value) -> Result<T, Unexpected>,
    ) -> Result<T, RemoteError> {
        read(document).map_err(|error| self.unexpected(error.to_string()))
    }

    /// One request and its answer.
    fn exchange(
        &mut self,
        method: &Method,
        target: &str,
        body: Option<&Body>,
    ) -> Result<RawAnswer, RemoteError> {
        let (origin, is_change) = (self.origin.to_string(), *method != Method::GET);
        loop {
            let kept = self.connection.take().filter(|connection| !connection.is_closed());
            let is_kept = kept.is_some();
            let mut connection = match kept {
                Some(connection) => connection,
                None => {
                    self.runtime.block_on(connect(&self.origin, self.tls.as_ref(), self.timeouts.connect))?
                }
            };
            let request = self.request(method, target, body)?;
            let limit = self.timeouts.answer;
            let exchanged = self.runtime.block_on(async {
                let exchange = async {
                    let answer = connection.send_request(request).await.map_err(Failure::Http)?;
                    read(answer).await
                };
                timeout(limit, exchange).await
            });
            let failure = match exchanged {
                Err(_) => return Err(RemoteError::Slow { origin, limit, is_change }),
                Ok(Ok(raw)) => {
                    self.connection = Some(connection);
                    return Ok(raw);
                }
                Ok(Err(failure)) => failure,
            };
            match failure {
                // the gateway has closed a connection that it had kept, before it saw this request
                Failure::Http(error)
                    if is_kept && (error.is_canceled() || (!is_change && error.is_incomplete_message())) => {}
                Failure::Http(error) if error.is_parse() => {
                    return Err(RemoteError::NotHttp { origin, detail: error.to_string() });
                }
                Failure::Http(error) => {
                    let detail = error.to_string();
                    return Err(RemoteError::Broken { origin, detail, is_change });
                }
                Failure::TooLarge => {
                    return Err(RemoteError::TooLarge { origin, limit: MAX_ANSWER_BYTES, is_change });
                }
            }
        }
    }

    fn request(
        &self,
        method: &Method,
        target: &str,
        body: Option<&Body>,
    ) -> Result<Request<Full<Bytes>>, RemoteError> {
        let mut builder = Request::builder()
            .method(method)
            .uri(target)
            .header(HOST, &self.origin.authority)
            .header(AUTHORIZATION, &self.authorization)
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, concat!("portcullis/", env!("CARGO_PKG_VERSION")));
        if body.is_some() {
            builder = builder.header(CONTENT_TYPE, "application/json");
        }
        let body = body.map(|body| body.0.clone()).unwrap_or_default();
        builder.body(Full::new(body)).map_err(|error| self.unexpected(error.to_string()))
    }

    /// An answer as a document, or why there is none.
    fn judge(&mut self, method: &Method, raw: RawAnswer) -> Result<Answer, RemoteError> {
        let RawAnswer { status, headers, body } = raw;
        let origin = || self.origin.to_string();
        if status.is_redirection() {
            let to = headers.get(LOCATION).and_then(|value| value.to_str().ok());
            let to = to.map(|to| format!(" to {}", self.shown(to))).unwrap_or_default();
            return Err(RemoteError::Redirect { origin: origin(), status: status.as_u16(), to });
        }
        let not_api = || RemoteError::NotApi { origin: origin(), status: status.as_u16() };
        // what a gateway answers to plain HTTP where it expects TLS
        let is_tls_expected = !self.origin.is_tls
            && status == StatusCode::BAD_REQUEST
            && str::from_utf8(&body).is_ok_and(|text| text.contains("https://"));
        if is_tls_expected {
            return Err(RemoteError::TlsExpected { origin: origin() });
        }
        let document: Value = serde_json::from_slice(&body).map_err(|_| not_api())?;
        let kind = document.get("type").and_then(Value::as_str).ok_or_else(not_api)?;
        let is_done = matches!(status, StatusCode::OK | StatusCode::CREATED | StatusCode::ACCEPTED);
        match (kind == "error", is_done) {
            (false, true) => {}
            (true, false) => return Err(self.refusal(method, status, &headers, &document)),
            _ => return Err(not_api()),
        }
        let number = [&CHANGE, &ETAG].into_iter().find_map(|name| headers.get(name)?.to_str().ok());
        let number = number.and_then(|number| number.trim_matches('"').parse().ok()).map(ChangeNumber);
        let is_pending = status == StatusCode::ACCEPTED || is_in_transition(&document);
        self.account_kind = headers.get(ACCOUNT_KIND).cloned();
        Ok(Answer { document, number, is_pending })
    }

    /// A refusal as the gateway has put it.
    fn refusal(
        &self,
        method: &Method,
        status: StatusCode,
        headers: &HeaderMap,
        document: &Value,
    ) -> RemoteError {
        let text = |field: &str| document.get(field).and_then(Value::as_str);
        // every answer of the management API has this field; the gateway's refusals at its other port have the same
        // documents without it
        let is_answer_of_a_proxy = !headers.contains_key(SCHEMAS)
            && matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND);
        if is_answer_of_a_proxy {
            return RemoteError::NotApi { origin: self.origin.to_string(), status: status.as_u16() };
        }
        let detail = text("detail").map(|detail| self.shown(detail));
        let (origin, code) = (self.origin.to_string(), text("code").unwrap_or_default());
        let after: Option<u64> = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        match (status, code) {
            (StatusCode::UNAUTHORIZED, _) => {
                RemoteError::Unauthorized { origin, key: self.credential.source().to_string() }
            }
            (StatusCode::FORBIDDEN, _) => RemoteError::Forbidden { detail },
            (StatusCode::NOT_FOUND, _) => RemoteError::NotFound { detail },
            (StatusCode::METHOD_NOT_ALLOWED, _) if method == Method::DELETE && detail.is_some() => {
                RemoteError::WrongState { status: status.as_u16(), detail }
            }
            (StatusCode::METHOD_NOT_ALLOWED, _) => RemoteError::NotAllowed { detail },
            (StatusCode::PRECONDITION_FAILED, _) => RemoteError::Changed { detail },
            (StatusCode::UNPROCESSABLE_ENTITY, "ActionNotAvailable") => {
                RemoteError::WrongState { status: status.as_u16(), detail }
            }
            (StatusCode::UNPROCESSABLE_ENTITY, _) if text("fieldName") == Some("confirm") => {
                RemoteError::Unconfirmed
            }
            // without a time to come back at, a change may have been made, and done again it would be made twice
            (StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE, _)
                if let Some(after) = after =>
            {
                let after = Duration::from_secs(after);
                RemoteError::Busy { origin, status: status.as_u16(), after, detail }
            }
            _ => RemoteError::Refused { status: status.as_u16(), code: self.shown(code), detail },
        }
    }

    /// A text of the server's as it can be shown, without the secret.
    fn shown(&self, text: &str) -> String {
        printable(&self.credential.redact(text))
    }
}

enum Failure {
    Http(hyper::Error),
    TooLarge,
}

/// Reads an answer whole.
async fn read(answer: http::Response<Incoming>) -> Result<RawAnswer, Failure> {
    let (head, mut incoming) = answer.into_parts();
    // a buffer that grows leaves copies behind
    let mut body = Zeroizing::new(Vec::with_capacity(INITIAL_ANSWER_BYTES));
    while let Some(frame) = incoming.frame().await {
        let Ok(data) = frame.map_err(Failure::Http)?.into_data() else { continue };
        if body.len() + data.len() > MAX_ANSWER_BYTES {
            return Err(Failure::TooLarge);
        }
        body.extend_from_slice(&data);
    }
    Ok(RawAnswer { status: head.status, headers: head.headers, body })
}

#[cfg(test)]
mod tests;
