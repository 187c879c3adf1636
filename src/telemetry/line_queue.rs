//! A bounded queue of log lines to a thread that writes them: only that thread waits for a slow disk.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use super::LogThrottle;

/// How long the process waits at its end for lines that are still in a queue. A terminal that nobody reads would otherwise
/// hold it for ever.
const FLUSH_LIMIT: Duration = Duration::from_secs(2);

/// Where lines end up.
pub(super) trait Output: Send + 'static {
    fn write(&mut self, lines: &[u8]) -> io::Result<()>;

    /// Opens the file again under its name, after it was moved away.
    fn reopen(&mut self) -> io::Result<()>;
}

/// Standard output or standard error: nothing to open.
impl<W: Write + Send + 'static> Output for W {
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        self.write_all(lines)?;
        self.flush()
    }

    fn reopen(&mut self) -> io::Result<()> {
        Ok(())
    }
}

enum Message {
    Lines { text: Vec<u8>, count: u64 },
    Reopen,
    Flush(SyncSender<()>),
}

/// The end of the queue that lines go into; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct LineQueue {
    sender: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
}

// `Message` holds log lines; its Debug would be of no use
impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Message")
    }
}

impl LineQueue {
    /// Starts the thread; at most `capacity` pieces wait in the queue.
    pub(super) fn start(name: &str, capacity: usize, output: impl Output) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(capacity);
        let dropped = Arc::new(AtomicU64::new(0));
        let lost = Arc::clone(&dropped);
        let told = name.replace('-', " ");
        thread::Builder::new().name(name.to_owned()).spawn(move || write(&told, &receiver, output, &lost))?;
        Ok(Self { sender, dropped })
    }

    /// Hands over `text`, which holds `count` lines. Where the queue is full they are dropped and counted, and the
    /// emptied buffer comes back.
    pub(super) fn push(&self, text: Vec<u8>, count: u64) -> Option<Vec<u8>> {
        match self.sender.try_send(Message::Lines { text, count }) {
            Ok(()) => None,
            Err(TrySendError::Full(message) | TrySendError::Disconnected(message)) => {
                self.dropped.fetch_add(count, Ordering::Relaxed);
                let Message::Lines { mut text, .. } = message else { return None };
                text.clear();
                Some(text)
            }
        }
    }

    /// Lines that were lost: the queue was full, or they could not be written.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Asks the thread to open its file again; `false` where it takes nothing for two seconds. Waits where the queue
    /// is full: not for threads that serve requests.
    pub(super) fn reopen(&self) -> bool {
        self.hand_over(Message::Reopen, Instant::now() + FLUSH_LIMIT)
    }

    /// Waits until all that was handed over before is written, two seconds at most.
    pub(super) fn flush(&self) {
        let (done, written) = sync_channel(1);
        let deadline = Instant::now() + FLUSH_LIMIT;
        if self.hand_over(Message::Flush(done), deadline) {
            // an error is the deadline, or a thread that is gone
            let _ = written.recv_timeout(deadline.saturating_duration_since(Instant::now()));
        }
    }

    /// Waits for room in the queue; `false`: there was none until `deadline`.
    fn hand_over(&self, mut message: Message, deadline: Instant) -> bool {
        while let Err(TrySendError::Full(back)) = self.sender.try_send(message) {
            if Instant::now() >= deadline {
                return false;
            }
            message = back;
            thread::sleep(Duration::from_millis(5));
        }
        // an error would mean that the thread is gone, and with it the file
        true
    }
}

