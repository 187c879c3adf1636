//! An endpoint that is well or ill as the test says, and a gateway in front of several.

use std::io::{self, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use socket2::SockRef;

use crate::support::raw_upstream::{self, RawUpstream};
use crate::support::stage::Stage;

/// What an endpoint does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It answers 200.
    Well,
    /// It never answers.
    Hangs,
    /// It resets the connection.
    Resets,
    /// It answers with this status.
    Answers(u16),
}

/// An endpoint whose health can change.
pub struct Endpoint {
    plain: RawUpstream,
    health: Arc<Mutex<Health>>,
    requests: Arc<AtomicUsize>,
}

impl Endpoint {
    pub fn start(health: Health) -> Self {
        Self::over(TcpListener::bind("127.0.0.1:0").expect("a free port"), health)
    }

    /// One at this address.
    pub fn at(address: SocketAddr, health: Health) -> Self {
        Self::over(TcpListener::bind(address).expect("a free port"), health)
    }

    fn over(listener: TcpListener, health: Health) -> Self {
        let health = Arc::new(Mutex::new(health));
        let requests = Arc::new(AtomicUsize::new(0));
        let (now, count) = (Arc::clone(&health), Arc::clone(&requests));
        let plain = RawUpstream::over(listener, move |_, mut reader| {
            loop {
                let lines = raw_upstream::head(&mut reader)?;
                count.fetch_add(1, Ordering::SeqCst);
                let length = lines.iter().find_map(|line| {
                    let (name, value) = line.split_once(':')?;
                    name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
                });
                raw_upstream::skip(&mut reader, length.unwrap_or(0))?;
                let health = *now.lock().unwrap_or_else(PoisonError::into_inner);
                react(&mut reader, health)?;
            }
        });
        Self { plain, health, requests }
    }

    pub fn becomes(&self, health: Health) {
        *self.health.lock().unwrap_or_else(PoisonError::into_inner) = health;
    }

    pub fn address(&self) -> SocketAddr {
        self.plain.address()
    }

    /// Requests that came.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

fn react(reader: &mut BufReader<TcpStream>, health: Health) -> io::Result<()> {
    let status = match health {
        Health::Well => 200,
        Health::Answers(status) => status,
        // until the gateway gives up
        Health::Hangs => {
            reader.read_exact(&mut [0])?;
            return Err(io::ErrorKind::InvalidData.into());
        }
        Health::Resets => {
            SockRef::from(reader.get_ref()).set_linger(Some(Duration::ZERO))?;
            return Err(io::ErrorKind::ConnectionReset.into());
        }
    };
    write!(reader.get_mut(), "HTTP/1.1 {status} S\r\nContent-Length: 2\r\n\r\nok")
}

/// The upstream's entry with these endpoints, and more settings such as `, balance: turn`.
pub fn entry(endpoints: &[SocketAddr], settings: &str) -> String {
    let urls: Vec<String> = endpoints.iter().map(|address| format!("\"http://{address}\"")).collect();
    format!("  api: {{ endpoints: [{}]{settings} }}\n", urls.join(", "))
}

/// A gateway in front of these endpoints that waits for an answer only a moment.
#[track_caller]
pub fn stage(endpoints: &[&Endpoint], settings: &str) -> Stage {
    let addresses: Vec<_> = endpoints.iter().map(|endpoint| endpoint.address()).collect();
    let entry = entry(&addresses, settings);
    Stage::with(|plan| {
        plan.upstreams(&entry).top("timeouts: { upstream_response: 400ms, upstream_connect: 2s }")
    })
}

/// Sends so many requests, one after the other, each over a connection of its own; how many were not answered 200.
#[track_caller]
pub fn lost(stage: &Stage, method: &str, count: usize) -> usize {
    let request = stage.request(method, "/v1/projects/e1/x");
    let request = if method == "GET" { request.end() } else { request.body("body") };
    (0..count).filter(|_| stage.gateway.exchange(&request).status != 200).count()
}

/// A value of one of an endpoint's metrics.
#[track_caller]
pub fn metric(stage: &Stage, name: &str, endpoint: &Endpoint) -> u64 {
    metric_of(stage, &format!("{name}{{upstream=\"api\",endpoint=\"{}\"}}", endpoint.address()))
}

/// A value of a metric, named with its labels.
#[track_caller]
pub fn metric_of(stage: &Stage, name: &str) -> u64 {
    stage.gateway.metric(&format!("portcullis_{name}"))
}
