//! The threads that serve connections.

use std::future::Future;
use std::io;
use std::num::NonZeroUsize;
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Threads that each serve their own connections, with a runtime of their own.
///
/// A request is read, handled and answered on one thread: no task moves between threads, and to
/// wake one costs no system call. In turn a handler that computes for long keeps the other
/// connections of its thread waiting; such work belongs on `spawn_blocking`.
///
/// What a handler spawns lives on the same thread, until the value is dropped: drop it after
/// everything that such a task may still use.
#[derive(Debug)]
pub struct ConnectionThreads {
    threads: Vec<ConnectionThread>,
    ended: CancellationToken,
}

/// One thread.
#[derive(Debug)]
struct ConnectionThread {
    runtime: Handle,
    connections: TaskTracker,
}

impl ConnectionThreads {
    /// Starts one thread for each processor that this process may use.
    ///
    /// # Errors
    /// When the system gives no more threads or files.
    pub fn start() -> io::Result<Self> {
        Self::start_some(thread::available_parallelism().unwrap_or(NonZeroUsize::MIN))
    }

    /// Starts so many threads.
    ///
    /// # Errors
    /// When the system gives no more threads or files.
    pub fn start_some(count: NonZeroUsize) -> io::Result<Self> {
        let ended = CancellationToken::new();
        // What has started by the time that one fails ends with this.
        let mut started = Self { threads: Vec::with_capacity(count.get()), ended };
        for number in 0..count.get() {
            let thread = ConnectionThread::start(number, started.ended.clone())?;
            started.threads.push(thread);
        }
        Ok(started)
    }

    /// Runs a connection on the thread that has the fewest.
    pub(super) fn spawn(&self, connection: impl Future<Output = ()> + Send + 'static) {
        let idlest = self.threads.iter().min_by_key(|thread| thread.connections.len());
        let ConnectionThread { runtime, connections } = idlest.expect("at least one thread");
        connections.spawn_on(connection, runtime);
    }

    /// Connections that are open.
    pub(super) fn connections(&self) -> usize {
        self.threads.iter().map(|thread| thread.connections.len()).sum()
    }

    /// Completes when no connection is left. Nothing may be spawned from here on.
    pub(super) async fn all_ended(&self) {
        for thread in &self.threads {
            thread.connections.close();
            thread.connections.wait().await;
        }
    }
}

impl ConnectionThread {
    fn start(number: usize, ended: CancellationToken) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        thread::Builder::new().name(format!("connections-{number}")).spawn(move || {
            runtime.block_on(ended.cancelled());
            runtime.shutdown_background();
        })?;
        Ok(Self { runtime: handle, connections: TaskTracker::new() })
    }
}

impl Drop for ConnectionThreads {
    fn drop(&mut self) {
        self.ended.cancel();
    }
}