/// The thread: writes until the last sender is gone.
fn write(name: &str, receiver: &Receiver<Message>, mut output: impl Output, dropped: &AtomicU64) {
    // After an error the last line may be torn: a line break keeps the next one whole.
    let mut torn = false;
    let (mut told, log_throttle) = (0, LogThrottle::default());
    while let Ok(message) = receiver.recv() {
        match message {
            Message::Lines { text, count } => {
                let separated = if torn { output.write(b"\n") } else { Ok(()) };
                let written = separated.and_then(|()| output.write(&text));
                // logged at the first failure only: the log may be on the same disk
                match &written {
                    Err(error) if !torn => {
                        tracing::error!(%error, "lines of the {name} are lost until it can be written again");
                    }
                    Ok(()) if torn => tracing::info!("the {name} can be written again"),
                    _ => {}
                }
                torn = written.is_err();
                if torn {
                    dropped.fetch_add(count, Ordering::Relaxed);
                }
                let lost = dropped.load(Ordering::Relaxed);
                if !torn && lost > told && log_throttle.should_log() {
                    tracing::warn!(
                        lines = lost - told,
                        "lines of the {name} are lost: what takes them is too slow"
                    );
                    told = lost;
                }
            }
            // where the new file cannot be opened the old one goes on being written: no line is lost
            Message::Reopen => {
                if let Err(error) = output.reopen() {
                    tracing::error!(%error, "cannot open the access log again, going on with the old file");
                }
            }
            Message::Flush(done) => {
                // an error means that the one who asked has stopped waiting
                let _ = done.try_send(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, mpsc};

    use super::*;

    /// An output that holds the thread until it is let go.
    struct Gate {
        entered: SyncSender<()>,
        open: mpsc::Receiver<()>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Output for Gate {
        fn write(&mut self, lines: &[u8]) -> io::Result<()> {
            self.entered.send(()).unwrap();
            self.open.recv().map_err(io::Error::other)?;
            self.written.lock().unwrap().extend_from_slice(lines);
            Ok(())
        }

        fn reopen(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_queue_drops_and_counts_and_never_waits() {
        let (entered, has_entered) = sync_channel(10);
        let (let_go, open) = mpsc::channel();
        let written = Arc::default();
        let gate = Gate { entered, open, written: Arc::clone(&written) };
        let queue = LineQueue::start("test-log", 2, gate).unwrap();

        assert!(queue.push(b"one\n".to_vec(), 1).is_none());
        has_entered.recv_timeout(Duration::from_secs(10)).unwrap(); // the thread holds line one
        assert!(queue.push(b"two\n".to_vec(), 1).is_none());
        assert!(queue.push(b"three\n".to_vec(), 1).is_none());
        assert_eq!(queue.push(b"four\nfive\n".to_vec(), 2), Some(Vec::new()), "the buffer comes back empty");
        assert_eq!(queue.dropped(), 2);

        for _ in 0..3 {
            let_go.send(()).unwrap();
        }
        queue.flush();
        assert_eq!(written.lock().unwrap().as_slice(), b"one\ntwo\nthree\n");
    }

    #[test]
    fn a_target_that_takes_nothing_does_not_hold_who_wants_it_opened_again() {
        let (entered, has_entered) = sync_channel(10);
        let (_let_go, open) = mpsc::channel();
        let queue = LineQueue::start("test-log", 1, Gate { entered, open, written: Arc::default() }).unwrap();
        queue.push(b"one\n".to_vec(), 1);
        has_entered.recv_timeout(Duration::from_secs(10)).unwrap();
        queue.push(b"two\n".to_vec(), 1);

        let (done, is_done) = sync_channel(1);
        thread::spawn(move || done.send(queue.reopen()));
        assert!(!is_done.recv_timeout(Duration::from_secs(10)).expect("it gives up"));
    }

    /// An output that breaks in the middle of its first line.
    struct Breaks(Arc<Mutex<Vec<u8>>>, bool);

    impl Output for Breaks {
        fn write(&mut self, lines: &[u8]) -> io::Result<()> {
            let mut written = self.0.lock().unwrap();
            if std::mem::take(&mut self.1) {
                written.extend_from_slice(&lines[..2]);
                return Err(io::ErrorKind::StorageFull.into());
            }
            written.extend_from_slice(lines);
            Ok(())
        }

        fn reopen(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_torn_line_does_not_spoil_the_next() {
        let written = Arc::default();
        let queue = LineQueue::start("test-log", 8, Breaks(Arc::clone(&written), true)).unwrap();
        queue.push(b"first\n".to_vec(), 1);
        queue.push(b"second\n".to_vec(), 1);
        queue.flush();
        assert_eq!(written.lock().unwrap().as_slice(), b"fi\nsecond\n");
        assert_eq!(queue.dropped(), 1);
    }
}
