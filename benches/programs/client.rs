//! The load that wrk and h2load cannot make, for `benches/compare`; one thread, one line of JSON on standard output.
//!
//! - `client handshakes ADDRESS REQUEST EXPECTED CONNECTIONS SECONDS CERTIFICATE`: a new TLS connection for each request,
//!   without resumption (wrk resumes its sessions).
//! - `client once ADDRESS REQUESTS EXPECTED CONNECTIONS`: each request once, over so many kept connections.
//! - `client idle ADDRESS REQUEST EXPECTED CONNECTIONS [CERTIFICATE]`: one request on each of so many connections, which
//!   are then held until standard input ends. They come from several addresses of 127.0.0.0/8.
//!
//! `REQUEST` is a file with a request's bytes, `REQUESTS` one with many, each ended by its empty line. An answer with
//! another status than `EXPECTED` ends the program with an error.

mod heads;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::LocalSet;
use tokio_rustls::TlsConnector;

/// Connections from one source address; a kernel has some 28,000 ports for each.
const PER_SOURCE: usize = 1_000;

/// Connections that are opened at once: more than a listener's queue holds would be lost.
const AT_ONCE: usize = 64;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        match arguments[..] {
            ["handshakes", address, request, expected, connections, seconds, certificate] => {
                let target = Target::new(address, expected, Some(certificate))?;
                let seconds = Duration::from_secs(seconds.parse()?);
                handshakes(target, std::fs::read(request)?, connections.parse()?, seconds).await
            }
            ["once", address, requests, expected, connections] => {
                let target = Target::new(address, expected, None)?;
                once(target, &std::fs::read(requests)?, connections.parse()?).await
            }
            ["idle", address, request, expected, connections, ref certificate @ ..] => {
                let target = Target::new(address, expected, certificate.first().copied())?;
                idle(target, std::fs::read(request)?, connections.parse()?).await
            }
            _ => anyhow::bail!("usage: see benches/programs/client.rs"),
        }
    })
}

/// What is asked, and how it must answer.
#[derive(Clone)]
struct Target {
    address: SocketAddr,
    expected: String,
    tls: Option<TlsConnector>,
}

trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

impl Target {
    fn new(address: &str, expected: &str, certificate: Option<&str>) -> anyhow::Result<Rc<Self>> {
        let tls = certificate.map(connector).transpose()?;
        Ok(Rc::new(Self { address: address.parse()?, expected: format!("HTTP/1.1 {expected} "), tls }))
    }

    async fn connect(&self, source: Ipv4Addr) -> anyhow::Result<Box<dyn Stream>> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((source, 0).into())?;
        let stream = socket.connect(self.address).await?;
        stream.set_nodelay(true)?;
        self.secure(stream).await
    }

    async fn secure(&self, stream: TcpStream) -> anyhow::Result<Box<dyn Stream>> {
        let Some(tls) = &self.tls else { return Ok(Box::new(stream)) };
        let name = ServerName::try_from("localhost")?;
        Ok(Box::new(tls.connect(name, stream).await?))
    }

    async fn ask(&self, stream: &mut dyn Stream, request: &[u8]) -> anyhow::Result<()> {
        stream.write_all(request).await?;
        let mut buffer = [0; 4096];
        let (mut filled, mut whole) = (0, None);
        while whole.is_none_or(|whole| filled < whole) {
            let read = stream.read(&mut buffer[filled..]).await?;
            ensure!(read > 0, "the connection was closed before the answer ended");
            filled += read;
            whole = heads::head_end(&buffer[..filled]).map(|end| end + heads::content_length(&buffer[..end]));
        }
        let line = String::from_utf8_lossy(&buffer[..self.expected.len()]);
        ensure!(line == self.expected, "an answer began with {line:?} instead of {:?}", self.expected);
        Ok(())
    }
}

fn connector(certificate: &str) -> anyhow::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificate)?)?;
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    // what all that are compared can do: the handshake is to be the same with each
    provider.kx_groups = vec![rustls::crypto::aws_lc_rs::kx_group::X25519];
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(TlsConnector::from(Arc::new(config)))
}

async fn handshakes(
    target: Rc<Target>,
    request: Vec<u8>,
    connections: usize,
    time: Duration,
) -> anyhow::Result<()> {
    let (request, began) = (Rc::new(request), Instant::now());
    let tasks = (0..connections).map(|_| {
        let (target, request) = (Rc::clone(&target), Rc::clone(&request));
        tokio::task::spawn_local(async move {
            let mut times = Vec::new();
            while began.elapsed() < time {
                let asked = Instant::now();
                let mut stream = target.connect(Ipv4Addr::LOCALHOST).await?;
                target.ask(&mut *stream, &request).await?;
                times.push(asked.elapsed());
                stream.shutdown().await.ok();
            }
            anyhow::Ok(times)
        })
    });
    let mut times = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        times.extend(task.await??);
    }
    report(began.elapsed(), &mut times)
}

async fn once(target: Rc<Target>, requests: &[u8], connections: usize) -> anyhow::Result<()> {
    let mut queue = VecDeque::new();
    let mut rest = requests;
    while let Some(end) = heads::head_end(rest) {
        queue.push_back(rest[..end].to_vec());
        rest = &rest[end..];
    }
    let (queue, began) = (Rc::new(RefCell::new(queue)), Instant::now());
    let tasks = (0..connections).map(|_| {
        let (target, queue) = (Rc::clone(&target), Rc::clone(&queue));
        tokio::task::spawn_local(async move {
            let mut stream = target.connect(Ipv4Addr::LOCALHOST).await?;
            let mut times = Vec::new();
            let next = || queue.borrow_mut().pop_front();
            while let Some(request) = next() {
                let asked = Instant::now();
                target.ask(&mut *stream, &request).await?;
                times.push(asked.elapsed());
            }
            anyhow::Ok(times)
        })
    });
    let mut times = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        times.extend(task.await??);
    }
    report(began.elapsed(), &mut times)
}

async fn idle(target: Rc<Target>, request: Vec<u8>, connections: usize) -> anyhow::Result<()> {
    let (request, began) = (Rc::new(request), Instant::now());
    let (mut held, mut times) = (Vec::new(), Vec::new());
    while held.len() < connections {
        let batch = held.len()..connections.min(held.len() + AT_ONCE);
        let tasks = batch.map(|number| {
            let (target, request) = (Rc::clone(&target), Rc::clone(&request));
            let source = Ipv4Addr::new(127, 0, 0, 2 + u8::try_from(number / PER_SOURCE).unwrap_or(u8::MAX));
            tokio::task::spawn_local(async move {
                let asked = Instant::now();
                let mut stream = target.connect(source).await?;
                target.ask(&mut *stream, &request).await?;
                anyhow::Ok((stream, asked.elapsed()))
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            let (stream, time) = task.await??;
            held.push(stream);
            times.push(time);
        }
    }
    report(began.elapsed(), &mut times)?;
    // standard input is a pipe of the caller's; reading it holds this thread up, and nothing else is to run
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).context("standard input")?;
    drop(held);
    Ok(())
}

/// The same words as `benches/comparison/load.py` has wrk print.
fn report(took: Duration, times: &mut [Duration]) -> anyhow::Result<()> {
    ensure!(!times.is_empty(), "nothing was asked");
    times.sort_unstable();
    let line = serde_json::json!({
        "requests": times.len(),
        "microseconds": took.as_micros(),
        "p50": times[times.len() / 2].as_micros(),
        "p99": times[times.len() * 99 / 100].as_micros(),
    });
    println!("{line}");
    Ok(())
}
