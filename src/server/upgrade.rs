//! Another process takes over without a gap: the program is started anew and handed the listening sockets; once it is
//! ready, this process finishes what runs, and ends. Until then nothing has changed: a program or a configuration that
//! does not start leaves this process as it was.
//!
//! An intermediate process starts the new one, and ends: so systemd adopts the new process. Systemd waits for the end of its
//! own children only. At a stop it would kill any other process at once.
//!
//! They talk over a socket pair, which is the standard input of the intermediate and of the new process:
//!
//! | from | to | message |
//! |---|---|---|
//! | intermediate | old | `process PID`: the new process |
//! | old | new | `socket NAME` with a socket, for each; then `end` |
//! | new | old | `ready`, or `failed REASON` |
//! | old | new | `main`, once systemd knows the new process as the service |

use std::ffi::OsString;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use rustix::process::{Pid, Signal, getppid, kill_process};
use socket2::Socket;

use super::handed_sockets::HandedSockets;

/// The variable that says that a process was started to take over: for the intermediate process the id of the old one, for the
/// new process [`ORPHAN`].
const PREDECESSOR: &str = "PORTCULLIS_TAKES_OVER_FROM";

/// The value of [`PREDECESSOR`] for the new process, whose parent ends.
const ORPHAN: &str = "orphan";

/// How long the new process may take. A first copy of a large record takes a minute.
const READY_WITHIN: Duration = Duration::from_mins(10);

/// How often it is looked whether this process is told to stop meanwhile.
const POLL: Duration = Duration::from_millis(200);

/// How long the new process waits for the word `main`. It is ready, and serves, in any case.
const MAIN_WITHIN: Duration = Duration::from_secs(5);

const PROCESS: &str = "process ";
const SOCKET: &[u8] = b"socket ";
const END: &[u8] = b"end";
const READY: &[u8] = b"ready";
const FAILED: &str = "failed ";
const MAIN: &[u8] = b"main";

/// The longest message, in bytes: every mistake of a configuration is some lines long.
const MAX_MESSAGE: usize = 64 << 10;

/// Why no other process has taken over. This one goes on.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    /// The container ends with this process.
    #[error(
        "the container would end with this process, which is its first one, or a child of the init program that is: start \
         a new container beside it instead"
    )]
    EndsContainer,
    /// Another upgrade is under way.
    #[error("an upgrade is under way already")]
    UnderWay,
    /// The program.
    #[error("{} cannot be started: {source}", program.display())]
    NotStarted {
        /// its file
        program: PathBuf,
        /// what the system said
        source: io::Error,
    },
    /// It has ended before it did anything.
    #[error("the new process has ended ({status})")]
    NotBegun {
        /// how
        status: ExitStatus,
    },
    /// It does not start, and says why.
    #[error("the new process does not start: {0}")]
    Failed(String),
    /// It has ended before it was ready.
    #[error("the new process has ended: its log says why")]
    Ended,
    /// It has hung.
    #[error("the new process was not ready after {READY_WITHIN:?}, and was killed")]
    TooSlow,
    /// This process was told to stop meanwhile.
    #[error("the gateway is stopping")]
    Stopping,
    /// The conversation between the two.
    #[error("the listening sockets cannot be handed over: {0}")]
    HandOver(#[from] io::Error),
}

/// The program's file as it was called, so that what a package or a link puts there later is what is started.
pub(super) fn own_program() -> PathBuf {
    let called = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
    let file = if called.components().count() > 1 {
        std::path::absolute(&called)
    } else {
        // found in PATH; unknown where /proc is not mounted, then it is looked for again
        std::env::current_exe()
    };
    file.unwrap_or(called)
}

/// Starts the new process if this one is the intermediate: then this one is to end.
pub(super) fn start_orphan(program: &Path) -> io::Result<bool> {
    let parent = getppid().map(|pid| pid.as_raw_nonzero().to_string());
    // the variable stays in the environment of what this process starts
    if parent.is_none() || std::env::var(PREDECESSOR).ok() != parent {
        return Ok(false);
    }
    let orphan = same_command(program).env(PREDECESSOR, ORPHAN).spawn()?;
    // where the predecessor is gone, the other one finds that out by itself
    send(io::stdin().as_fd(), format!("{PROCESS}{}", orphan.id()).as_bytes(), None)?;
    Ok(true)
}

