//! Threads with a runtime of their own.

use std::future::Future;
use std::io;
use std::thread;
use std::time::Duration;

use metrics::{describe_gauge, gauge};
use tokio::runtime::{Builder, Handle};
use tokio::task::JoinHandle;
use tokio::time::{Instant, interval};
use tokio_util::sync::{CancellationToken, DropGuard};

const BUSY_RATIO: &str = "firstcome_thread_busy_ratio";
/// How often a thread tells how busy it was.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// Declares the metric of the threads with its help text. Call it once a recorder is installed.
pub fn describe_metrics() {
    describe_gauge!(
        BUSY_RATIO,
        "Share of the last five seconds that a thread of its own was busy."
    );
}

/// A thread that runs tasks one after the other, until the value is dropped.
///
/// A task there never changes its thread, and to wake another task there costs no system call. In
/// turn a task that computes for long keeps the others waiting; if they can, such work belongs on
/// `spawn_blocking`.
#[derive(Debug)]
pub struct RuntimeThread {
    runtime: Handle,
    _ends: DropGuard,
}

impl RuntimeThread {
    /// Starts a thread of this name.
    ///
    /// # Errors
    /// When the system gives no more threads or files.
    pub fn start(name: String) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let ended = CancellationToken::new();
        let ends = ended.clone().drop_guard();
        handle.spawn(tell_busy_ratio(name.clone()));
        thread::Builder::new().name(name).spawn(move || {
            runtime.block_on(ended.cancelled());
            runtime.shutdown_background();
        })?;
        Ok(Self { runtime: handle, _ends: ends })
    }

    /// Runs a task there.
    pub fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.runtime.spawn(task)
    }

    /// The runtime.
    pub(crate) fn handle(&self) -> &Handle {
        &self.runtime
    }
}

/// Tells how busy the thread is that runs this, for as long as it does.
async fn tell_busy_ratio(thread: String) {
    let metrics = Handle::current().metrics();
    let busy = || metrics.worker_total_busy_duration(0);
    let (mut told_at, mut busy_then) = (Instant::now(), busy());
    let mut interval = interval(TELL_EVERY);
    loop {
        interval.tick().await;
        let (now, busy_now) = (Instant::now(), busy());
        let ratio = (busy_now - busy_then).div_duration_f64(now - told_at);
        gauge!(BUSY_RATIO, "thread" => thread.clone()).set(if ratio.is_finite() {
            ratio
        } else {
            0.0
        });
        (told_at, busy_then) = (now, busy_now);
    }
}
