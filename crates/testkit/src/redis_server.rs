//! A Redis of one test's own, which may be killed.
//!
//! Below it, `cluster` is several that share the keys, and `trio` a master with its replica and a
//! sentinel.

mod cluster;
mod trio;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::launch::{POLL, Process};
use crate::port::free_port;
use crate::{Certificates, Ended, Launch};

pub use cluster::{MovingSlot, RedisCluster};
pub use trio::RedisTrio;

/// Longest from a start to the moment when it takes calls.
const READY_TIMEOUT: Duration = Duration::from_secs(30);
/// What a server logs when it takes calls.
const READY: &str = "Ready to accept connections";

/// A server on loopback that saves nothing unless it is told to. Dropping it kills it and removes
/// its data.
#[derive(Debug)]
pub struct RedisServer {
    launch: Launch,
    process: Process,
    port: u16,
    /// What `redis-cli` needs to be let in.
    login: Vec<String>,
    /// Removed after the process, which writes there.
    directory: TempDir,
}

impl RedisServer {
    /// Starts a server.
    ///
    /// # Panics
    /// When its program is not installed, or it does not take calls.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts it with these arguments after the others, as `--maxmemory-policy` and `noeviction`.
    ///
    /// # Panics
    /// When its program is not installed, or it does not take calls.
    pub async fn start_with(arguments: &[&str]) -> Self {
        let port = free_port();
        let given = port.to_string();
        let login = match arguments.iter().position(|argument| *argument == "--requirepass") {
            Some(at) => vec!["-a".to_owned(), arguments[at + 1].to_owned()],
            None => Vec::new(),
        };
        let arguments = [&["--port", &given], arguments].concat();
        Self::launch(port, login, &arguments).await
    }

    /// Starts a server that speaks TLS only, and wants a certificate of its clients.
    ///
    /// # Panics
    /// When its program is not installed, or it does not take calls.
    pub async fn start_with_tls(certificates: &Certificates) -> Self {
        Self::launch_with_tls(certificates, &[], &[]).await
    }

    /// The same where only this user is let in, who may do everything, with more arguments.
    async fn start_guarded(
        certificates: &Certificates,
        (user, password): (&str, &str),
        arguments: &[&str],
    ) -> Self {
        let secret = format!(">{password}");
        let users = ["--user", "default", "off", "--user", user, "on", &secret];
        let rights = ["~*", "&*", "+@all"];
        let arguments = [users.as_slice(), &rights, arguments].concat();
        let login = ["--user", user, "-a", password];
        Self::launch_with_tls(certificates, &login, &arguments).await
    }

    async fn launch_with_tls(
        certificates: &Certificates,
        login: &[&str],
        arguments: &[&str],
    ) -> Self {
        let port = free_port();
        let given = port.to_string();
        let (ca, certificate, key) = certificates.paths();
        let files =
            ["--tls-ca-cert-file", ca, "--tls-cert-file", certificate, "--tls-key-file", key];
        let arguments = [&["--port", "0", "--tls-port", &given], files.as_slice(), arguments];
        let login = tls_login(certificates).into_iter().chain(login.iter().copied());
        Self::launch(port, login.map(str::to_owned).collect(), &arguments.concat()).await
    }

