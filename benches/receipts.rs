//! How fast, and how surely, a key dies: three gateways on one PostgreSQL, on this machine, over loopback.
//!
//! `cargo bench --bench receipts` takes some three minutes after the build. It prints:
//!
//! 1. 1,000 deactivations, each asked of one of three gateways while every gateway gets 1,000 requests a second with
//!    that very key: time until the receipt is whole (median, 99th percentile), and how many requests that began after
//!    the receipt still succeeded on any gateway. The goal: 50 ms, and none.
//! 2. What other keys' requests notice of it: their latency with and without deactivations, on these gateways and on
//!    three strangers, which have a record of their own and share nothing with them but the machine. What the strangers
//!    notice is the machine's doing: two cores for six gateways, PostgreSQL and all clients.
//! 3. How far gateways lag while 200 changes a second are made.
//! 4. How long a gateway takes to start with 1,000,000 keys: with a first copy of the record, and with a replica.

#[path = "../tests/support/mod.rs"]
mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use support::api::Api;
use support::cli::Key;
use support::gateway::{Gateway, Plan, Site};
use support::http1::Request;
use support::postgres::Postgres;
use support::raw_upstream::{self, RawUpstream};
use support::upstream::Upstream;

const ROUTES: &str = r#"
  - path: /v1
    upstream: plain
    environment: "/v1/projects/{environment}"
"#;
const TARGET: &str = "/v1/projects/e1/hosts";

/// Requests a second that each gateway gets with the key that dies, and with another.
const DYING: u64 = 1_000;
const OTHER: u64 = 500;

fn main() {
    let deactivations = number("DEACTIVATIONS", 1_000);
    let keys = number("KEYS", 1_000_000);
    let server = Postgres::start_with_fsync();
    let upstream = Upstream::start();
    let answers = RawUpstream::start(|_, mut reader| {
        let mut stream = reader.get_ref().try_clone()?;
        loop {
            raw_upstream::head(&mut reader)?;
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")?;
        }
    });
    let plan = |url: &str, name: &str| {
        Plan::new(&upstream).upstreams(&answers.entry("plain")).routes(ROUTES).postgres(url, name, "60s")
    };

    let url = server.url(&server.create_database());
    let three = |url: &str| {
        let first = plan(url, "g1").prepare();
        let others: Vec<Site> = ["g2", "g3"].map(|name| plan(url, name).join(&first)).into();
        let gateways: Vec<Gateway> = std::iter::once(first).chain(others).map(Site::start).collect();
        gateways[0].succeed(&["environment", "create", "--id", "e1"]);
        let other = gateways[0].create_environment_key("e1");
        Three { gateways, other }
    };
    let own = three(&url);
    let strangers = three(&server.url(&server.create_database()));

    println!("three gateways, two workers each, PostgreSQL with fsync, all on this machine\n");
    deactivate(&own, &strangers, deactivations);
    drop(strangers);
    lag(&own.gateways);
    drop(own);
    start(&server, &plan, keys);
}

