//! TLS to the record: what each `sslmode` accepts, and what it refuses.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio_rustls::TlsAcceptor;

use crate::support::certificates::{Authority, server};
use crate::support::gateway::{Plan, Site};
use crate::support::postgres::Postgres;
use crate::support::upstream::Upstream;

/// What a client asks first that wants TLS: a length, and a number that is no version.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// A port with a certificate in front of a server's socket: PostgreSQL speaks TLS on TCP only, and tests take no
/// fixed port. It says to `SSLRequest` what PostgreSQL says, and everything behind it is the server's own.
struct Front {
    port: u16,
}

impl Front {
    /// `tls`: with which certificate; `None`: a server that knows no TLS. It ends with the test's process.
    fn start(socket: PathBuf, tls: Option<rustls::ServerConfig>) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let acceptor = tls.map(|config| TlsAcceptor::from(Arc::new(config)));
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).unwrap();
                while let Ok((client, _)) = listener.accept().await {
                    tokio::spawn(carry(client, acceptor.clone(), socket.clone()));
                }
            });
        });
        Self { port }
    }
}

async fn carry(
    mut client: TcpStream,
    acceptor: Option<TlsAcceptor>,
    socket: PathBuf,
) -> std::io::Result<(u64, u64)> {
    let mut first = [0; 8];
    client.read_exact(&mut first).await?;
    let mut record = UnixStream::connect(socket).await?;
    match acceptor {
        Some(acceptor) if first == SSL_REQUEST => {
            client.write_all(b"S").await?;
            let mut tls = acceptor.accept(client).await?;
            copy_bidirectional(&mut tls, &mut record).await
        }
        _ => {
            // the server itself says no to TLS on its socket
            record.write_all(&first).await?;
            copy_bidirectional(&mut client, &mut record).await
        }
    }
}

struct Stage {
    _upstream: Upstream,
    site: Site,
    front: Front,
    server: Postgres,
    database: String,
}

impl Stage {
    /// What `portcullis account list` says over a URL with this host and these parameters.
    fn list(&self, host: &str, parameters: &str) -> Result<(), String> {
        let (port, database) = (self.front.port, &self.database);
        let url = format!("postgres://postgres@{host}:{port}/{database}{parameters}");
        let config = self.site.directory().join("tls.yaml");
        let text = std::fs::read_to_string(self.site.config()).unwrap();
        std::fs::write(&config, text.replace(&self.server.url(&self.database), &url)).unwrap();
        // a replica that is there would be read where the record cannot be reached
        for file in std::fs::read_dir(self.site.directory()).unwrap() {
            let file = file.unwrap().path();
            if file.file_name().unwrap().to_str().unwrap().starts_with("replica.db") {
                std::fs::remove_file(file).unwrap();
            }
        }
        let said = crate::support::cli::Cli::new(&config).run(&["account", "list"]);
        if said.code == 0 { Ok(()) } else { Err(said.stderr) }
    }
}

fn stage(tls: impl FnOnce(&std::path::Path) -> Option<rustls::ServerConfig>) -> Stage {
    let server = Postgres::start();
    let database = server.create_database();
    let upstream = Upstream::start();
    let site = Plan::new(&upstream).postgres(&server.url(&database), "gw", "60s").prepare();
    let front = Front::start(server.socket(), tls(site.directory()));
    Stage { _upstream: upstream, site, front, server, database }
}

#[test]
fn each_sslmode_accepts_what_it_should_and_nothing_else() {
    let stage = stage(|folder| {
        let other = folder.join("other");
        std::fs::create_dir(&other).unwrap();
        Authority::new(&other);
        // for this name, and no address
        Some(server(&Authority::new(folder).sign(&["localhost"]), &[]))
    });
    let (right, wrong) = ("&sslrootcert=ca.pem", "&sslrootcert=other/ca.pem");
    for (host, parameters) in [
        ("localhost", "?sslmode=disable".to_owned()),
        ("localhost", "?sslmode=prefer".to_owned()),
        ("localhost", String::new()),
        ("localhost", "?sslmode=require".to_owned()),
        ("localhost", format!("?sslmode=require{right}")),
        ("localhost", format!("?sslmode=verify-ca{right}")),
        ("127.0.0.1", format!("?sslmode=verify-ca{right}")),
        ("localhost", format!("?sslmode=verify-full{right}")),
    ] {
        stage.list(host, &parameters).unwrap_or_else(|said| panic!("{host} {parameters}: {said}"));
    }
    for (host, parameters) in [
        // with roots at hand the chain is checked, as libpq has it
        ("localhost", format!("?sslmode=require{wrong}")),
        ("localhost", format!("?sslmode=verify-ca{wrong}")),
        ("localhost", "?sslmode=verify-ca".to_owned()),
        ("localhost", format!("?sslmode=verify-full{wrong}")),
        ("localhost", "?sslmode=verify-full".to_owned()),
        ("127.0.0.1", format!("?sslmode=verify-full{right}")),
    ] {
        let said = stage.list(host, &parameters).expect_err(&format!("{host} {parameters} was accepted"));
        assert!(
            said.contains("certificate"),
            "{host} {parameters}: {said} in {}",
            stage.site.directory().display()
        );
    }
    let said = stage.list("localhost", "?sslmode=verify-full&sslrootcert=missing.pem").unwrap_err();
    assert!(said.contains("missing.pem"), "{said}");
}

#[test]
fn a_server_without_tls_is_used_only_where_that_is_allowed() {
    let stage = stage(|_| None);
    for parameters in ["?sslmode=disable", "?sslmode=prefer", ""] {
        stage.list("localhost", parameters).unwrap_or_else(|said| panic!("{parameters}: {said}"));
    }
    for mode in ["require", "verify-ca", "verify-full"] {
        let said = stage.list("localhost", &format!("?sslmode={mode}")).expect_err("accepted without TLS");
        assert!(said.to_lowercase().contains("tls"), "{mode}: {said}");
    }
}