    async fn launch(port: u16, login: Vec<String>, arguments: &[&str]) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let data = directory.path().to_str().expect("a path in UTF-8");
        let launch = Launch::new(program("redis-server"), &["--bind", "127.0.0.1", "--dir", data])
            .arguments(&["--daemonize", "no", "--save", "", "--appendonly", "no"])
            .arguments(arguments);
        let process = ready(&launch).await;
        Self { launch, process, port, login, directory }
    }

    /// Its URL, the same after a restart; without a password.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://{}", self.authority())
    }

    /// Where it listens, as `127.0.0.1:1234`.
    #[must_use]
    pub fn authority(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The directory of its data.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// All that it said since its last start.
    #[must_use]
    pub fn said(&self) -> String {
        self.process.said()
    }

    /// What it answers to a command.
    ///
    /// # Panics
    /// When it answers an error, or not at all.
    pub async fn cli(&self, command: &[&str]) -> String {
        cli(self.port, &self.login, command).await
    }

    /// Makes the user that `docs/operations/redis.md` tells an operator to make; the URL by which
    /// it comes in.
    ///
    /// # Panics
    /// When the page has no such user, or the server does not take it.
    pub async fn make_operations_user(&self) -> String {
        let page = include_str!("../../../docs/operations/redis.md");
        let (_, rules) = page.split_once("ACL SETUSER firstcome ").expect("the page has the user");
        let (rules, _) = rules.split_once("```").expect("a block");
        let rules = rules.replace('\\', "").replace(">PASSWORD", ">p");
        let command = ["ACL", "SETUSER", "firstcome"].into_iter().chain(rules.split_whitespace());
        self.cli(&command.collect::<Vec<_>>()).await;
        format!("redis://firstcome:p@{}", self.authority())
    }

    /// How often it was given this command since its start, in lower case.
    ///
    /// # Panics
    /// When it answers an error, or not at all.
    pub async fn calls_of(&self, command: &str) -> u64 {
        let stats = self.cli(&["INFO", "commandstats"]).await;
        let line = stats.lines().find_map(|line| {
            line.strip_prefix("cmdstat_")?.strip_prefix(command)?.strip_prefix(":calls=")
        });
        let calls = line.and_then(|line| line.split(',').next()?.parse().ok());
        calls.unwrap_or(0)
    }

    /// Kills it at once, as `kill -9`.
    ///
    /// # Panics
    /// When it had ended already.
    pub fn kill9(&mut self) {
        self.process.kill9();
    }

    /// Whether it has ended, and was not started again.
    ///
    /// # Panics
    /// When the system does not tell.
    pub fn is_dead(&mut self) -> bool {
        self.process.child.try_wait().expect("the child's status").is_some()
    }

    /// Starts it again on the same port, with what it has saved.
    ///
    /// # Panics
    /// When it still runs, or does not take calls.
    pub async fn restart(&mut self) {
        let ended = self.process.child.try_wait().expect("the child's status");
        assert!(ended.is_some(), "it still runs");
        self.process = ready(&self.launch).await;
    }

    /// Starts it again on the same port, with nothing of what it had.
    ///
    /// # Panics
    /// When it still runs, or does not take calls.
    pub async fn restart_empty(&mut self) {
        for entry in std::fs::read_dir(self.directory.path()).expect("its directory").flatten() {
            let path = entry.path();
            let removed = if path.is_dir() {
                std::fs::remove_dir_all(&path)
            } else {
                std::fs::remove_file(&path)
            };
            removed.expect("what a dead server left can be removed");
        }
        self.restart().await;
    }

    /// Stops it in the middle of whatever it does, as `kill -STOP`: it keeps its connections, and
    /// answers nothing until it [goes on](Self::go_on).
    ///
    /// # Panics
    /// When there is no such process.
    pub fn hang(&self) {
        self.process.signal("STOP");
    }

    /// Lets it go on.
    ///
    /// # Panics
    /// When there is no such process.
    pub fn go_on(&self) {
        self.process.signal("CONT");
    }
}

impl Drop for RedisServer {
    /// A test that fails shows what its server said.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let (authority, said) = (self.authority(), self.said());
            // A failing test has nowhere better to say that this failed.
            let _ = writeln!(std::io::stderr(), "Redis at {authority} said:\n{said}");
        }
    }
}

/// What `redis-cli` needs to speak TLS.
fn tls_login(certificates: &Certificates) -> [&str; 7] {
    let (ca, certificate, key) = certificates.paths();
    ["--tls", "--cacert", ca, "--cert", certificate, "--key", key]
}

/// Starts a server and waits until it takes calls.
async fn ready(launch: &Launch) -> Process {
    let mut process = launch.spawn();
    let deadline = Instant::now() + READY_TIMEOUT;
    while !process.stdout.text().contains(READY) {
        if let Some(ended) = process.child.try_wait().expect("the child's status") {
            // What it said last is what matters.
            process.wait(Duration::ZERO).await;
            panic!("{launch:?}: {ended:?} at its start; it said:\n{}", process.said());
        }
        let said = || process.said();
        assert!(Instant::now() < deadline, "{launch:?} is not ready; it said:\n{}", said());
        sleep(POLL).await;
    }
    process
}

/// What the server on this port answers to a command.
async fn cli(port: u16, login: &[String], command: &[&str]) -> String {
    let port = port.to_string();
    let login: Vec<_> = login.iter().map(String::as_str).collect();
    let launch = Launch::new(program("redis-cli"), &["-e", "--no-auth-warning", "-p", &port]);
    let Ended { code, stdout, stderr } = launch.arguments(&login).arguments(command).run().await;
    assert_eq!(code, Some(0), "{command:?} said: {stdout}{stderr}");
    stdout.trim().to_owned()
}

/// Where a program of Redis lies: on the path.
fn program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|place| place.join(name)).find(|it| it.is_file());
    found.unwrap_or_else(|| {
        panic!(
            "{name} is missing: install Redis 7 (on Debian: `sudo apt-get install redis-server`)"
        )
    })
}
