//! The TCP stream as russh gets it: read in large pieces, counted, and never waiting without end.
//!
//! russh writes a batch to the end before it reads again. Two such peers that both send a lot
//! would wait for each other for ever; so a write that has to wait reads ahead meanwhile, up to
//! more than what a peer's flow control lets it have in flight. And a write on which nothing moves
//! in either direction for the stall limit fails: keepalives cannot be sent or missed during it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use super::WINDOW_LEN;
use crate::Traffic;

/// A TCP stream for one SSH connection.
pub(crate) struct Socket {
    tcp: TcpStream,
    counters: Arc<Counters>,
    /// Bytes read but not yet handed out: `ahead[start..end]`.
    ahead: Vec<u8>,
    start: usize,
    end: usize,
    stall_limit: Duration,
    /// Runs while a write waits.
    stall: Option<Pin<Box<Sleep>>>,
}

/// Bytes that crossed the socket.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    sent: AtomicU64,
    received: AtomicU64,
}

impl Counters {
    pub(crate) fn traffic(&self) -> Traffic {
        Traffic {
            sent_bytes: self.sent.load(Ordering::Relaxed),
            received_bytes: self.received.load(Ordering::Relaxed),
        }
    }
}

impl Socket {
    pub(crate) fn new(tcp: TcpStream, stall_limit: Duration) -> (Socket, Arc<Counters>) {
        let counters = Arc::new(Counters::default());
        let socket = Socket {
            tcp,
            counters: Arc::clone(&counters),
            ahead: vec![0; READ_LEN],
            start: 0,
            end: 0,
            stall_limit,
            stall: None,
        };
        (socket, counters)
    }

    /// Reads once into the free end of the read-ahead buffer.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut free = ReadBuf::new(self.ahead.get_mut(self.end..).unwrap_or_default());
        ready!(Pin::new(&mut self.tcp).poll_read(cx, &mut free))?;
        let read_len = free.filled().len();
        self.end += read_len;
        let before = self
            .counters
            .received
            .fetch_add(read_len as u64, Ordering::Relaxed);
        if before < PROMPT_LEN {
            // It only makes things faster; whatever is wrong shows elsewhere.
            let _ = rustix::net::sockopt::set_tcp_quickack(&self.tcp, true);
        }
        Poll::Ready(Ok(read_len))
    }

    /// Reads what has arrived while a write waits; true if anything had.
    fn read_ahead(&mut self, cx: &mut Context<'_>) -> bool {
        let mut moved = false;
        loop {
            if self.end == self.ahead.len() {
                if self.start > 0 {
                    self.ahead.copy_within(self.start..self.end, 0);
                    self.end -= self.start;
                    self.start = 0;
                } else if self.ahead.len() < READ_AHEAD_MAX_LEN {
                    self.ahead.resize(self.ahead.len() * 2, 0);
                } else {
                    return moved;
                }
            }
            match self.poll_fill(cx) {
                Poll::Ready(Ok(read_len)) if read_len > 0 => moved = true,
                // End and errors are seen again by the next read or write.
                _ => return moved,
            }
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.start == this.end {
            this.start = 0;
            this.end = 0;
            if this.ahead.len() > READ_LEN {
                this.ahead.truncate(READ_LEN);
                this.ahead.shrink_to_fit();
            }
            if buf.remaining() >= DIRECT_READ_LEN {
                let filled_len = buf.filled().len();
                ready!(Pin::new(&mut this.tcp).poll_read(cx, buf))?;
                let read_len = buf.filled().len() - filled_len;
                this.counters
                    .received
                    .fetch_add(read_len as u64, Ordering::Relaxed);
                return Poll::Ready(Ok(()));
            }
            ready!(this.poll_fill(cx))?;
        }
        let len = buf.remaining().min(this.end - this.start);
        buf.put_slice(
            this.ahead
                .get(this.start..this.start + len)
                .unwrap_or_default(),
        );
        this.start += len;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if let Poll::Ready(written) = Pin::new(&mut this.tcp).poll_write(cx, buf) {
            this.stall = None;
            let written_len = written?;
            this.counters
                .sent
                .fetch_add(written_len as u64, Ordering::Relaxed);
            return Poll::Ready(Ok(written_len));
        }
        let moved = this.read_ahead(cx);
        let limit = this.stall_limit;
        let stall = this
            .stall
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        if moved {
            stall.as_mut().reset(Instant::now() + limit);
        }
        ready!(stall.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_shutdown(cx)
    }
}

/// What one read asks for: several packets.
const READ_LEN: usize = 256 * 1024;
/// What is received of this is acknowledged at once. sshd leaves Nagle's algorithm on and says
/// several things in a row after the login: the second would wait for the acknowledgement of the
/// first, which Linux delays by 40 ms. The kernel forgets the wish, so it is repeated.
const PROMPT_LEN: u64 = 8 * 1024;
/// A reader with this much room gets the bytes without a copy in between.
const DIRECT_READ_LEN: usize = 48 * 1024;
/// More than a peer may have in flight by the window we grant, its packet overhead included.
const READ_AHEAD_MAX_LEN: usize = 2 * WINDOW_LEN as usize;
