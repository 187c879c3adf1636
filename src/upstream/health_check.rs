//! One health check: a GET over a connection of its own.

use std::error::Error as _;
use std::pin::pin;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;

use super::connect::{ConnectError, connect};
use super::observed_addresses::ObservedAddress;
use super::prepared_upstream::Upstream;
use crate::config::{HealthCheck, Protocol};
use crate::wire::ReadLimit;

/// The most that is read for one check: an answer's head, and the beginning of its body.
const MAX_READ_BYTES: usize = 64 << 10;

/// Why an endpoint does not count as well.
#[derive(Debug, thiserror::Error)]
pub(super) enum CheckError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("no answer within {0:?}")]
    Timeout(std::time::Duration),
    #[error("no answer: {}", .0.source().map_or_else(|| .0.to_string(), ToString::to_string))]
    Http1(#[from] hyper::Error),
    #[error("no answer: {0}")]
    Http2(#[from] h2::Error),
    #[error("status {0}")]
    Status(StatusCode),
    #[error("the request cannot be made: {0}")]
    Request(#[from] http::Error),
}

/// Asks an endpoint whether it is well.
pub(super) async fn check_health(
    upstream: &Upstream,
    at: &ObservedAddress,
    check: &HealthCheck,
) -> Result<(), CheckError> {
    let status = tokio::time::timeout(check.timeout, ask(upstream, at, check)).await;
    let status = status.map_err(|_| CheckError::Timeout(check.timeout))??;
    // a redirection is an answer of something that works
    if status.is_success() || status.is_redirection() { Ok(()) } else { Err(CheckError::Status(status)) }
}

async fn ask(
    upstream: &Upstream,
    at: &ObservedAddress,
    check: &HealthCheck,
) -> Result<StatusCode, CheckError> {
    let endpoint = &upstream.endpoints[at.endpoint];
    let socket = connect(endpoint, at.address, upstream.protocol, check.timeout).await?;
    let host = upstream.host.as_deref().unwrap_or(&endpoint.authority);
    let mut request = Request::get(&check.path).header("user-agent", "portcullis-health");
    if let Some(credential) = &upstream.credential {
        let mut value = http::HeaderValue::from_str(credential).map_err(http::Error::from)?;
        value.set_sensitive(true);
        request = request.header("authorization", value);
    }
    let socket = ReadLimit::new(MAX_READ_BYTES).apply(socket);
    match upstream.protocol {
        Protocol::Http1 => {
            let request =
                request.header("host", host).header("connection", "close").body(Empty::<Bytes>::new())?;
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(socket)).await?;
            answer_of(sender.send_request(request), connection).await
        }
        Protocol::Http2 => {
            let scheme = if endpoint.tls.is_some() { "https" } else { "http" };
            let uri = format!("{scheme}://{host}{}", check.path);
            let request = request.uri(uri).body(())?;
            // not hyper, which has a task of its own drive the connection, past the end of the check
            let (mut sender, connection) = h2::client::handshake(socket).await?;
            let (answer, _) = sender.send_request(request, true)?;
            answer_of(answer, connection).await
        }
    }
}

/// The status of the answer, while the connection is driven. That may end in the moment in which the answer is there.
async fn answer_of<B, E>(
    answer: impl Future<Output = Result<Response<B>, E>>,
    connection: impl Future<Output = Result<(), E>>,
) -> Result<StatusCode, CheckError>
where
    CheckError: From<E>,
{
    let mut answer = pin!(answer);
    let answer = tokio::select! {
        answer = &mut answer => answer,
        ended = connection => match (answer.await, ended) {
            // it says why there is no answer
            (Err(_), Err(error)) => Err(error),
            (answer, _) => answer,
        },
    };
    Ok(answer?.status())
}
