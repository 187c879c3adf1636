//! The thread that looks whether certificates have changed: those that listeners show, and those that sign an upstream's.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use crate::config::Watched;

/// How often the files are read. What is new is taken over at the second look that finds it.
const INTERVAL: Duration = Duration::from_secs(1);

/// The thread, seen from outside; dropping this ends it. It belongs to no other thread: a network's file system may hang.
pub(super) struct CertificateWatch(Sender<Vec<Arc<dyn Watched>>>);

impl CertificateWatch {
    /// Starts to look at these files.
    pub(super) fn spawn(mut files: Vec<Arc<dyn Watched>>) -> io::Result<Self> {
        let (sender, receiver) = channel();
        std::thread::Builder::new().name("certificates".to_owned()).spawn(move || {
            loop {
                match receiver.recv_timeout(INTERVAL) {
                    Ok(others) => files = others,
                    Err(RecvTimeoutError::Timeout) => files.iter().for_each(|files| files.look()),
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        })?;
        Ok(Self(sender))
    }

    /// Looks at these files from now on.
    pub(super) fn watch(&self, files: Vec<Arc<dyn Watched>>) {
        // an error would mean that the thread is gone, which it is only after a panic
        let _ = self.0.send(files);
    }
}
