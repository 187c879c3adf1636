//! Posts messages to a collector: HTTP/1.1 on a kept connection, over TLS if its URL says so.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, TlsStream};
use tokio_util::task::AbortOnDropHandle;

use crate::config::{OtlpUrl, trusted_roots};
use crate::wire::{ReadLimit, Socket};

/// How long a collector may take to answer, with the connection.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// The most that is read of an answer.
const MAX_ANSWER_BYTES: usize = 64 << 10;

/// A client of one collector.
pub(super) struct OtlpClient {
    url: OtlpUrl,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    connection: Option<Connection>,
}

/// A connection, open as long as this exists.
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    limit: ReadLimit,
    _task: AbortOnDropHandle<hyper::Result<()>>,
}

impl Connection {
    async fn send(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<Response<Incoming>> {
        self.limit.renew();
        self.sender.send_request(request).await
    }
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
    #[error("no answer: {}", .0.source().map_or_else(|| .0.to_string(), ToString::to_string))]
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
        let kept = self.connection.take().filter(|connection| !connection.sender.is_closed());
        let is_kept = kept.is_some();
        let mut connection = match kept {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let answer = match connection.send(self.request(message.clone())).await {
            // a kept connection may have been closed in this moment
            Err(_) if is_kept => {
                connection = self.connect().await?;
                connection.send(self.request(message)).await?
            }
            answer => answer?,
        };
        let (status, retry_after) = (answer.status(), answer.headers().get(RETRY_AFTER));
        let retry_after = retry_after.and_then(|value| value.to_str().ok()?.parse().ok());
        let body = answer.into_body().collect().await;
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

    async fn connect(&self) -> Result<Connection, OtlpError> {
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
        let limit = ReadLimit::new(MAX_ANSWER_BYTES);
        let (sender, connection) = http1::handshake(TokioIo::new(limit.apply(socket))).await?;
        // how it ends is told by the request that it carries
        let task = AbortOnDropHandle::new(tokio::spawn(connection));
        Ok(Connection { sender, limit, _task: task })
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::time::Instant;

    use rustls::pki_types::PrivateKeyDer;
    use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
    use tokio::runtime::{Builder, Handle, Runtime};

    use super::*;
    use crate::config::EndpointUrl;

    fn runtime() -> Runtime {
        Builder::new_current_thread().enable_all().build().expect("a runtime")
    }

    /// A client of a collector that serves one connection like this, and is trusted by this certificate.
    fn client(
        certificate: Option<&rcgen::Certificate>,
        serve: impl FnOnce(std::net::TcpStream) + Send + 'static,
    ) -> OtlpClient {
        let collector = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = collector.local_addr().expect("a bound socket").port();
        std::thread::spawn(move || serve(collector.accept().expect("a connection").0));
        let endpoint = EndpointUrl { tls: certificate.is_some(), host: "localhost".to_owned(), port };
        let tls = certificate.map(|certificate| {
            let mut roots = RootCertStore::empty();
            roots.add(certificate.der().clone()).expect("a root");
            let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
            (TlsConnector::from(Arc::new(config)), ServerName::try_from("localhost").expect("a name"))
        });
        OtlpClient { url: OtlpUrl { endpoint, path: "/v1/traces".to_owned() }, tls, connection: None }
    }

    #[test]
    fn a_collector_that_sends_without_an_end_has_not_answered() {
        let mut client = client(None, |mut stream| {
            stream.read_exact(&mut [0]).expect("a request");
            while stream.write_all(&b"HTTP/1.1 103 Early Hints\r\n\r\n".repeat(3_000)).is_ok() {}
        });
        let begun = Instant::now();
        let error = runtime().block_on(client.post(Bytes::from_static(b"spans"))).err().expect("no answer");
        assert_eq!(error.to_string(), "no answer: more than 65536 bytes came");
        assert!(begun.elapsed() < ANSWER_TIMEOUT / 2, "after {:?}", begun.elapsed());
    }

    #[test]
    fn a_kept_connection_takes_any_number_of_answers() {
        let mut client = client(None, |mut stream| {
            let answer =
                [b"HTTP/1.1 200 OK\r\nContent-Length: 40000\r\n\r\n".to_vec(), b"x".repeat(40_000)].concat();
            while stream.read(&mut [0; 1_024]).is_ok_and(|count| count > 0) {
                stream.write_all(&answer).expect("an open connection");
            }
        });
        runtime().block_on(async {
            for _ in 0..4 {
                let answer = client.post(Bytes::from_static(b"spans")).await.expect("an answer");
                assert_eq!((answer.status, answer.body.len()), (StatusCode::OK, 40_000));
            }
        });
    }

    #[test]
    fn a_collector_that_reads_nothing_keeps_no_connection() {
        let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let key = PrivateKeyDer::try_from(signed.signing_key.serialize_der()).expect("a key");
        let config = ServerConfig::builder().with_no_client_auth();
        let config = config.with_single_cert(vec![signed.cert.der().clone()], key).expect("a certificate");
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let mut client = client(Some(&signed.cert), move |stream| {
            let session = ServerConnection::new(Arc::new(config)).expect("a session");
            let mut stream = StreamOwned::new(session, stream);
            stream.read_exact(&mut [0]).expect("a request");
            // it stays open until the test ends
            stopped.recv().ok();
        });
        runtime().block_on(async {
            let message = Bytes::from(vec![0; 64 << 20]);
            let sent = tokio::time::timeout(Duration::from_millis(500), client.exchange(message)).await;
            assert!(sent.is_err(), "an answer");
            let deadline = Instant::now() + Duration::from_secs(5);
            while Handle::current().metrics().num_alive_tasks() > 0 {
                assert!(Instant::now() < deadline, "the connection is still there");
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
        drop(stop);
    }
}
