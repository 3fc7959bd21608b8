//! The binary, running, on a data directory of its own.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::launch::{POLL, Process};
use crate::{Api, Document, Ended, Launch, Wire};

/// Longest from the start to the first `/readyz`, or `/livez`, that says yes.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest from SIGTERM to the end; the server's own deadline is shorter.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);

/// A server; dropping it kills it.
#[derive(Debug)]
pub struct Server {
    launch: Launch,
    document: Arc<Document>,
    data: PathBuf,
    authority: String,
    process: Process,
    /// Removes the data directory, where it is ours; after the process, which writes there.
    _made: Option<TempDir>,
}

impl Server {
    /// Starts `binary serve` on a new data directory and any free port, and waits until it is
    /// ready.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn start(binary: &str) -> Self {
        Self::start_as(binary, |launch| launch).await
    }

    /// Starts it as `change` wants it.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn start_as(binary: &str, change: impl FnOnce(Launch) -> Launch) -> Self {
        let made = TempDir::new().expect("a temporary directory");
        let data = made.path().to_owned();
        Self::start_with(binary, data, Some(made), change).await
    }

    /// Starts it on this data directory, which stays.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn start_on(binary: &str, data: &Path) -> Self {
        Self::start_on_as(binary, data, |launch| launch).await
    }

    /// Starts it on this data directory, which stays, as `change` wants it.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn start_on_as(
        binary: &str,
        data: &Path,
        change: impl FnOnce(Launch) -> Launch,
    ) -> Self {
        Self::start_with(binary, data.to_owned(), None, change).await
    }

    /// Starts it as `change` wants it, and waits until it lives: what it stands on may be away.
    ///
    /// # Panics
    /// When it does not come to live.
    pub async fn start_unready_as(binary: &str, change: impl FnOnce(Launch) -> Launch) -> Self {
        let made = TempDir::new().expect("a temporary directory");
        let data = made.path().to_owned();
        let launch = change(launch(binary, &data));
        let (process, authority, document) = answers(&launch, "/livez").await;
        Self { launch, document, data, _made: Some(made), process, authority }
    }

    /// Starts another process in the same way, on the same data directory, which is this one's.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn start_beside(&self) -> Self {
        let (launch, data) = (self.launch.clone(), self.data.clone());
        let (process, authority, document) = ready(&launch).await;
        Self { launch, document, data, _made: None, process, authority }
    }

    async fn start_with(
        binary: &str,
        data: PathBuf,
        made: Option<TempDir>,
        change: impl FnOnce(Launch) -> Launch,
    ) -> Self {
        let launch = change(launch(binary, &data));
        let (process, authority, document) = ready(&launch).await;
        Self { launch, document, data, _made: made, process, authority }
    }

    /// Where it listens, as `127.0.0.1:8080`.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// A client of it, that holds every answer against the server's own document.
    #[must_use]
    pub fn api(&self) -> Api {
        Api::new(&format!("http://{}", self.authority)).documented(Arc::clone(&self.document))
    }

    /// A connection to it.
    ///
    /// # Panics
    /// When it does not listen.
    pub async fn wire(&self) -> Wire {
        Wire::connect(&self.authority).await.expect("the server listens")
    }

    /// Its data directory.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.data
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.child.id()
    }

    /// The memory that it holds, in bytes, and the most that it has held.
    ///
    /// # Panics
    /// When the kernel does not tell.
    #[must_use]
    pub fn memory_bytes(&self) -> (u64, u64) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id()));
        let status = status.expect("a running process has a status");
        let bytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
            kibibytes.map(|kibibytes: u64| kibibytes * 1024).expect("memory in KiB")
        };
        (bytes("VmRSS:"), bytes("VmHWM:"))
    }

    /// All that it said until now.
    #[must_use]
    pub fn said(&self) -> String {
        self.process.said()
    }

    /// All that it logged until now: what it said on its standard error.
    #[must_use]
    pub fn logged(&self) -> String {
        self.process.stderr.text()
    }

    /// Kills it at once, as `kill -9`.
    ///
    /// # Panics
    /// When it had ended already.
    pub fn kill9(&mut self) {
        let ended = self.process.child.try_wait().expect("the child's status");
        assert!(ended.is_none(), "ended by itself; it said:\n{}", self.said());
        self.process.child.kill().expect("a running child can be killed");
        self.process.child.wait().expect("a killed child ends");
    }

    /// Asks it to stop, as `kill -TERM`.
    ///
    /// # Panics
    /// When there is no such process.
    pub fn ask_to_stop(&self) {
        let id = self.id().to_string();
        let kill = Command::new("sh").args(["-c", "kill -s TERM \"$0\"", &id]).status();
        assert!(kill.expect("a shell").success(), "cannot ask {id} to stop");
    }

    /// Waits for its end; its exit code, or none after a signal.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn end(&mut self) -> Option<i32> {
        self.process.wait(STOP_TIMEOUT).await
    }

    /// Asks it to stop and waits for its end.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn terminate(&mut self) -> Option<i32> {
        self.ask_to_stop();
        self.end().await
    }

    /// Starts it again on the same data, after its end.
    ///
    /// # Panics
    /// When it still runs, or does not become ready.
    pub async fn restart(&mut self) {
        self.restart_as(|launch| launch).await;
    }

    /// Starts it again on the same data, after its end, as `change` wants it from now on.
    ///
    /// # Panics
    /// When it still runs, or does not become ready.
    pub async fn restart_as(&mut self, change: impl FnOnce(Launch) -> Launch) {
        let ended = self.process.child.try_wait().expect("the child's status");
        assert!(ended.is_some(), "it still runs");
        self.launch = change(self.launch.clone());
        (self.process, self.authority, self.document) = ready(&self.launch).await;
    }

    /// Runs a command of the binary on the same data, in the same environment, to its end.
    pub async fn command(&self, arguments: &[&str]) -> Ended {
        let directory = self.data.to_str().expect("a path in UTF-8");
        self.launch.instead(arguments).arguments(&["--data-dir", directory]).run().await
    }

    /// An access token for this user.
    ///
    /// # Panics
    /// When the command does not give one.
    pub async fn token(&self, sub: &str, scope: &str) -> String {
        let lines = self.token_lines(&["token", "--sub", sub, "--scope", scope]).await;
        let [token] = <[String; 1]>::try_from(lines).expect("one token");
        token
    }

    /// Access tokens for `prefix-1` to `prefix-count`, with the scope `user`.
    ///
    /// # Panics
    /// When the command does not give them.
    pub async fn tokens(&self, prefix: &str, count: usize) -> Vec<String> {
        let counted = count.to_string();
        let lines = self.token_lines(&["token", "--sub", prefix, "--count", &counted]).await;
        assert_eq!(lines.len(), count, "one token a line");
        lines
    }

    async fn token_lines(&self, arguments: &[&str]) -> Vec<String> {
        let Ended { code, stdout, stderr } = self.command(arguments).await;
        assert_eq!(code, Some(0), "{arguments:?} said: {stderr}");
        stdout.lines().map(str::to_owned).collect()
    }
}

