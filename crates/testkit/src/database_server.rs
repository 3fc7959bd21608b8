//! A database server of one test's own, which may be killed.

mod data;
mod program;

use std::io::Write;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::launch::{POLL, Process};
use crate::port::free_port;
use crate::sql::{Connection, Sql};
use crate::{Certificates, Engine, Launch};

/// Longest from a start, also after a crash, to the first answer to a query.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest that the kernel may take to end a process that was killed.
const KILL_TIMEOUT: Duration = Duration::from_secs(20);

/// A server with a database, a user and a password that are all `firstcome`. It syncs its data as
/// in a deployment; they are in a temporary directory. Dropping it kills it and removes them.
#[derive(Debug)]
pub struct DatabaseServer {
    launch: Launch,
    process: Process,
    sql: Sql,
    /// Removed after the process, which writes there.
    directory: TempDir,
}

impl DatabaseServer {
    /// Starts a server on loopback, on a free port.
    ///
    /// # Panics
    /// When its programs are not installed, or it does not answer.
    pub async fn start(engine: Engine) -> Self {
        Self::start_with(engine, &[]).await
    }

    /// Starts it with these arguments after the others: `-c` and `max_connections=5`, or
    /// `--max-connections=5`.
    ///
    /// # Panics
    /// When its programs are not installed, or it does not answer.
    pub async fn start_with(engine: Engine, arguments: &[&str]) -> Self {
        let directory = data::directory().await;
        let launch = data::create(engine, directory.path()).await;
        Self::launch(engine, launch.arguments(arguments), directory).await
    }

    /// Starts a server that speaks TLS with those who ask for it, and knows clients' certificates
    /// of the same authority; with these arguments after the others.
    ///
    /// # Panics
    /// When its programs are not installed, or it does not answer.
    pub async fn start_with_tls(
        engine: Engine,
        certificates: &Certificates,
        arguments: &[&str],
    ) -> Self {
        let (ca, certificate, key) = certificates.paths();
        let files = match engine {
            Engine::Postgres => [
                "--ssl=on".to_owned(),
                format!("--ssl_ca_file={ca}"),
                format!("--ssl_cert_file={certificate}"),
                format!("--ssl_key_file={key}"),
            ],
            Engine::MariaDb => [
                "--ssl".to_owned(),
                format!("--ssl-ca={ca}"),
                format!("--ssl-cert={certificate}"),
                format!("--ssl-key={key}"),
            ],
        };
        let files = files.each_ref().map(String::as_str);
        Self::start_with(engine, &[files.as_slice(), arguments].concat()).await
    }

    /// Another server on a copy of this one's data, which takes no writes: a replica that has
    /// stopped to follow. For that this one is killed and started again.
    ///
    /// # Panics
    /// When it does not run, or one of the two does not answer.
    pub async fn copy_read_only(&mut self) -> Self {
        self.kill9();
        let directory = data::directory().await;
        let launch =
            data::copy_read_only(self.engine(), self.directory.path(), directory.path()).await;
        self.restart().await;
        Self::launch(self.engine(), launch, directory).await
    }

    /// Starts a server on a free port.
    async fn launch(engine: Engine, launch: Launch, directory: TempDir) -> Self {
        let port = free_port();
        let launch = launch.arguments(&[&format!("--port={port}")]);
        let scheme = if engine == Engine::Postgres { "postgres" } else { "mysql" };
        let url = format!("{scheme}://firstcome:firstcome@127.0.0.1:{port}/firstcome");
        let (mut process, sql) = (launch.spawn(), Sql::new(engine, url));
        ready(&mut process, &sql).await;
        Self { launch, process, sql, directory }
    }

    /// Its engine.
    #[must_use]
    pub const fn engine(&self) -> Engine {
        self.sql.engine()
    }

    /// The URL of its database, the same after a restart.
    #[must_use]
    pub fn url(&self) -> &str {
        self.sql.url()
    }

