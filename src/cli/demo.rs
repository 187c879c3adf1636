//! `portcullis demo`: a sample API with the gateway in front of it, ready to be tried with `curl`.
//!
//! All that it makes lies in one temporary folder, which goes when the demo ends, however it ends.

mod api;
mod fixture;
mod temporary_folder;
mod text;
mod websocket;

use std::io::{self, Write as _};
use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Context as _, bail};
use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::ListenAddress;
use crate::server::Gateway;
use crate::telemetry;
use temporary_folder::TemporaryFolder;

/// What the demo listens on where it is free: easy to type.
const EASY_PORTS: Ports = Ports { plain: 8080, tls: 8443, management: 8081 };

/// The ports of the gateway's listeners.
#[derive(Debug, Clone, Copy)]
struct Ports {
    plain: u16,
    tls: u16,
    management: u16,
}

#[derive(Debug, Args)]
#[command(
    about = "Try it: a sample API, the gateway in front of it, two environments, keys, and curl lines to paste",
    long_about = "Starts a sample API and the gateway in front of it, with two environments and three keys, and prints \
        the web page's address, a key to sign in with, and curl lines to paste. Listens on 127.0.0.1 only: on ports 8080, 8443 (TLS) and 8081 (management) where they are \
        free. Everything lies in a temporary folder, which goes when the demo ends with Ctrl-C. No configuration is \
        read.",
    after_help = "Examples:\n  portcullis demo"
)]
pub(super) struct Demo {}

/// Runs the demo until Ctrl-C, SIGTERM or SIGHUP.
pub(super) fn run() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(show())
}

async fn show() -> anyhow::Result<()> {
    // before anything is made, so that nothing is left whenever the signal comes
    let mut stop = StopSignals::new()?;
    let folder = TemporaryFolder::create().context("cannot create a temporary folder")?;
    let upstream = api::start().await.context("cannot start the sample API")?;
    let (ports, _claim) = claim_ports();
    let fixture = fixture::build(folder.path(), ports, upstream)?;
    let _log = telemetry::Log::start(&fixture.config.log)?;
    let gateway = Gateway::start(fixture.config.clone()).context("cannot start the gateway")?;
    let [(ListenAddress::Tcp(plain), _), (ListenAddress::Tcp(tls), _)] = gateway.addresses().listeners[..]
    else {
        bail!(
            "the demo's configuration has two listeners at ports, and the gateway {}",
            gateway.addresses().listeners.len()
        )
    };
    let management = gateway.addresses().management.context("the demo's configuration has management")?;
    let text = text::text(&fixture, plain, tls, management, folder.path(), &std::env::current_exe()?);
    // without a terminal there is nobody to read it; the demo runs all the same
    let _ = io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush());
    stop.wait().await;
    gateway.stop().await;
    Ok(())
}

/// Keeps other demos from the same ports while it lives.
///
/// The gateway's listeners share their port with any socket of the same user that wants to (`SO_REUSEPORT`), so a port
/// that is free when it is looked at says nothing of a second demo that starts at the same time. A listener on another
/// loopback address, which does not share, is the sign that a demo has the port.
#[derive(Debug)]
struct Claim(#[allow(dead_code, reason = "held, never read")] Vec<TcpListener>);

/// The easy ports, each replaced by 0 (any that is free) where it is taken.
fn claim_ports() -> (Ports, Claim) {
    let mut claimed = Vec::new();
    let mut claim = |port| {
        let Ok(sign) = TcpListener::bind((Ipv4Addr::new(127, 0, 0, 2), port)) else { return 0 };
        // only now: the probe would be in the way of the demo that has the sign and is about to listen
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_err() {
            return 0;
        }
        claimed.push(sign);
        port
    };
    let ports = Ports {
        plain: claim(EASY_PORTS.plain),
        tls: claim(EASY_PORTS.tls),
        management: claim(EASY_PORTS.management),
    };
    (ports, Claim(claimed))
}

/// The signals that end the demo.
struct StopSignals([Signal; 3]);

impl StopSignals {
    fn new() -> io::Result<Self> {
        Ok(Self([
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ]))
    }

    async fn wait(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