impl Drop for Server {
    /// A test that fails shows what its server said.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let said = self.said();
            // A failing test has nowhere better to say that this failed.
            let _ = writeln!(std::io::stderr(), "the server at {} said:\n{said}", self.authority);
        }
    }
}

/// `binary serve` on this data directory and any free port.
fn launch(binary: &str, data: &Path) -> Launch {
    let directory = data.to_str().expect("a path in UTF-8");
    Launch::new(binary, &["serve", "--listen", "127.0.0.1:0", "--data-dir", directory])
}

/// Starts a server and waits until it is ready; where it listens, and what it says of itself.
async fn ready(launch: &Launch) -> (Process, String, Arc<Document>) {
    answers(launch, "/readyz").await
}

/// Starts a server and waits until it says yes to this question; where it listens, and what it says
/// of itself.
async fn answers(launch: &Launch, question: &str) -> (Process, String, Arc<Document>) {
    let mut process = launch.spawn();
    let deadline = Instant::now() + START_TIMEOUT;
    loop {
        if let Some(ended) = process.child.try_wait().expect("the child's status") {
            // What it said last is what matters.
            process.wait(Duration::ZERO).await;
            panic!("{ended:?} before its {question}; it said:\n{}", process.said());
        }
        if let Some(authority) = announced(&process.said())
            && says_yes(&authority, question).await
        {
            let document = Document::of(&Api::new(&format!("http://{authority}"))).await;
            return (process, authority, Arc::new(document));
        }
        let said = || process.said();
        assert!(Instant::now() < deadline, "no {question} in time; it said:\n{}", said());
        sleep(POLL).await;
    }
}

/// The first address that a server said it listens on.
fn announced(said: &str) -> Option<String> {
    let (_, rest) = said.split_once("listening on http://127.0.0.1:")?;
    let (port, _) = rest.split_once(|c: char| !c.is_ascii_digit())?;
    Some(format!("127.0.0.1:{port}"))
}

async fn says_yes(authority: &str, question: &str) -> bool {
    let asked = Api::new(&format!("http://{authority}")).get(question).try_send().await;
    asked.is_ok_and(|answer| answer.status == 200)
}
