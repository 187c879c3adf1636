//! Posts messages to a collector: HTTP/1.1 on a kept connection, over TLS if its URL says so.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, TlsStream};

use crate::config::{OtlpUrl, trusted_roots};
use crate::wire::Socket;

/// How long a collector may take to answer, with the connection.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// The most that is read of an answer.
const MAX_ANSWER_BYTES: usize = 64 << 10;

/// A client of one collector.
pub(super) struct OtlpClient {
    url: OtlpUrl,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    connection: Option<SendRequest<Full<Bytes>>>,
}

/// What a collector has answered.
pub(super) struct OtlpAnswer {
    pub(super) status: StatusCode,
    /// How long it asks to wait.
    pub(super) retry_after: Option<Duration>,
    pub(super) body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum OtlpError {
    #[error("cannot connect: {0}")]
    Connect(#[from] std::io::Error),
    #[error("no answer: {0}")]
    Http(#[from] hyper::Error),
    #[error("no answer within {ANSWER_TIMEOUT:?}")]
    Timeout,
}

impl OtlpClient {
    /// A client that has not connected yet; the error says why the system's root certificates cannot be used.
    pub(super) fn new(url: &OtlpUrl) -> Result<Self, String> {
        let tls = if url.endpoint.tls {
            let mut config =
                ClientConfig::builder().with_root_certificates(trusted_roots(None)?).with_no_client_auth();
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            let name = ServerName::try_from(url.endpoint.host.clone()).map_err(|error| error.to_string())?;
            Some((TlsConnector::from(Arc::new(config)), name))
        } else {
            None
        };
        Ok(Self { url: url.clone(), tls, connection: None })
    }

    /// Sends a message, and reads what is answered.
    pub(super) async fn post(&mut self, message: Bytes) -> Result<OtlpAnswer, OtlpError> {
        match tokio::time::timeout(ANSWER_TIMEOUT, self.exchange(message)).await {
            Ok(answered) => answered,
            Err(_) => Err(OtlpError::Timeout),
        }
    }

    async fn exchange(&mut self, message: Bytes) -> Result<OtlpAnswer, OtlpError> {
        let kept = self.connection.take().filter(|connection| !connection.is_closed());
        let is_kept = kept.is_some();
        let mut connection = match kept {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let answer = match connection.send_request(self.request(message.clone())).await {
            // a kept connection may have been closed in this moment
            Err(_) if is_kept => {
                connection = self.connect().await?;
                connection.send_request(self.request(message)).await?
            }
            answer => answer?,
        };
        let (status, retry_after) = (answer.status(), answer.headers().get(RETRY_AFTER));
        let retry_after = retry_after.and_then(|value| value.to_str().ok()?.parse().ok());
        let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect().await;
        // what cannot be read says nothing, and cannot be followed by another answer
        let body = body.map(|body| {
            self.connection = Some(connection);
            body.to_bytes()
        });
        Ok(OtlpAnswer {
            status,
            retry_after: retry_after.map(Duration::from_secs),
            body: body.unwrap_or_default(),
        })
    }

    fn request(&self, message: Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(message));
        *request.method_mut() = http::Method::POST;
        let text = |text: &str| http::HeaderValue::from_str(text).ok();
        let authority = self.url.endpoint.authority();
        let fields = [
            (HOST, text(&authority)),
            (CONTENT_TYPE, text("application/x-protobuf")),
            (USER_AGENT, text(concat!("portcullis/", env!("CARGO_PKG_VERSION")))),
        ];
        for (name, value) in fields {
            if let Some(value) = value {
                request.headers_mut().insert(name, value);
            }
        }
        // it was parsed when the configuration was read
        if let Ok(uri) = self.url.path.parse() {
            *request.uri_mut() = uri;
        }
        request
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, OtlpError> {
        let endpoint = &self.url.endpoint;
        let tcp = TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await?;
        tcp.set_nodelay(true)?;
        let socket = match &self.tls {
            None => Socket::Plain(tcp.into()),
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), tcp.into()).await?;
                Socket::Tls(Box::new(TlsStream::Client(stream)))
            }
        };
        let (sender, connection) = http1::handshake(TokioIo::new(socket)).await?;
        // how it ends is told by the request that it carries
        tokio::spawn(connection);
        Ok(sender)
    }
}
