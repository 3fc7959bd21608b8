//! How long a connection is waited for.
//!
//! hyper has one timer for both a head that trickles in and a connection that is merely idle, and
//! arms it anew for each request. Here the two have their own bounds and a request costs no timer:
//! the stream itself notices that hyper asks for more bytes than have come, and only then looks at
//! its one timer.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// Which request a connection is at. While one is being answered its own time-out bounds it, and
/// the stream waits.
#[derive(Debug, Default)]
pub(super) struct Patience {
    /// Requests whose head has been read.
    begun: AtomicU64,
    /// Requests whose answer has been made, or was given up.
    ended: AtomicU64,
}

impl Patience {
    /// A head has been read; the guard lives until its answer is made.
    pub(super) fn answering(self: &Arc<Self>) -> Answering {
        self.begun.fetch_add(1, Ordering::Relaxed);
        Answering(Arc::clone(self))
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
    /// Not set.
    Nothing,
    /// The rest of a head.
    ForHead,
    /// Any sign of life.
    ForLife,
}

/// A stream that ends when its peer keeps it waiting too long.
pub(super) struct Patient<S> {
    stream: S,
    patience: Arc<Patience>,
    head_timeout: Duration,
    idle_timeout: Duration,
    timer: Pin<Box<Sleep>>,
    waiting: Waiting,
    /// Requests begun when the stream was last read.
    begun_before: u64,
    /// Bytes of a head have come, or the connection is new and owes one.
    head_begun: bool,
    /// Bytes went either way since the timer was set for life.
    alive: bool,
}

impl<S> Patient<S> {
    pub(super) fn new(
        stream: S,
        patience: Arc<Patience>,
        head_timeout: Duration,
        idle_timeout: Duration,
    ) -> Self {
        Self {
            stream,
            patience,
            head_timeout,
            idle_timeout,
            timer: Box::pin(sleep(head_timeout)),
            waiting: Waiting::ForHead,
            begun_before: 0,
            head_begun: true,
            alive: false,
        }
    }

    /// Whether a request is being answered; notes whether another has begun since the last look.
    fn look(&mut self) -> bool {
        let begun = self.patience.begun.load(Ordering::Relaxed);
        if begun != self.begun_before {
            self.begun_before = begun;
            self.head_begun = false;
            if self.waiting == Waiting::ForHead {
                self.waiting = Waiting::Nothing;
            }
        }
        begun != self.patience.ended.load(Ordering::Relaxed)
    }

    /// Whether the peer has kept us waiting too long; else the task is woken when it has.
    fn has_run_out(&mut self, context: &mut Context<'_>) -> bool {
        let (wanted, within) = if self.head_begun {
            (Waiting::ForHead, self.head_timeout)
        } else {
            (Waiting::ForLife, self.idle_timeout)
        };
        if self.waiting != wanted {
            self.set(wanted, within);
        }
        while self.timer.as_mut().poll(context).is_ready() {
            if wanted == Waiting::ForHead || !self.alive {
                return true;
            }
            self.set(wanted, within);
        }
        false
    }

    fn set(&mut self, waiting: Waiting, within: Duration) {
        self.timer.as_mut().reset(Instant::now() + within);
        self.waiting = waiting;
        self.alive = false;
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let answering = this.look();
        if let Poll::Ready(read) = Pin::new(&mut this.stream).poll_read(context, buffer) {
            this.alive = true;
            this.head_begun |= !answering;
            return Poll::Ready(read);
        }
        if !answering && this.has_run_out(context) {
            // The end of the stream: hyper closes without a word, as there is no one to hear it.
            return Poll::Ready(Ok(()));
        }
        Poll::Pending
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, buffer));
        self.alive = true;
        Poll::Ready(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(context, buffers));
        self.alive = true;
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
