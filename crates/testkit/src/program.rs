//! A program beside the server, such as another service that it talks to.

use std::process::Stdio;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::Launch;
use crate::launch::{END_TIMEOUT, Ended, POLL, Process};

/// Longest from a start to the first line.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// How often one is started that says nothing: Node.js was seen to hang at its start, once in about
/// a thousand, for no reason that we found.
const STARTS_MAX: usize = 2;

/// A program that runs until it is dropped or killed. Its standard input ends with this process, so
/// that it may end then too.
#[derive(Debug)]
pub struct Program {
    process: Process,
}

impl Program {
    /// Starts a program that says on its first line that it is ready; with that line. One that
    /// hangs is started once more.
    ///
    /// # Panics
    /// When it cannot be started, ends, or says nothing in time.
    pub async fn start(launch: &Launch) -> (Self, String) {
        Self::start_within(launch, START_TIMEOUT).await
    }

    /// Starts a program that need not say anything.
    #[must_use]
    pub fn begin(launch: &Launch) -> Self {
        Self { process: launch.spawn() }
    }

    async fn start_within(launch: &Launch, limit: Duration) -> (Self, String) {
        let mut said = String::new();
        for _ in 0..STARTS_MAX {
            let process = launch.spawn_with(Stdio::piped());
            let mut program = Self { process };
            if let Some(line) = program.first_line(launch, limit).await {
                return (program, line);
            }
            program.kill9();
            said = program.process.said();
        }
        panic!("{launch:?} is not ready; it said:\n{said}");
    }

    /// None when there is none in time.
    async fn first_line(&mut self, launch: &Launch, limit: Duration) -> Option<String> {
        let (process, deadline) = (&mut self.process, Instant::now() + limit);
        loop {
            if let Some((line, _)) = process.stdout.text().split_once('\n') {
                return Some(line.to_owned());
            }
            if let Some(ended) = process.child.try_wait().expect("the child's status") {
                // What it said last is what matters.
                process.wait(Duration::ZERO).await;
                panic!("{launch:?}: {ended:?} at its start; it said:\n{}", process.said());
            }
            if Instant::now() >= deadline {
                return None;
            }
            sleep(POLL).await;
        }
    }

    /// Waits until it ends by itself.
    ///
    /// # Panics
    /// When it does not, in time.
    pub async fn end(&mut self) -> Ended {
        self.process.end(END_TIMEOUT).await
    }

    /// Stops it until [`wake`](Self::wake), as `kill -STOP`.
    ///
    /// # Panics
    /// When the kernel does not let it.
    pub fn stop(&self) {
        self.process.signal("STOP");
    }

    /// Lets it go on.
    ///
    /// # Panics
    /// When the kernel does not let it.
    pub fn wake(&self) {
        self.process.signal("CONT");
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Hangs the first time, and the second time if there is such a file.
    const SCRIPT: &str = "[ -e hung ] && [ ! -e always ] && echo ready; touch hung; cat";
    const LIMIT: Duration = Duration::from_secs(2);

    fn launch(directory: &tempfile::TempDir) -> Launch {
        let script = format!("cd {} && {{ {SCRIPT}; }}", directory.path().display());
        Launch::new("sh", &["-c", &script])
    }

    #[tokio::test]
    async fn one_that_hangs_is_started_once_more() {
        let directory = tempfile::tempdir().unwrap();
        let (_program, line) = Program::start_within(&launch(&directory), LIMIT).await;
        assert_eq!(line, "ready");
    }

    #[tokio::test]
    #[should_panic(expected = "is not ready")]
    async fn one_that_hangs_again_is_not_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("always"), "").unwrap();
        let _ = Program::start_within(&launch(&directory), LIMIT).await;
    }
}
