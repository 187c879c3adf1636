//! What systemd is told (`sd_notify(3)`): ready, reloading, stopping, still alive; and the sockets that it keeps, so that a
//! restart refuses nobody. Where there is none (`NOTIFY_SOCKET` is not set), nothing is told.

use std::io;
use std::os::fd::AsFd as _;
use std::time::Duration;

use sd_notify::NotifyState;
use socket2::Socket;

/// Requests are taken.
pub(super) fn tell_ready() {
    tell(&[NotifyState::Ready]);
}

/// The configuration is being read again; [`tell_ready`] ends it.
pub(super) fn tell_reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => not_told(&error),
    }
}

/// The gateway is stopping.
pub(super) fn tell_stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Another process is the service from now on.
pub(super) fn tell_main_pid(pid: u32) {
    tell(&[NotifyState::MainPid(pid)]);
}

/// The gateway still works.
pub(super) fn tell_alive() {
    tell(&[NotifyState::Watchdog]);
}

/// How often [`tell_alive`] is expected, if it is.
pub(super) fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

/// Has systemd keep these sockets, which it does where the unit says `FileDescriptorStoreMax=`. It knows those that it has.
pub(super) fn keep_sockets(sockets: &[(String, Socket)]) {
    for (name, socket) in sockets {
        let states = [NotifyState::FdStore, NotifyState::FdName(name)];
        if let Err(error) = sd_notify::notify_with_fds(&states, &[socket.as_fd()]) {
            not_told(&error);
        }
    }
}

/// Has systemd close what it keeps by these names: connections that nobody takes would wait in them.
pub(super) fn forget_sockets(names: &[String]) {
    for name in names {
        tell(&[NotifyState::FdStoreRemove, NotifyState::FdName(name)]);
    }
}

/// Whether systemd has the listening sockets too, or may have: their files are not this process's to remove.
pub(super) fn may_keep_sockets() -> bool {
    // LISTEN_FDNAMES stands for a socket unit: LISTEN_PID and LISTEN_FDS are removed when its sockets are taken
    ["LISTEN_FDNAMES", "NOTIFY_SOCKET"].iter().any(|name| std::env::var_os(name).is_some())
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        not_told(&error);
    }
}

fn not_told(error: &io::Error) {
    tracing::warn!(%error, "systemd cannot be told how the service is");
}
