//! Links without SSH of our own: a child over pipes, and our own standard input and output.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hasync_engine::describe;
use rustix::event::{PollFd, PollFlags, poll};

use crate::link::{failed_start, late, push_tail};
use crate::{Control, Error, ErrorKind, Finish, Link, Traffic};

/// Takes what a child says, piece by piece.
pub type Show = Box<dyn FnMut(&[u8]) + Send>;

/// Where a child's standard error goes.
pub enum ChildStderr {
    /// There, as it comes: for programs that talk to the user, such as `ssh`.
    Show(Show),
    /// Into [`Finish::stderr_tail`].
    Keep,
}

/// Starts `command` and links to its standard input and output. `peer` names it in messages.
pub fn spawn(mut command: Command, peer: &str, stderr: ChildStderr) -> Result<Link, Error> {
    let program = command.get_program().to_string_lossy().into_owned();
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|e| {
        Error::new(
            ErrorKind::Config,
            format!("{peer}: cannot run {program}: {}", describe(&e)),
        )
    })?;
    let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(Error::new(
            ErrorKind::Io,
            format!("{peer}: {program} has no pipes"),
        ));
    };
    let shared = Shared::new(peer);
    if let Some(output) = child.stderr.take() {
        let ours = Arc::clone(&shared);
        let take = move || match stderr {
            ChildStderr::Show(mut show) => read_all(output, |piece| show(piece)),
            ChildStderr::Keep => read_all(output, |piece| ours.keep_stderr(piece)),
        };
        let started = std::thread::Builder::new()
            .name("child stderr".to_owned())
            .spawn(take)
            .map_err(|e| Error::io("starting a thread", &e))?;
        *shared.lock_stderr_thread() = Some(started);
    }
    *shared.lock_child() = Some(child);
    // Only we hold these ends, so making them non-blocking concerns nobody else.
    link(stdout.into(), stdin.into(), true, shared)
}

/// Links to our own standard input and output, as sshd or [`spawn`] started us, and takes them
/// over.
pub fn stdio() -> Result<Link, Error> {
    let (input, output) = take_stdio()?;
    link(input, output, false, Shared::new("the peer"))
}

/// Takes over standard input and output: from now on file descriptors 0 and 1 are `/dev/null`, so
/// that nothing printed by accident can get into what they were.
pub fn take_stdio() -> Result<(OwnedFd, OwnedFd), Error> {
    let cannot = |e: io::Error| Error::io("taking over standard input and output", &e);
    let input = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3);
    let output = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3);
    let null = File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .map_err(cannot)?;
    let (input, output) = (
        input.map_err(|e| cannot(e.into()))?,
        output.map_err(|e| cannot(e.into()))?,
    );
    rustix::stdio::dup2_stdin(&null).map_err(|e| cannot(e.into()))?;
    rustix::stdio::dup2_stdout(&null).map_err(|e| cannot(e.into()))?;
    Ok((input, output))
}

fn link(
    input: OwnedFd,
    output: OwnedFd,
    nonblocking: bool,
    shared: Arc<Shared>,
) -> Result<Link, Error> {
    for fd in [&input, &output] {
        // A larger pipe saves switches; sockets and full user limits do without.
        let _ = rustix::pipe::fcntl_setpipe_size(fd, PIPE_LEN);
        if nonblocking {
            rustix::io::ioctl_fionbio(fd, true)
                .map_err(|e| Error::io("setting up a pipe", &e.into()))?;
        }
    }
    let reader = PipeReader {
        file: input.into(),
        shared: Arc::clone(&shared),
    };
    let writer = PipeWriter {
        file: output.into(),
        nonblocking,
        shared: Arc::clone(&shared),
    };
    Ok(Link {
        reader: Box::new(reader),
        writer: Box::new(BufWriter::with_capacity(WRITE_LEN, writer)),
        peer: shared.peer.clone(),
        control: Box::new(PipeControl {
            shared,
            finished: false,
        }),
    })
}

fn read_all(mut input: impl Read, mut take: impl FnMut(&[u8])) {
    let mut buffer = [0; 4096];
    while let Ok(len @ 1..) = input.read(&mut buffer) {
        take(buffer.get(..len).unwrap_or_default());
    }
}

