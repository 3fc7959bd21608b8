//! The threads that serve connections.

use std::future::Future;
use std::io;
use std::num::NonZeroUsize;
use std::thread;

use tokio_util::task::TaskTracker;

use crate::thread::RuntimeThread;

/// Threads that each serve their own connections: a request is read, handled and answered on one.
///
/// What a handler spawns runs on the same thread until the value is dropped: drop it after
/// everything that such a task may still use.
#[derive(Debug)]
pub struct ConnectionThreads(Vec<ConnectionThread>);

#[derive(Debug)]
struct ConnectionThread {
    thread: RuntimeThread,
    connections: TaskTracker,
}

impl ConnectionThreads {
    /// Starts one thread for each processor that this process may use.
    ///
    /// # Errors
    /// When the system gives no more threads or files.
    pub fn start() -> io::Result<Self> {
        let count = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let start = |number| {
            let thread = RuntimeThread::start(format!("connections-{number}"))?;
            Ok(ConnectionThread { thread, connections: TaskTracker::new() })
        };
        (0..count).map(start).collect::<io::Result<_>>().map(Self)
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// The number, from 0, of the thread that has the fewest connections.
    pub(super) fn idlest(&self) -> usize {
        let idlest = self.0.iter().enumerate().min_by_key(|(_, thread)| thread.connections.len());
        idlest.expect("at least one thread").0
    }

    /// Runs a connection on the thread with this number.
    pub(super) fn spawn(
        &self,
        number: usize,
        connection: impl Future<Output = ()> + Send + 'static,
    ) {
        let ConnectionThread { thread, connections } = &self.0[number];
        connections.spawn_on(connection, thread.handle());
    }

    /// Connections that are open.
    pub(super) fn connections(&self) -> usize {
        self.0.iter().map(|thread| thread.connections.len()).sum()
    }

    /// Completes when no connection is left. Nothing may be spawned from here on.
    pub(super) async fn all_ended(&self) {
        for ConnectionThread { connections, .. } in &self.0 {
            connections.close();
            connections.wait().await;
        }
    }
}