fn number(name: &str, usual: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// Three gateways of one record, and a key that nothing happens to.
struct Three {
    gateways: Vec<Gateway>,
    other: Key,
}

// === deactivations ===

fn deactivate(own: &Three, strangers: &Three, count: usize) {
    let gateways = &own.gateways;
    let apis: Vec<Api<'_>> = gateways.iter().map(Api::admin).collect();
    let victims: Vec<(String, Key)> = (0..count)
        .map(|number| {
            let made =
                apis[number % apis.len()].create("/v2-beta/projects/e1/apikeys", &serde_json::json!({}));
            let text = |name: &str| made[name].as_str().expect("a text").to_owned();
            let key = Key { id: text("id"), access_key: text("publicValue"), secret: text("secretValue") };
            (format!("/v2-beta/apikeys/{}", text("id")), key)
        })
        .collect();

    let mut receipts = Vec::new();
    let (mut late, mut incomplete) = (0, 0);
    let loads: Vec<Load> = gateways.iter().map(|gateway| Load::start(gateway.http(), DYING)).collect();
    // the same load on the machine, without a change
    let first = victims.first().map(|(_, key)| key).expect("one key at least");
    for load in &loads {
        load.send_with(first);
    }
    let [quiet, strangers_quiet] = latency([own, strangers], || std::thread::sleep(Duration::from_secs(10)));
    let [busy, strangers_busy] = latency([own, strangers], || {
        for (number, (resource, key)) in victims.iter().enumerate() {
            for load in &loads {
                load.send_with(key);
            }
            support::wait_for(support::PATIENCE, "every gateway serves the key", || {
                loads.iter().all(|load| load.successes() >= 3)
            });
            let api = &apis[number % apis.len()];
            let asked = Instant::now();
            let answer = api.act(resource, "deactivate");
            let told = Instant::now();
            receipts.push(told - asked);
            incomplete += usize::from(answer.status != 200);
            for load in &loads {
                load.forbid();
            }
            std::thread::sleep(Duration::from_millis(20));
            late += loads.iter().map(Load::successes_after).sum::<u64>();
        }
    });
    let sent: u64 = loads.into_iter().map(Load::stop).sum();

    println!("{count} deactivations, {sent} requests with the dying keys");
    println!("  time to the whole receipt   {}", percentiles(&mut receipts));
    println!("  receipts not whole in 5 s   {incomplete}");
    println!("  successes after a receipt   {late}");
    println!("other keys' requests ({OTHER} a second on each gateway)");
    println!("  without deactivations       {quiet}");
    println!("  during them                 {busy}");
    println!("the same on three gateways of another record, which notice the machine alone");
    println!("  without deactivations       {strangers_quiet}");
    println!("  during them                 {strangers_busy}\n");
}

/// A client that sends so many requests a second with one key to one gateway.
struct Load {
    shared: Arc<Shared>,
    thread: JoinHandle<u64>,
}

#[derive(Default)]
struct Shared {
    /// The bytes of the request, and how often it was changed.
    request: RwLock<(Vec<u8>, u64)>,
    successes: AtomicU64,
    /// The receipt is there: what begins from now on must not succeed.
    is_forbidden: AtomicBool,
    successes_after: AtomicU64,
    ends: AtomicBool,
}

impl Load {
    fn start(address: SocketAddr, rate: u64) -> Self {
        let shared = Arc::<Shared>::default();
        let thread = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || shared.run(address, rate)
        });
        Self { shared, thread }
    }

    fn send_with(&self, key: &Key) {
        self.shared.is_forbidden.store(false, Ordering::SeqCst);
        let mut request = self.shared.request.write().expect("no panic");
        *request = (Request::get(TARGET).key(key).end(), request.1 + 1);
        self.shared.successes.store(0, Ordering::SeqCst);
        self.shared.successes_after.store(0, Ordering::SeqCst);
    }

    fn successes(&self) -> u64 {
        self.shared.successes.load(Ordering::SeqCst)
    }

    fn forbid(&self) {
        self.shared.is_forbidden.store(true, Ordering::SeqCst);
    }

    fn successes_after(&self) -> u64 {
        self.shared.successes_after.load(Ordering::SeqCst)
    }

    fn stop(self) -> u64 {
        self.shared.ends.store(true, Ordering::SeqCst);
        self.thread.join().expect("no panic")
    }
}

impl Shared {
    fn run(&self, address: SocketAddr, rate: u64) -> u64 {
        let mut connection = Connection::open(address);
        let pace = Duration::from_nanos(1_000_000_000 / rate);
        let (mut due, mut sent) = (Instant::now(), 0);
        while !self.ends.load(Ordering::SeqCst) {
            due += pace;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let (request, version) = self.request.read().expect("no panic").clone();
            if request.is_empty() {
                continue;
            }
            // looked at before it is sent: the request begins after the receipt, or it does not count as late
            let is_late = self.is_forbidden.load(Ordering::SeqCst);
            let status = connection.ask(&request);
            sent += 1;
            if status == 200 && self.request.read().expect("no panic").1 == version {
                self.successes.fetch_add(1, Ordering::SeqCst);
                self.successes_after.fetch_add(u64::from(is_late), Ordering::SeqCst);
            }
        }
        sent
    }
}

/// The latency of the other keys' requests on all gateways of each record, while `meanwhile` runs.
fn latency(records: [&Three; 2], meanwhile: impl FnOnce()) -> [String; 2] {
    let ends = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let ends = &ends;
        let threads = records.map(|three| {
            let clients = three.gateways.iter().map(|gateway| {
                let request = Request::get(TARGET).key(&three.other).end();
                scope.spawn(move || request_times(gateway.http(), &request, ends))
            });
            clients.collect::<Vec<_>>()
        });
        meanwhile();
        ends.store(true, Ordering::SeqCst);
        threads.map(|threads| {
            let times = threads.into_iter().flat_map(|thread| thread.join().expect("no panic"));
            percentiles(&mut times.collect::<Vec<_>>())
        })
    })
}

/// Sends a request at an even pace until told to end; how long each took.
fn request_times(address: SocketAddr, request: &[u8], ends: &AtomicBool) -> Vec<Duration> {
    let mut connection = Connection::open(address);
    let pace = Duration::from_nanos(1_000_000_000 / OTHER);
    let (mut due, mut times) = (Instant::now(), Vec::new());
    while !ends.load(Ordering::SeqCst) {
        due += pace;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let began = Instant::now();
        assert_eq!(connection.ask(request), 200, "the other key works all the time");
        times.push(began.elapsed());
    }
    times
}