/// Says why this process does not run, if it was started to take over: `portcullis upgrade` prints it.
pub(super) fn tell_failed(why: &str) {
    if std::env::var_os(PREDECESSOR).is_some_and(|from| from == ORPHAN) {
        let message = format!("{FAILED}{why}");
        let message = &message.as_bytes()[..message.len().min(MAX_MESSAGE)];
        // one that is not told finds that this process has ended
        let _ = send(io::stdin().as_fd(), message, None);
    }
}

/// Whether the container ends with this process, if it is in one.
fn ends_container() -> bool {
    // a process that has taken over was adopted: nobody waits for its end
    let is_adopted = std::env::var_os(PREDECESSOR).is_some();
    let is_service = std::env::var_os("NOTIFY_SOCKET").is_some();
    let init = std::fs::read_to_string("/proc/1/comm").unwrap_or_default();
    !is_adopted && container_waits_for_child(getppid().map(Pid::as_raw_pid), is_service, init.trim_end())
}

/// Whether a container ends with a process, by its parent and the name of process 1. No parent: it is process 1, or was
/// started from outside the container.
fn container_waits_for_child(parent: Option<i32>, is_service: bool, init: &str) -> bool {
    match parent {
        None => true,
        // tini, dumb-init and a shell end with their child, the init of a machine does not
        Some(1) => !is_service && !["systemd", "init"].contains(&init),
        Some(_) => false,
    }
}

