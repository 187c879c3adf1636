//! Another process takes over without a gap: the program is started anew and handed the listening sockets; once it is
//! ready, this process finishes what runs, and ends. Until then nothing has changed: a program or a configuration that
//! does not start leaves this process as it was.
//!
//! Both talk over a socket pair that is the new process's standard input. A message is `socket NAME` with a socket, and
//! then `end`; back comes `ready`; and last `main`, once systemd knows the new process as the service.

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
use socket2::Socket;

use super::handed_sockets::HandedSockets;

/// In the new process's environment: the process that it takes over from.
const PREDECESSOR: &str = "PORTCULLIS_TAKES_OVER_FROM";

/// How long the new process may take. A first copy of a large record takes a minute.
const READY_WITHIN: Duration = Duration::from_mins(10);

/// How often it is looked whether this process is told to stop meanwhile.
const POLL: Duration = Duration::from_millis(200);

/// How long the new process waits for the word `main`. It is ready, and serves, in any case.
const MAIN_WITHIN: Duration = Duration::from_secs(5);

const SOCKET: &[u8] = b"socket ";
const END: &[u8] = b"end";
const READY: &[u8] = b"ready";
const MAIN: &[u8] = b"main";

/// Why no other process has taken over. This one goes on.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    /// The first process of a container: the container ends with it.
    #[error(
        "this is the first process of a container, which would end with it: start a new container beside it instead"
    )]
    FirstProcess,
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
    /// It has ended before it was ready.
    #[error("the new process has ended ({status}): its log says why")]
    Ended {
        /// how
        status: ExitStatus,
    },
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
        if std::process::id() == 1 {
            return Err(UpgradeError::FirstProcess);
        }
        let (channel, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .map_err(io::Error::from)?;
        let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
        let child = Command::new(program)
            .args(arguments)
            .env(PREDECESSOR, std::process::id().to_string())
            // they name this process, and what it was handed
            .env_remove("LISTEN_PID")
            .env_remove("LISTEN_FDS")
            .env_remove("LISTEN_FDNAMES")
            .env_remove("WATCHDOG_PID")
            .stdin(Stdio::from(theirs))
            .spawn()
            .map_err(|source| UpgradeError::NotStarted { program: program.to_owned(), source })?;
        let mut child = NotReady(Some(child));
        let pid = child.id();
        set_socket_timeout(&channel, Timeout::Recv, Some(POLL)).map_err(io::Error::from)?;
        set_socket_timeout(&channel, Timeout::Send, Some(READY_WITHIN)).map_err(io::Error::from)?;
        let handed = hand_over(&channel, sockets);
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            if stop.load(Ordering::Relaxed) {
                return Err(UpgradeError::Stopping);
            }
            match receive(channel.as_fd()) {
                Ok(message) if message.text == READY => break,
                Ok(message) if !message.text.is_empty() => {}
                // it has closed its end, or never heard of this
                Ok(_) => return Err(UpgradeError::Ended { status: child.end()? }),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < deadline => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(UpgradeError::TooSlow),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    return Err(UpgradeError::Ended { status: child.end()? });
                }
                Err(error) => return Err(error.into()),
            }
        }
        handed?;
        child.0 = None;
        Ok(Self { pid, channel })
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
struct NotReady(Option<Child>);

impl NotReady {
    fn id(&self) -> u32 {
        self.0.as_ref().map_or(0, Child::id)
    }

    fn end(&mut self) -> io::Result<ExitStatus> {
        let mut child = self.0.take().ok_or_else(|| io::Error::other("the process is gone"))?;
        child.wait()
    }
}

impl Drop for NotReady {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            // an error means that it has ended by itself
            let _ = child.kill();
            let _ = child.wait();
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
    /// The process that has started this one to take over, with the sockets that it hands over.
    pub(super) fn find() -> io::Result<Option<(Self, HandedSockets)>> {
        let parent = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().to_string());
        // the variable stays in the environment of what this process starts
        if parent.is_none() || std::env::var(PREDECESSOR).ok() != parent {
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
    let mut text = vec![0; 512];
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