struct Shared {
    peer: String,
    sent: AtomicU64,
    received: AtomicU64,
    /// Negative for none.
    io_timeout_ms: AtomicI64,
    deadline: Mutex<Option<Instant>>,
    /// Absent for our own standard input and output.
    child: Mutex<Option<Child>>,
    stderr_tail: Mutex<Vec<u8>>,
    stderr_thread: Mutex<Option<JoinHandle<()>>>,
}

impl Shared {
    fn new(peer: &str) -> Arc<Shared> {
        Arc::new(Shared {
            peer: peer.to_owned(),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            io_timeout_ms: AtomicI64::new(-1),
            deadline: Mutex::default(),
            child: Mutex::new(None),
            stderr_tail: Mutex::default(),
            stderr_thread: Mutex::default(),
        })
    }

    fn keep_stderr(&self, piece: &[u8]) {
        let mut tail = self
            .stderr_tail
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        push_tail(&mut tail, piece);
    }

    fn lock_stderr_thread(&self) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        self.stderr_thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn deadline(&self) -> Option<Instant> {
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for `fd`, until the deadline, or until nothing was received for as long as the I/O
    /// timeout.
    fn wait(&self, fd: &File, flags: PollFlags) -> io::Result<()> {
        let limit_ms = self.io_timeout_ms.load(Ordering::Relaxed);
        let limit = Duration::from_millis(limit_ms.max(0).unsigned_abs());
        let deadline = self.deadline();
        let heard = || self.received.load(Ordering::Relaxed);
        let (mut start, mut heard_before) = (Instant::now(), heard());
        loop {
            let mut fds = [PollFd::from_borrowed_fd(fd.as_fd(), flags)];
            let now = Instant::now();
            let silence = (limit_ms >= 0).then(|| limit.saturating_sub(now - start));
            let left = deadline.map(|deadline| deadline.saturating_duration_since(now));
            let left = silence.into_iter().chain(left).min();
            let left = left.map(TryInto::try_into).transpose();
            match poll(&mut fds, left.unwrap_or_default().as_ref()) {
                Ok(0) if deadline.is_some_and(|deadline| deadline <= Instant::now()) => {
                    return Err(late(&self.peer).into());
                }
                Ok(0) if heard() != heard_before => {
                    (start, heard_before) = (Instant::now(), heard());
                }
                Ok(0) => {
                    let what = format!("{}: no data for {} s", self.peer, limit.as_secs());
                    return Err(Error::new(ErrorKind::Timeout, what).into());
                }
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }

    fn is_limited(&self) -> bool {
        self.io_timeout_ms.load(Ordering::Relaxed) >= 0 || self.deadline().is_some()
    }

    /// How long the child may take to end: no longer than it may be silent.
    fn finish_wait(&self) -> Duration {
        let limit_ms = u64::try_from(self.io_timeout_ms.load(Ordering::Relaxed));
        limit_ms.map_or(FINISH_WAIT, |limit_ms| {
            FINISH_WAIT.min(Duration::from_millis(limit_ms))
        })
    }

    /// How the child ended, if it does within `limit`.
    fn ended(&self, limit: Duration) -> Option<Finish> {
        let start = Instant::now();
        loop {
            let status = self.lock_child().as_mut()?.try_wait().ok()?;
            if let Some(status) = status {
                self.wait_for_stderr();
                return Some(self.finish(status));
            }
            if start.elapsed() >= limit {
                return None;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// The last words of a child may be read a moment after its end; but whoever inherited its
    /// standard error can keep that open for ever.
    fn wait_for_stderr(&self) {
        let start = Instant::now();
        let thread = self.lock_stderr_thread();
        let running = || thread.as_ref().is_some_and(|thread| !thread.is_finished());
        while running() && start.elapsed() < STDERR_WAIT {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn finish(&self, status: ExitStatus) -> Finish {
        let stderr_tail = self
            .stderr_tail
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        Finish {
            exit_code: status.code().and_then(|code| u32::try_from(code).ok()),
            signal: status.signal().map(|signal| signal.to_string()),
            stderr_tail,
            traffic: self.traffic(),
        }
    }

    fn traffic(&self) -> Traffic {
        Traffic {
            sent_bytes: self.sent.load(Ordering::Relaxed),
            received_bytes: self.received.load(Ordering::Relaxed),
        }
    }

    /// A child that ended with a failure before its first byte never did what it was started for.
    fn failed_start(&self) -> Option<Error> {
        if self.received.load(Ordering::Relaxed) > 0 {
            return None;
        }
        failed_start(&self.peer, &self.ended(STATUS_WAIT)?)
    }
}

struct PipeReader {
    file: File,
    shared: Arc<Shared>,
}

impl Read for PipeReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        if self.shared.is_limited() {
            self.shared.wait(&self.file, PollFlags::IN)?;
        }
        loop {
            match self.file.read(buf) {
                Ok(0) => return self.shared.failed_start().map_or(Ok(0), |e| Err(e.into())),
                Ok(len) => {
                    self.shared
                        .received
                        .fetch_add(len as u64, Ordering::Relaxed);
                    return Ok(len);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    self.shared.wait(&self.file, PollFlags::IN)?;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }
}

struct PipeWriter {
    file: File,
    nonblocking: bool,
    shared: Arc<Shared>,
}

impl Write for PipeWriter {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        loop {
            let mut now = buf;
            if !self.nonblocking && self.shared.is_limited() {
                self.shared.wait(&self.file, PollFlags::OUT)?;
                // What poll calls writable takes this much without blocking, and maybe no more.
                now = buf.get(..ATOMIC_LEN).unwrap_or(buf);
            }
            match self.file.write(now) {
                Ok(len) => {
                    self.shared.sent.fetch_add(len as u64, Ordering::Relaxed);
                    return Ok(len);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    self.shared.wait(&self.file, PollFlags::OUT)?;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::BrokenPipe => {
                    let closed = || {
                        let peer = &self.shared.peer;
                        let what = format!("{peer}: closed the stream while data was being sent");
                        Error::new(ErrorKind::Closed, what)
                    };
                    return Err(self.shared.failed_start().unwrap_or_else(closed).into());
                }
                Err(e) => return Err(e),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct PipeControl {
    shared: Arc<Shared>,
    finished: bool,
}

impl Control for PipeControl {
    fn finish(mut self: Box<Self>) -> Result<Finish, Error> {
        if self.shared.lock_child().is_none() {
            return Ok(Finish {
                traffic: self.shared.traffic(),
                ..Finish::default()
            });
        }
        let limit = self.shared.finish_wait();
        let finish = self.shared.ended(limit);
        self.finished = finish.is_some();
        finish.ok_or_else(|| {
            let (peer, limit_s) = (&self.shared.peer, limit.as_secs());
            Error::new(
                ErrorKind::Timeout,
                format!("{peer}: did not end within {limit_s} s"),
            )
        })
    }

    fn set_io_timeout(&self, limit: Option<Duration>) {
        let limit_ms = limit.map_or(-1, |limit| limit.as_millis().try_into().unwrap_or(i64::MAX));
        self.shared.io_timeout_ms.store(limit_ms, Ordering::Relaxed);
    }

    fn set_deadline(&self, deadline: Option<Instant>) {
        let own = self.shared.deadline.lock();
        *own.unwrap_or_else(PoisonError::into_inner) = deadline;
    }

    fn traffic(&self) -> Traffic {
        self.shared.traffic()
    }
}

impl Drop for PipeControl {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        // An abandoned child must not linger on: nothing can be said to it any more.
        if let Some(child) = self.shared.lock_child().as_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What a pipe is asked to hold; the most an unprivileged process may ask for by default.
const PIPE_LEN: usize = 1 << 20;
/// Writes are collected up to this.
const WRITE_LEN: usize = 256 * 1024;
/// `PIPE_BUF`: what a writable pipe takes at once.
const ATOMIC_LEN: usize = 4096;
/// How long after the end of its output a child's status may take.
const STATUS_WAIT: Duration = Duration::from_secs(2);
/// How long after a child's end its last words may take.
const STDERR_WAIT: Duration = Duration::from_secs(2);
/// How long a child may take to exit after both directions are finished.
const FINISH_WAIT: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn shell(script: &str) -> Link {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        spawn(command, "child", ChildStderr::Keep).unwrap()
    }

    /// Sends and receives at once, and compares.
    fn round_trip(link: Link, len: usize) -> Finish {
        let data: Vec<u8> = (0..len).map(|i| ((i * 31) >> 3) as u8).collect();
        let (mut reader, mut writer) = (link.reader, link.writer);
        let mut back = Vec::new();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for piece in data.chunks(100_003) {
                    writer.write_all(piece).unwrap();
                }
                drop(writer);
            });
            reader.read_to_end(&mut back).unwrap();
        });
        assert!(back == data);
        link.control.finish().unwrap()
    }

    #[test]
    fn data_comes_back_whole() {
        let finish = round_trip(shell("cat; echo bye >&2; exit 3"), 20_000_000);
        assert_eq!(finish.exit_code, Some(3));
        assert_eq!(finish.stderr_tail, b"bye\n");
        let expected = Traffic {
            sent_bytes: 20_000_000,
            received_bytes: 20_000_000,
        };
        assert_eq!(finish.traffic, expected);
    }

    #[test]
    fn data_comes_back_whole_under_a_timeout() {
        let link = shell("cat");
        link.control.set_io_timeout(Some(Duration::from_secs(60)));
        round_trip(link, 3_000_000);
    }

    #[test]
    fn flush_sends_at_once() {
        let mut link = shell("head -c 2; cat >/dev/null");
        link.writer.write_all(b"ab").unwrap();
        link.writer.flush().unwrap();
        let mut two = [0; 2];
        link.reader.read_exact(&mut two).unwrap();
        assert_eq!(&two, b"ab");
    }

    #[test]
    fn a_child_that_cannot_start_says_why() {
        let gone = spawn(Command::new("/nonexistent/rsh"), "b", ChildStderr::Keep);
        assert_eq!(gone.err().map(|e| e.kind()), Some(ErrorKind::Config));
        let mut link = shell("no-such-program-here");
        let error = link.reader.read(&mut [0; 8]).unwrap_err();
        assert_eq!(
            Error::of(&error).unwrap().kind(),
            ErrorKind::CommandNotFound
        );
    }

    #[test]
    fn a_child_that_drips_runs_into_the_deadline() {
        let link = shell("while printf .; do sleep 0.01; done");
        link.control.set_io_timeout(Some(Duration::from_secs(60)));
        let deadline = Instant::now() + Duration::from_millis(100);
        link.control.set_deadline(Some(deadline));
        let mut reader = link.reader;
        let mut byte = [0];
        let error = std::iter::repeat_with(|| reader.read(&mut byte)).find_map(Result::err);
        let error = error.unwrap();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(Instant::now() >= deadline);
        link.control.set_deadline(None);
        reader.read_exact(&mut byte).unwrap();
    }

    #[test]
    fn a_silent_child_runs_into_the_timeout() {
        let mut link = shell("sleep 600");
        link.control.set_io_timeout(Some(Duration::from_millis(20)));
        let error = link.reader.read(&mut [0; 8]).unwrap_err();
        assert_eq!(Error::of(&error).unwrap().kind(), ErrorKind::Timeout);
        let full = vec![0; 4 << 20];
        let error = link.writer.write_all(&full).unwrap_err();
        assert_eq!(Error::of(&error).unwrap().kind(), ErrorKind::Timeout);
    }

    #[test]
    fn a_child_that_does_not_leave_is_waited_for_no_longer_than_it_may_be_silent() {
        let link = shell("exec sleep 600");
        link.control.set_io_timeout(Some(Duration::from_millis(20)));
        let error = link.control.finish().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert!(error.to_string().ends_with("within 0 s"), "{error}");
    }

    #[test]
    fn a_child_that_speaks_may_let_a_write_wait() {
        let link = shell("for i in 1 2 3 4 5 6 7 8; do echo; sleep 0.2; done; cat >/dev/null");
        link.control
            .set_io_timeout(Some(Duration::from_millis(1000)));
        let Link {
            mut reader,
            mut writer,
            ..
        } = link;
        let listening = std::thread::spawn(move || reader.read_to_end(&mut Vec::new()));
        writer.write_all(&vec![0; 4 << 20]).unwrap();
        writer.flush().unwrap();
        drop(writer);
        assert_eq!(listening.join().unwrap().unwrap(), 8);
    }

    #[test]
    fn a_child_that_stops_reading_is_noticed() {
        let mut link = shell("echo x; exec sleep 0");
        let error = loop {
            if let Err(error) = link.writer.write_all(&[0; 65_536]) {
                break error;
            }
        };
        let kind = Error::of(&error).unwrap().kind();
        assert!(matches!(kind, ErrorKind::Closed), "{kind:?}");
    }
}