/// The program with the arguments of this process.
fn same_command(program: &Path) -> Command {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

/// A process that is to take over, and is ready to.
pub(super) struct Successor {
    pub(super) pid: u32,
    channel: OwnedFd,
}

impl Successor {
    /// Starts `program` as this process was started, and waits until it is ready. Blocks. `stop`: give up.
    pub(super) fn start(
        program: &Path,
        sockets: &[(String, Socket)],
        stop: &Arc<AtomicBool>,
    ) -> Result<Self, UpgradeError> {
        if ends_container() {
            return Err(UpgradeError::EndsContainer);
        }
        let (channel, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .map_err(io::Error::from)?;
        let child = same_command(program)
            .env(PREDECESSOR, std::process::id().to_string())
            // it names this process
            .env_remove("WATCHDOG_PID")
            .stdin(Stdio::from(theirs))
            .spawn()
            .map_err(|source| UpgradeError::NotStarted { program: program.to_owned(), source })?;
        let mut new = NotReady { intermediate: child, orphan: None, is_ready: false };
        set_socket_timeout(&channel, Timeout::Recv, Some(POLL)).map_err(io::Error::from)?;
        set_socket_timeout(&channel, Timeout::Send, Some(READY_WITHIN)).map_err(io::Error::from)?;
        let mut handed = Ok(());
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            if stop.load(Ordering::Relaxed) {
                return Err(UpgradeError::Stopping);
            }
            match receive(channel.as_fd()) {
                Ok(message) if message.text == READY => break,
                // from now on it can be killed: before it has any sockets, it cannot become ready
                Ok(message) if let Some(orphan) = message.process() => {
                    new.orphan = Some(orphan);
                    handed = hand_over(&channel, sockets);
                }
                Ok(message) if let Some(why) = message.failure() => {
                    new.ended()?;
                    return Err(UpgradeError::Failed(why));
                }
                Ok(message) if !message.text.is_empty() => {}
                // it has closed its end, or never heard of this
                Ok(_) => return Err(new.ended()?),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < deadline => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(UpgradeError::TooSlow),
                // it has closed its end without reading all; told once, and before what it has sent
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
                Err(error) => return Err(error.into()),
            }
        }
        handed?;
        Ok(Self { pid: new.adopted()?, channel })
    }

    /// Says that it is the service from now on.
    pub(super) fn confirm(self) {
        // it serves in any case
        if let Err(error) = send(self.channel.as_fd(), MAIN, None) {
            tracing::warn!(%error, "the process that takes over cannot be told so");
        }
    }
}

/// A process that is killed if it does not become ready.
struct NotReady {
    /// It has ended when the new process takes over.
    intermediate: Child,
    /// The new process.
    orphan: Option<Pid>,
    is_ready: bool,
}

impl NotReady {
    /// The process that is ready, once it is no child of a child.
    fn adopted(mut self) -> io::Result<u32> {
        let orphan = self.orphan.ok_or_else(|| io::Error::other("the new process has no id"))?;
        self.intermediate.wait()?;
        self.is_ready = true;
        Ok(orphan.as_raw_nonzero().get().unsigned_abs())
    }

    fn ended(&mut self) -> io::Result<UpgradeError> {
        let status = self.intermediate.wait()?;
        // its id may be another's by now
        Ok(if self.orphan.take().is_some() { UpgradeError::Ended } else { UpgradeError::NotBegun { status } })
    }
}

impl Drop for NotReady {
    fn drop(&mut self) {
        if self.is_ready {
            return;
        }
        // an error means that it has ended by itself
        let _ = self.intermediate.kill();
        let _ = self.intermediate.wait();
        if let Some(orphan) = self.orphan {
            let _ = kill_process(orphan, Signal::KILL);
        }
    }
}

fn hand_over(channel: &OwnedFd, sockets: &[(String, Socket)]) -> io::Result<()> {
    for (name, socket) in sockets {
        send(channel.as_fd(), &[SOCKET, name.as_bytes()].concat(), Some(socket.as_fd()))?;
    }
    send(channel.as_fd(), END, None)
}

/// The process that this one takes over from, at the other end of the standard input.
pub(super) struct Predecessor(io::Stdin);

impl Predecessor {
    /// The process that this one was started to take over from, with the sockets that it hands over.
    pub(super) fn find() -> io::Result<Option<(Self, HandedSockets)>> {
        if std::env::var_os(PREDECESSOR).is_none_or(|from| from != ORPHAN) {
            return Ok(None);
        }
        let stdin = io::stdin();
        set_socket_timeout(&stdin, Timeout::Recv, Some(MAIN_WITHIN))?;
        let mut sockets = HandedSockets::default();
        loop {
            let message = receive(stdin.as_fd())?;
            if let (Some(name), Some(socket)) = (message.text.strip_prefix(SOCKET), message.socket) {
                sockets.push(String::from_utf8_lossy(name).into_owned(), socket);
            } else if message.text == END {
                return Ok(Some((Self(stdin), sockets)));
            } else if message.text.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Says that this process is ready, and waits for a moment until it is the service. Blocks.
    pub(super) fn tell_ready(&self) {
        let channel = self.0.as_fd();
        let confirmed = send(channel, READY, None).and_then(|()| receive(channel));
        match confirmed {
            Ok(message) if message.text == MAIN => {}
            Ok(_) => tracing::warn!("the process that this one takes over from is gone"),
            Err(error) => tracing::warn!(%error, "the process that this one takes over from does not answer"),
        }
    }
}

struct Message {
    /// Empty: the other side has closed the channel.
    text: Vec<u8>,
    socket: Option<OwnedFd>,
}

impl Message {
    /// The process that it names.
    fn process(&self) -> Option<Pid> {
        let pid = std::str::from_utf8(&self.text).ok()?.strip_prefix(PROCESS)?;
        Pid::from_raw(pid.parse().ok()?)
    }

    /// Why the other side does not run.
    fn failure(&self) -> Option<String> {
        let why = self.text.strip_prefix(FAILED.as_bytes())?;
        Some(String::from_utf8_lossy(why).into_owned())
    }
}

fn send(channel: BorrowedFd<'_>, text: &[u8], socket: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if let Some(socket) = &socket {
        // there is room for one
        control.push(SendAncillaryMessage::ScmRights(std::slice::from_ref(socket)));
    }
    sendmsg(channel, &[IoSlice::new(text)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

fn receive(channel: BorrowedFd<'_>) -> io::Result<Message> {
    let mut text = vec![0; MAX_MESSAGE];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let mut parts = [IoSliceMut::new(&mut text)];
        match recvmsg(channel, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            received => break received?,
        }
    };
    text.truncate(received.bytes);
    let socket = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut sockets) => sockets.next(),
        _ => None,
    });
    Ok(Message { text, socket })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_ends_with_its_first_process_and_with_that_ones_child() {
        for (parent, is_service, init, ends) in [
            (None, false, "portcullis", true),
            (Some(1), false, "tini", true),
            (Some(1), false, "docker-init", true),
            (Some(1), false, "sh", true),
            // it cannot be read
            (Some(1), false, "", true),
            (Some(1), true, "", false),
            (Some(1), false, "systemd", false),
            (Some(1), false, "init", false),
            (Some(4711), false, "tini", false),
        ] {
            assert_eq!(container_waits_for_child(parent, is_service, init), ends, "{parent:?} {init}");
        }
    }
}
