//! One health check: a GET over a connection of its own.

use std::pin::pin;

use bytes::Bytes;
use http::{Request, Response, StatusCode, Version};
use http_body_util::Empty;
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::connect::{ConnectError, connect};
use super::observed_addresses::ObservedAddress;
use super::prepared_upstream::Upstream;
use crate::config::{HealthCheck, Protocol};

/// Why an endpoint does not count as well.
#[derive(Debug, thiserror::Error)]
pub(super) enum CheckError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("no answer within {0:?}")]
    Timeout(std::time::Duration),
    #[error("no answer: {0}")]
    Http(#[from] hyper::Error),
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
    let io = TokioIo::new(socket);
    match upstream.protocol {
        Protocol::Http1 => {
            let request =
                request.header("host", host).header("connection", "close").body(Empty::<Bytes>::new())?;
            let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
            answer_of(sender.send_request(request), connection).await
        }
        Protocol::Http2 => {
            let scheme = if endpoint.tls.is_some() { "https" } else { "http" };
            let uri = format!("{scheme}://{host}{}", check.path);
            let request = request.uri(uri).version(Version::HTTP_2).body(Empty::<Bytes>::new())?;
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await?;
            answer_of(sender.send_request(request), connection).await
        }
    }
}

/// The status of the answer, while the connection is driven. That may end in the moment in which the answer is there.
async fn answer_of<B>(
    answer: impl Future<Output = hyper::Result<Response<B>>>,
    connection: impl Future<Output = hyper::Result<()>>,
) -> Result<StatusCode, CheckError> {
    let mut answer = pin!(answer);
    let answer = tokio::select! {
        answer = &mut answer => answer,
        ended = connection => match ended {
            Ok(()) => answer.await,
            Err(error) => Err(error),
        },
    };
    Ok(answer?.status())
}