/// A kept connection that sends bytes and reads an answer's status.
struct Connection {
    address: SocketAddr,
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the gateway listens");
        stream.set_nodelay(true).expect("a TCP option");
        Self { address, stream, buffer: vec![0; 4096] }
    }

    fn ask(&mut self, request: &[u8]) -> u16 {
        if let Some(status) = self.try_ask(request) {
            return status;
        }
        // closed between two requests
        *self = Self::open(self.address);
        self.try_ask(request).expect("an answer on a new connection")
    }

    fn try_ask(&mut self, request: &[u8]) -> Option<u16> {
        self.stream.write_all(request).ok()?;
        let mut filled = 0;
        loop {
            let read = self.stream.read(&mut self.buffer[filled..]).ok().filter(|read| *read > 0)?;
            filled += read;
            let text = String::from_utf8_lossy(&self.buffer[..filled]).to_ascii_lowercase();
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
            let length: usize = length.and_then(|length| length.trim().parse().ok()).unwrap_or(0);
            if body.len() >= length {
                return head.split(' ').nth(1).and_then(|status| status.parse().ok());
            }
        }
    }
}

// === lag ===

fn lag(gateways: &[Gateway]) {
    const CHANGES: u64 = 200;
    const WRITERS: u64 = 8;
    const SECONDS: u64 = 10;
    let key = gateways[0].create_environment_key("e1");
    let resources: Vec<String> = (0..WRITERS)
        .map(|_| format!("/v2-beta/apikeys/{}", gateways[0].create_environment_key("e1").id))
        .collect();
    let (began, pace) = (Instant::now(), Duration::from_nanos(1_000_000_000 * WRITERS / CHANGES));
    let mut times = std::thread::scope(|scope| {
        let threads: Vec<_> = resources
            .iter()
            .enumerate()
            .map(|(number, resource)| {
                scope.spawn(move || {
                    let api = Api::admin(&gateways[number % gateways.len()]);
                    let (mut due, mut times) =
                        (began + pace * u32::try_from(number).unwrap_or(0) / 8, Vec::new());
                    while began.elapsed() < Duration::from_secs(SECONDS) {
                        due += pace;
                        std::thread::sleep(due.saturating_duration_since(Instant::now()));
                        let asked = Instant::now();
                        let name = format!("n{}", times.len());
                        let answer = api.put(resource, &serde_json::json!({ "name": name }));
                        assert_eq!(answer.status, 200, "{answer:?}");
                        times.push(asked.elapsed());
                    }
                    times
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect::<Vec<_>>()
    });
    let made = times.len() as u64;
    println!("{made} changes in {SECONDS} s ({CHANGES} a second were asked for), by {WRITERS} writers");
    println!("  until all gateways have it  {}\n", percentiles(&mut times));
    drop(key);
}

// === start ===

fn start(server: &Postgres, plan: &dyn Fn(&str, &str) -> Plan, keys: usize) {
    let database = server.create_database();
    let url = server.url(&database);
    let first = plan(&url, "s1").prepare();
    server.sql(
        &database,
        &format!(
            "SET search_path TO portcullis;
             INSERT INTO environments (\"row\", id, name, state, uuid, created, revision)
             SELECT g + 1, 'm' || g, 'environment ' || g, 'active', gen_random_uuid()::text, 1790000000000 + g, 0
             FROM generate_series(1, 1000) g;
             INSERT INTO keys (id, access_key, environment, name, description, state, uuid, phc, created, revision)
             SELECT g + 1, 'pce_' || lpad(g::text, 20, '0'), 2 + g % 1000, 'key ' || g, 'made to be measured', 'active',
             gen_random_uuid()::text, '$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$' || md5(g::text) || 'aaaaaaaaaaa',
             1790000000000 + g, 0 FROM generate_series(1, {keys}) g;"
        ),
    );
    // its replica was made by init, before the keys came by a way that no change tells of
    let second = plan(&url, "s2").join(&first);
    let began = Instant::now();
    let gateway = second.start();
    let copied = began.elapsed();
    let (second, _) = gateway.stop();
    let began = Instant::now();
    let gateway = second.start();
    println!("start with {keys} keys");
    println!("  with a first copy           {:.1} s", copied.as_secs_f64());
    println!("  with its replica            {:.1} s", began.elapsed().as_secs_f64());
    let replica = std::fs::metadata(gateway.directory().join("replica.db")).map_or(0, |file| file.len());
    println!("  the replica's file          {} MB", replica / 1_000_000);
    println!("  the gateway's memory        {} MB", gateway.resident_bytes() / 1_000_000);
}

fn percentiles(times: &mut [Duration]) -> String {
    times.sort_unstable();
    let at = |share: f64| {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let index = ((times.len() as f64 - 1.0) * share) as usize;
        times.get(index).copied().unwrap_or_default().as_secs_f64() * 1000.0
    };
    format!(
        "p50 {:.2} ms, p99 {:.2} ms, longest {:.1} ms ({} measured)",
        at(0.5),
        at(0.99),
        at(1.0),
        times.len()
    )
}
