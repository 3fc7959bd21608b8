//! How the binary is started: its own data directory, nothing of the outside's configuration.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How often a test looks again at what it waits for.
pub(crate) const POLL: Duration = Duration::from_millis(5);
/// Longest that a command, or a start that must fail, may take.
pub(crate) const END_TIMEOUT: Duration = Duration::from_secs(60);

/// A way to start the binary.
#[derive(Debug, Clone)]
pub struct Launch {
    binary: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    file_kib_max: Option<u32>,
}

/// How a process ended, and all that it said.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to its standard output.
    pub stdout: String,
    /// What it wrote to its standard error.
    pub stderr: String,
}

impl Launch {
    /// Starts this binary with these arguments.
    #[must_use]
    pub fn new(binary: impl AsRef<Path>, arguments: &[&str]) -> Self {
        Self {
            binary: binary.as_ref().to_owned(),
            arguments: arguments.iter().copied().map(str::to_owned).collect(),
            environment: Vec::new(),
            file_kib_max: None,
        }
    }

    /// The same binary in the same environment, with these arguments instead.
    #[must_use]
    pub(crate) fn instead(&self, arguments: &[&str]) -> Self {
        Self { environment: self.environment.clone(), ..Self::new(&self.binary, arguments) }
    }

    /// With these arguments after the others.
    #[must_use]
    pub fn arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().copied().map(str::to_owned));
        self
    }

    /// With this variable in its environment.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With no file larger than this allowed, until the limit is raised: a full disk. The limit
    /// is soft, so the process itself, or its owner, can raise it again.
    #[must_use]
    pub const fn file_kib_max(mut self, kib: u32) -> Self {
        self.file_kib_max = Some(kib);
        self
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// When it cannot be started, or does not end.
    pub async fn run(&self) -> Ended {
        self.spawn().end(END_TIMEOUT).await
    }

    /// Runs what may take longer, within this time.
    ///
    /// # Panics
    /// When it cannot be started, or does not end in time.
    pub async fn run_within(&self, limit: Duration) -> Ended {
        self.spawn().end(limit).await
    }

    pub(crate) fn spawn(&self) -> Process {
        self.spawn_with(Stdio::null())
    }

    /// Starts it with this as its standard input.
    pub(crate) fn spawn_with(&self, stdin: Stdio) -> Process {
        let mut command = self.command();
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("FIRSTCOME_") || text.starts_with("OTEL_") {
                command.env_remove(name);
            }
        }
        for (name, value) in &self.environment {
            command.env(name, value);
        }
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn();
        let mut child =
            child.unwrap_or_else(|error| panic!("cannot start {}: {error}", self.binary.display()));
        let stdout = Spoken::listen(child.stdout.take().expect("a pipe"));
        let stderr = Spoken::listen(child.stderr.take().expect("a pipe"));
        Process { child, stdout, stderr }
    }

    fn command(&self) -> Command {
        let Some(kib) = self.file_kib_max else {
            let mut command = Command::new(&self.binary);
            command.args(&self.arguments);
            return command;
        };
        // A write beyond the limit fails, as on a full disk, instead of ending the process.
        let script = format!("trap '' XFSZ; ulimit -S -f {kib}; exec \"$0\" \"$@\"");
        let mut command = Command::new("bash");
        command.args(["-c", &script]).arg(&self.binary).args(&self.arguments);
        command
    }
}

/// A child process; dropping it kills it, and only it.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) child: Child,
    pub(crate) stdout: Spoken,
    pub(crate) stderr: Spoken,
}

impl Process {
    /// Waits for the end; the exit code, or none after a signal.
    pub(crate) async fn wait(&mut self, limit: Duration) -> Option<i32> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().expect("the child's status") {
                self.stdout.join();
                self.stderr.join();
                return status.code();
            }
            assert!(Instant::now() < deadline, "no end after {limit:?}; it said:\n{}", self.said());
            sleep(POLL).await;
        }
    }

    /// Waits for the end; all that it said.
    pub(crate) async fn end(&mut self, limit: Duration) -> Ended {
        let code = self.wait(limit).await;
        Ended { code, stdout: self.stdout.text(), stderr: self.stderr.text() }
    }

    /// Kills it at once, as `kill -9`.
    pub(crate) fn kill9(&mut self) {
        let ended = self.child.try_wait().expect("the child's status");
        assert!(ended.is_none(), "ended by itself; it said:\n{}", self.said());
        self.child.kill().expect("a running child can be killed");
        self.child.wait().expect("a killed child ends");
    }

    /// Sends it a signal by its name, as `STOP`.
    pub(crate) fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        let kill = Command::new("sh").args(["-c", "kill -s \"$1\" \"$0\"", &id, signal]).status();
        assert!(kill.expect("a shell").success(), "cannot signal {id}");
    }

    /// All that it said until now.
    pub(crate) fn said(&self) -> String {
        format!("{}{}", self.stdout.text(), self.stderr.text())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself: then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What comes out of a pipe, kept, so that the pipe never fills up.
#[derive(Debug)]
pub(crate) struct Spoken {
    text: Arc<Mutex<String>>,
    listener: Option<std::thread::JoinHandle<()>>,
}

impl Spoken {
    fn listen(pipe: impl Read + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(String::new()));
        let kept = Arc::clone(&text);
        let listener = std::thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut line = Vec::new();
            while pipe.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                kept.lock().expect("no panic while kept").push_str(&String::from_utf8_lossy(&line));
                line.clear();
            }
        });
        Self { text, listener: Some(listener) }
    }

    pub(crate) fn text(&self) -> String {
        self.text.lock().expect("no panic while kept").clone()
    }

    /// Waits for the pipe's end: what was said last is kept then.
    fn join(&mut self) {
        if let Some(listener) = self.listener.take() {
            listener.join().expect("the listener does not panic");
        }
    }
}
