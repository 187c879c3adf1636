//! The control socket: what `portcullis reload`, `upgrade` and `health` ask a running gateway by, and are answered. A Unix
//! socket beside the store, for the user that the gateway runs as, and root.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};

/// How long a command may take to say what it wants.
const ASK_WITHIN: Duration = Duration::from_secs(5);

/// How long a gateway that works may take to say so.
const HEALTH_WITHIN: Duration = Duration::from_secs(10);

/// What a running gateway can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControlRequest {
    /// Take the configuration over, as far as a running gateway can.
    Reload,
    /// Hand over to the program and the configuration that are in the files now.
    Upgrade,
    /// Say whether requests with keys are decided.
    Health,
}

impl ControlRequest {
    const ALL: [Self; 3] = [Self::Reload, Self::Upgrade, Self::Health];

    fn word(self) -> &'static str {
        match self {
            Self::Reload => "reload",
            Self::Upgrade => "upgrade",
            Self::Health => "health",
        }
    }
}

/// Done, and what to say of it; or why not, in one or several lines.
pub(super) type ControlAnswer = Result<String, String>;

/// A request, and where its answer goes.
pub(super) type Asked = (ControlRequest, oneshot::Sender<ControlAnswer>);

/// Why a running gateway could not be asked, or has refused.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Nobody answers there.
    #[error(
        "no gateway runs with this configuration, as far as this user can see: {} {}. A gateway is found by the path of its \
         store: one that was started with another store is stopped and started again",
        path.display(),
        absence(error)
    )]
    NotRunning {
        /// the socket
        path: PathBuf,
        /// what the system said
        error: io::Error,
    },
    /// It does not say how it went.
    #[error("the gateway did not answer ({0}): its log says what it has done")]
    NoAnswer(io::Error),
    /// A thread of it is stuck.
    #[error(
        "the gateway runs, but did not answer within {HEALTH_WITHIN:?}: it hangs, or its machine is overloaded"
    )]
    Stuck,
    /// It has refused, for this reason.
    #[error("{0}")]
    Refused(String),
}

fn absence(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "is not there".to_owned(),
        io::ErrorKind::ConnectionRefused => "is not answered".to_owned(),
        _ => format!("cannot be used ({error})"),
    }
}

fn path_of(store: &Path) -> PathBuf {
    let mut name = store.as_os_str().to_owned();
    name.push(".control");
    name.into()
}

/// Asks the gateway whose store has this file, and waits for its answer.
pub fn ask(store: &Path, request: ControlRequest) -> Result<String, ControlError> {
    use std::io::{Read as _, Write as _};

    let path = path_of(store);
    let mut stream = match std::os::unix::net::UnixStream::connect(&path) {
        Ok(stream) => stream,
        Err(error) => return Err(ControlError::NotRunning { path, error }),
    };
    if request == ControlRequest::Health {
        // a thread that is stuck does not answer
        stream.set_read_timeout(Some(HEALTH_WITHIN)).map_err(ControlError::NoAnswer)?;
    }
    let mut text = String::new();
    stream
        .write_all(format!("{}\n", request.word()).as_bytes())
        .and_then(|()| stream.read_to_string(&mut text))
        .map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => ControlError::Stuck,
            _ => ControlError::NoAnswer(error),
        })?;
    let text = text.trim_end();
    match text.split_once(' ') {
        Some(("done", said)) => Ok(said.to_owned()),
        Some(("refused", why)) => Err(ControlError::Refused(why.to_owned())),
        _ => Err(ControlError::NoAnswer(io::ErrorKind::UnexpectedEof.into())),
    }
}

/// The socket of a running gateway. Dropped, it is gone, unless another process has put its own there.
pub(super) struct ControlSocket {
    path: PathBuf,
    inode: u64,
    task: tokio::task::JoinHandle<()>,
}

impl ControlSocket {
    /// Listens there. A socket that is there already belongs to a process that is gone, or that this one takes over from.
    pub(super) fn open(store: &Path, asked: mpsc::UnboundedSender<Asked>) -> io::Result<Self> {
        let path = path_of(store);
        let mut own = path.clone().into_os_string();
        own.push(format!(".{}", std::process::id()));
        let own = PathBuf::from(own);
        let listener = UnixListener::bind(&own)?;
        let placed = std::fs::metadata(&own).and_then(|own_file| {
            std::fs::set_permissions(&own, Permissions::from_mode(0o600))?;
            std::fs::rename(&own, &path)?;
            Ok(own_file.ino())
        });
        let inode = placed.inspect_err(|_| {
            // nothing is lost if it stays
            let _ = std::fs::remove_file(&own);
        })?;
        let task = tokio::spawn(serve(listener, asked));
        Ok(Self { path, inode, task })
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        self.task.abort();
        if std::fs::metadata(&self.path).is_ok_and(|there| there.ino() == self.inode) {
            // a socket that stays is replaced at the next start
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

async fn serve(listener: UnixListener, asked: mpsc::UnboundedSender<Asked>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let asked = asked.clone();
                tokio::spawn(async move {
                    if let Err(error) = answer(stream, &asked).await {
                        tracing::debug!(%error, "a command at the control socket has gone");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the control socket takes no commands for a moment");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn answer(mut stream: UnixStream, asked: &mpsc::UnboundedSender<Asked>) -> io::Result<()> {
    // the folder of the store may be open to others
    let peer = stream.peer_cred()?.uid();
    if peer != 0 && peer != rustix::process::geteuid().as_raw() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let mut text = [0; 16];
    let length = tokio::time::timeout(ASK_WITHIN, stream.read(&mut text)).await??;
    let word = String::from_utf8_lossy(&text[..length]);
    let request = ControlRequest::ALL.into_iter().find(|request| request.word() == word.trim_end());
    let answer = match request {
        None => Err("this gateway does not know that command: it is of another version".to_owned()),
        Some(request) => {
            let (done, answered) = oneshot::channel();
            // both fail only where the gateway is stopping
            let _ = asked.send((request, done));
            answered.await.unwrap_or_else(|_| Err("the gateway is stopping".to_owned()))
        }
    };
    let line = match answer {
        Ok(said) => format!("done {said}\n"),
        Err(why) => format!("refused {why}\n"),
    };
    stream.write_all(line.as_bytes()).await
}
