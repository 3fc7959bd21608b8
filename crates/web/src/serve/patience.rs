//! How long a connection is waited for.
//!
//! hyper has one timer for both a head that trickles in and a connection that is merely idle, and
//! arms it anew for each request. Here the two have their own bounds, and a request costs no timer:
//! the stream notes that bytes came, the service that a request began and ended, and the
//! connection's task looks at both, and at its one timer, whenever it has nothing else to do.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// What has happened on a connection. One task reads and writes it.
#[derive(Debug)]
pub(super) struct Patience {
    /// Requests whose head has been read.
    begun: AtomicU64,
    /// Requests whose answer has been made, or was given up.
    ended: AtomicU64,
    /// A part of a head has come; a new connection owes one.
    head_begun: AtomicBool,
    /// Bytes went either way since the last look.
    alive: AtomicBool,
}

impl Patience {
    /// With a new connection.
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            begun: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            head_begun: AtomicBool::new(true),
            alive: AtomicBool::new(true),
        })
    }

    /// A head has been read; the guard lives until its answer is made. Meanwhile the request's own
    /// time-out bounds it.
    pub(super) fn answering(self: &Arc<Self>) -> Answering {
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.head_begun.store(false, Ordering::Relaxed);
        Answering(Arc::clone(self))
    }

    fn is_answering(&self) -> bool {
        self.begun.load(Ordering::Relaxed) != self.ended.load(Ordering::Relaxed)
    }

    fn read(&self) {
        self.alive.store(true, Ordering::Relaxed);
        if !self.is_answering() {
            self.head_begun.store(true, Ordering::Relaxed);
        }
    }

    fn written(&self) {
        self.alive.store(true, Ordering::Relaxed);
    }
}

/// A request under way. Dropping it, also unanswered, ends it.
pub(super) struct Answering(Arc<Patience>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}

/// What the timer is set for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waiting {
    /// The rest of the head of this request.
    ForHead { request: u64 },
    /// Any sign of life.
    ForLife,
}

/// Completes when the peer has kept the connection waiting too long. It must be polled by the
/// connection's own task, after the connection.
pub(super) struct RunOut {
    patience: Arc<Patience>,
    head_timeout: Duration,
    idle_timeout: Duration,
    timer: Pin<Box<Sleep>>,
    waiting: Waiting,
}

impl RunOut {
    /// Waits for the first head of a new connection.
    pub(super) fn new(
        patience: Arc<Patience>,
        head_timeout: Duration,
        idle_timeout: Duration,
    ) -> Self {
        Self {
            patience,
            head_timeout,
            idle_timeout,
            timer: Box::pin(sleep(head_timeout)),
            waiting: Waiting::ForHead { request: 0 },
        }
    }

    fn arm(&mut self, waiting: Waiting) {
        let within = match waiting {
            Waiting::ForHead { .. } => self.head_timeout,
            Waiting::ForLife => self.idle_timeout,
        };
        self.timer.as_mut().reset(Instant::now() + within);
        self.waiting = waiting;
        self.patience.alive.store(false, Ordering::Relaxed);
    }
}

impl Future for RunOut {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.patience.is_answering() {
            return Poll::Pending;
        }
        let waiting = if self.patience.head_begun.load(Ordering::Relaxed) {
            Waiting::ForHead { request: self.patience.begun.load(Ordering::Relaxed) }
        } else {
            Waiting::ForLife
        };
        if self.waiting != waiting {
            self.arm(waiting);
        }
        loop {
            ready!(self.timer.as_mut().poll(context));
            if waiting != Waiting::ForLife || !self.patience.alive.load(Ordering::Relaxed) {
                return Poll::Ready(());
            }
            self.arm(waiting);
        }
    }
}

/// A stream that notes when bytes go through it.
pub(super) struct Noted<S> {
    stream: S,
    patience: Arc<Patience>,
}

impl<S> Noted<S> {
    pub(super) fn new(stream: S, patience: Arc<Patience>) -> Self {
        Self { stream, patience }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Noted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = ready!(Pin::new(&mut self.stream).poll_read(context, buffer));
        self.patience.read();
        Poll::Ready(read)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Noted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, buffer));
        self.patience.written();
        Poll::Ready(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(context, buffers));
        self.patience.written();
        Poll::Ready(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