    /// The id of its first process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.child.id()
    }

    /// All that it said since its last start.
    #[must_use]
    pub fn said(&self) -> String {
        self.process.said()
    }

    /// Runs one or several statements. Calls at the same time have connections of their own.
    ///
    /// # Panics
    /// When one fails.
    pub async fn execute(&self, sql: &str) {
        self.sql.execute(sql).await;
    }

    /// The one value of a query, as text.
    ///
    /// # Panics
    /// When there is no such value, or it is null.
    pub async fn text(&self, sql: &str) -> String {
        self.sql.text(sql).await
    }

    /// The one value of a query, as a whole number.
    ///
    /// # Panics
    /// When there is no such value.
    pub async fn number(&self, sql: &str) -> i64 {
        self.sql.number(sql).await
    }

    /// Kills it at once with all its processes, as `kill -9`, and waits until they are gone.
    ///
    /// # Panics
    /// When it had ended already.
    pub fn kill9(&mut self) {
        let ended = self.process.child.try_wait().expect("the child's status");
        assert!(ended.is_none(), "ended by itself; it said:\n{}", self.said());
        assert!(self.kill(), "a session of {} survives its server", self.engine());
        self.sql.forget_connections();
    }

    /// Starts it again on the same port and data, and waits until it answers a query.
    ///
    /// # Panics
    /// When it still runs, or does not answer.
    pub async fn restart(&mut self) {
        let ended = self.process.child.try_wait().expect("the child's status");
        assert!(ended.is_some(), "it still runs");
        self.process = self.launch.spawn();
        ready(&mut self.process, &self.sql).await;
    }

    /// Whether all of it is gone.
    fn kill(&mut self) -> bool {
        // Each session of PostgreSQL is a process, of no group but its own.
        let sessions = children_of(self.pid());
        self.process.child.kill().expect("a running child can be killed");
        self.process.child.wait().expect("a killed child ends");
        let ids = sessions.iter().map(u32::to_string);
        // Those that have noticed that the first process is gone have ended by themselves.
        let _ =
            Command::new("sh").args(["-c", "kill -s KILL \"$@\" 2>&-", "sh"]).args(ids).status();
        let deadline = Instant::now() + KILL_TIMEOUT;
        while sessions.iter().any(|id| parent_of(*id).is_some()) {
            if Instant::now() > deadline {
                return false;
            }
            std::thread::sleep(POLL);
        }
        true
    }
}

impl Drop for DatabaseServer {
    /// A test that fails shows what its server said.
    fn drop(&mut self) {
        if matches!(self.process.child.try_wait(), Ok(None)) {
            self.kill();
        }
        data::forget_memory(self.directory.path());
        if std::thread::panicking() {
            let (engine, said) = (self.engine(), self.said());
            // A failing test has nowhere better to say that this failed.
            let _ = writeln!(std::io::stderr(), "{engine} at {} said:\n{said}", self.url());
        }
    }
}

/// Waits until a server answers a query.
async fn ready(process: &mut Process, sql: &Sql) {
    let (engine, deadline) = (sql.engine(), Instant::now() + READY_TIMEOUT);
    loop {
        let ended = process.child.try_wait().expect("the child's status");
        assert!(ended.is_none(), "{engine}: {ended:?} at its start; it said:\n{}", process.said());
        if let Ok(mut connection) = Connection::open(engine, sql.url()).await
            && connection.value("SELECT 1").await.is_ok()
        {
            return;
        }
        let said = || process.said();
        assert!(Instant::now() < deadline, "{engine} does not answer; it said:\n{}", said());
        sleep(POLL).await;
    }
}

fn children_of(parent: u32) -> Vec<u32> {
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    let ids = processes.flatten().filter_map(|process| process.file_name().to_str()?.parse().ok());
    ids.filter(|id| parent_of(*id) == Some(parent)).collect()
}

/// The parent of a process that has not ended.
fn parent_of(id: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name in parentheses may hold anything; the state and the parent are behind it.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let has_ended = matches!(fields.next()?, "Z" | "X");
    fields.next()?.parse().ok().filter(|_| !has_ended)
}
