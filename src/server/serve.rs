//! `portcullis serve`: runs until it is told to stop.

use std::io;
use std::path::Path;

use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

use super::gateway::{Gateway, StartError};
use crate::config::{self, ConfigErrors};
use crate::telemetry::{Log, TelemetryError};

/// Why the gateway does not run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// The log.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// A part of the gateway.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Signals or the runtime.
    #[error("the system refuses what the gateway needs to run: {0}")]
    System(#[from] io::Error),
}

/// Runs a gateway by the configuration in `path` until SIGTERM or Ctrl-C; SIGHUP reloads. A second signal to stop
/// ends it at once.
pub fn serve(path: &Path) -> Result<(), ServeError> {
    let config = config::load_to_serve(path)?;
    // kept until the end: what waits is written when it is dropped
    let _log = Log::start(&config.log)?;
    let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
    let served = runtime.block_on(async {
        // before anything starts, so that no signal is missed
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hangup = signal(SignalKind::hangup())?;
        // beside the signals: a first copy of a large record takes a while, and can be stopped
        let starting = tokio::task::spawn_blocking(move || Gateway::start(config));
        let mut gateway = tokio::select! {
            started = starting => started.map_err(io::Error::other)??,
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
        };
        announce(&gateway);
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hangup.recv() => reload(&mut gateway, path),
            }
        }
        tracing::info!("stopping: running requests may finish");
        tokio::select! {
            () = gateway.stop() => tracing::info!("stopped"),
            _ = terminate.recv() => tracing::warn!("stopped at once by a second signal"),
            _ = interrupt.recv() => tracing::warn!("stopped at once by a second signal"),
        }
        Ok(())
    });
    // a start that was stopped ends with the process
    runtime.shutdown_background();
    served
}

fn announce(gateway: &Gateway) {
    let addresses = gateway.addresses();
    for (address, tls) in &addresses.listeners {
        let suffix = if *tls { " (tls)" } else { "" };
        tracing::info!("listening on {address}{suffix}");
    }
    if let Some(address) = addresses.management {
        tracing::info!("management on {address}");
    }
    tracing::info!("ready");
}

fn reload(gateway: &mut Gateway, path: &Path) {
    gateway.reopen_logs();
    match config::load_to_serve(path) {
        Err(errors) => {
            for error in &errors.0 {
                tracing::error!("{error}");
            }
            tracing::error!("the configuration is not taken over");
        }
        Ok(config) => match gateway.reload(config) {
            Ok(()) => tracing::info!("the configuration is reloaded"),
            Err(error) => tracing::error!(%error, "the configuration is not taken over"),
        },
    }
}
