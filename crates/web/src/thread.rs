//! Threads with a runtime of their own.

use std::future::Future;
use std::io;
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

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
