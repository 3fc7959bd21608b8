//! A program beside the server, such as another service that it talks to.

use std::process::Stdio;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::Launch;
use crate::launch::{POLL, Process};

/// Longest from the start to the first line.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// A program that runs until it is dropped or killed. Its standard input ends with this process, so
/// that it may end then too.
#[derive(Debug)]
pub struct Program {
    process: Process,
}

impl Program {
    /// Starts a program that says on its first line that it is ready; with that line.
    ///
    /// # Panics
    /// When it cannot be started, ends, or says nothing in time.
    pub async fn start(launch: &Launch) -> (Self, String) {
        let mut process = launch.spawn_with(Stdio::piped());
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            if let Some((line, _)) = process.stdout.text().split_once('\n') {
                return (Self { process }, line.to_owned());
            }
            if let Some(ended) = process.child.try_wait().expect("the child's status") {
                // What it said last is what matters.
                process.wait(Duration::ZERO).await;
                panic!("{launch:?}: {ended:?} at its start; it said:\n{}", process.said());
            }
            let said = || process.said();
            assert!(Instant::now() < deadline, "{launch:?} is not ready; it said:\n{}", said());
            sleep(POLL).await;
        }
    }

    /// Kills it at once, as `kill -9`.
    ///
    /// # Panics
    /// When the kernel does not let it.
    pub fn kill9(&mut self) {
        self.process.child.kill().expect("a child can be killed");
        self.process.child.wait().expect("a killed child ends");
    }
}
