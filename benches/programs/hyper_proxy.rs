//! What hyper costs: a proxy of hyper's server, hyper's client and a list of kept connections, without any feature.
//! `hyper_proxy ADDRESS TLS_ADDRESS UPSTREAM CERTIFICATE KEY`: HTTP/1.1 on one port, TLS with HTTP/2 or HTTP/1.1 on the
//! other.
//!
//! One thread, as every program that `benches/compare` measures.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use anyhow::Context as _;
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::CONNECTION;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [plain, secure, upstream, certificate, key] = &arguments[..] else {
        anyhow::bail!("usage: hyper_proxy ADDRESS TLS_ADDRESS UPSTREAM CERTIFICATE KEY")
    };
    let tls = acceptor(certificate, key)?;
    let pool = Rc::new(Pool { upstream: upstream.parse()?, idle: RefCell::default() });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(tokio::task::LocalSet::new().run_until(async {
        let plain = listen(plain.parse()?, None, Rc::clone(&pool));
        let secure = listen(secure.parse()?, Some(tls), pool);
        tokio::try_join!(plain, secure)?;
        Ok(())
    }))
}

async fn listen(address: SocketAddr, tls: Option<TlsAcceptor>, pool: Rc<Pool>) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (pool, tls) = (Rc::clone(&pool), tls.clone());
        // who goes away in the middle ends this connection, and nothing else
        tokio::task::spawn_local(async move { connection(stream, tls, pool).await.ok() });
    }
}

fn acceptor(certificate: &str, key: &str) -> anyhow::Result<TlsAcceptor> {
    let chain = CertificateDer::pem_file_iter(certificate)?.collect::<Result<_, _>>()?;
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(key)?)
        .context("certificate and key")?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn connection(stream: TcpStream, tls: Option<TlsAcceptor>, pool: Rc<Pool>) -> anyhow::Result<()> {
    let Some(tls) = tls else { return serve_http1(stream, pool).await };
    let stream = tls.accept(stream).await?;
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        let service = service_fn(move |request| Rc::clone(&pool).answer(request));
        http2::Builder::new(Local).serve_connection(TokioIo::new(stream), service).await?;
        return Ok(());
    }
    serve_http1(stream, pool).await
}

async fn serve_http1<S>(stream: S, pool: Rc<Pool>) -> anyhow::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let service = service_fn(move |request| Rc::clone(&pool).answer(request));
    http1::Builder::new().serve_connection(TokioIo::new(stream), service).await?;
    Ok(())
}

/// Runs what hyper's HTTP/2 spawns on this one thread.
#[derive(Clone, Copy)]
struct Local;

impl<F: Future + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(async move {
            future.await;
        });
    }
}

/// Connections to the upstream that no request is using.
struct Pool {
    upstream: SocketAddr,
    idle: RefCell<Vec<SendRequest<Incoming>>>,
}

impl Pool {
    async fn answer(self: Rc<Self>, request: Request<Incoming>) -> Result<Response<Incoming>, Infallible> {
        // an answer that cannot be had is not hidden: the run that counts answers fails
        Ok(self.forward(request).await.expect("the upstream answers"))
    }

    async fn forward(self: Rc<Self>, mut request: Request<Incoming>) -> anyhow::Result<Response<Incoming>> {
        request.headers_mut().remove(CONNECTION);
        *request.version_mut() = hyper::Version::HTTP_11;
        let path = request.uri().path_and_query().context("a path")?.as_str().parse()?;
        let uri = std::mem::replace(request.uri_mut(), path);
        if let Some(authority) = uri.authority() {
            request.headers_mut().insert(hyper::header::HOST, authority.as_str().parse()?);
        }
        let mut connection = self.take().await?;
        let response = connection.send_request(request).await?;
        // ready again when the answer was read whole; until then it is not in the list
        tokio::task::spawn_local(async move {
            if connection.ready().await.is_ok() {
                self.idle.borrow_mut().push(connection);
            }
        });
        Ok(response)
    }

    async fn take(&self) -> anyhow::Result<SendRequest<Incoming>> {
        loop {
            let idle = self.idle.borrow_mut().pop();
            match idle {
                Some(connection) if connection.is_ready() => return Ok(connection),
                Some(_) => {}
                None => break,
            }
        }
        let stream = TcpStream::connect(self.upstream).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::task::spawn_local(connection);
        Ok(sender)
    }
}
