//! A master, its replica, and a sentinel that watches both.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Certificates, RedisServer, cli, program, tls_login};
use crate::Launch;
use crate::launch::{POLL, Process};
use crate::port::free_port;

/// Longest that any change of roles may take.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(30);

/// Lets a replica follow at once, whoever is the master.
const QUICK: [&str; 2] = ["--repl-diskless-sync-delay", "0"];

/// A user and a password.
type Login<'a> = (&'a str, &'a str);

/// A master, its replica, and a sentinel that calls the master `main`.
#[derive(Debug)]
pub struct RedisTrio {
    /// The first master and the first replica.
    servers: [RedisServer; 2],
    sentinel_port: u16,
    /// What `redis-cli` needs to be let in by the sentinel.
    login: Vec<String>,
    _sentinel: Process,
}

impl RedisTrio {
    /// Starts all three.
    ///
    /// # Panics
    /// When they do not find each other.
    pub async fn start() -> Self {
        let master = RedisServer::start_with(&QUICK).await;
        let port = master.port.to_string();
        let arguments = [QUICK.as_slice(), &following(&port)].concat();
        let replica = RedisServer::start_with(&arguments).await;
        let sentinel_port = free_port();
        let listening = format!("port {sentinel_port}\n");
        Self::watched([master, replica], sentinel_port, Vec::new(), &listening, "").await
    }

    /// Starts all three so that they speak TLS only, to each other too, and let in only this user
    /// of the servers, and that one of the sentinel.
    ///
    /// # Panics
    /// When they do not find each other.
    pub async fn start_guarded(
        certificates: &Certificates,
        of_servers: Login<'_>,
        of_sentinel: Login<'_>,
    ) -> Self {
        let (user, password) = of_servers;
        let tls = ["--tls-replication", "yes", "--masteruser", user, "--masterauth", password];
        let arguments = [tls.as_slice(), &QUICK].concat();
        let master = RedisServer::start_guarded(certificates, of_servers, &arguments).await;
        let port = master.port.to_string();
        let arguments = [arguments.as_slice(), &following(&port)].concat();
        let replica = RedisServer::start_guarded(certificates, of_servers, &arguments).await;

        let sentinel_port = free_port();
        let (ca, certificate, key) = certificates.paths();
        let (own_user, own_password) = of_sentinel;
        let listening = format!(
            "port 0\ntls-port {sentinel_port}\ntls-replication yes\ntls-ca-cert-file {ca}\n\
             tls-cert-file {certificate}\ntls-key-file {key}\nuser default off\n\
             user {own_user} on >{own_password} ~* &* +@all\n"
        );
        let watching =
            format!("sentinel auth-user main {user}\nsentinel auth-pass main {password}\n");
        let login = tls_login(certificates).into_iter();
        let login = login.chain(["--user", own_user, "-a", own_password]);
        let login = login.map(str::to_owned).collect();
        Self::watched([master, replica], sentinel_port, login, &listening, &watching).await
    }

    /// Starts a sentinel for a master and its replica. The lines of its configuration are of how it
    /// listens, and of how it watches.
    async fn watched(
        servers: [RedisServer; 2],
        sentinel_port: u16,
        login: Vec<String>,
        listening: &str,
        watching: &str,
    ) -> Self {
        let master = &servers[0];
        // A sentinel rewrites its configuration.
        let configuration = master.directory().join("sentinel.conf");
        let port = master.port;
        let text = format!(
            "{listening}bind 127.0.0.1\nsentinel monitor main 127.0.0.1 {port} 1\n{watching}\
             sentinel down-after-milliseconds main 1000\nsentinel failover-timeout main 3000\n"
        );
        std::fs::write(&configuration, text).expect("a file for the sentinel");
        let path = configuration.to_str().expect("a path in UTF-8");
        let sentinel = Launch::new(program("redis-server"), &[path, "--sentinel"]).spawn();
        let trio = Self { servers, sentinel_port, login, _sentinel: sentinel };
        trio.wait_for_replica().await;
        trio
    }

    /// The URL that leads to the master by way of the sentinel.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis+sentinel://127.0.0.1:{}/main", self.sentinel_port)
    }

    /// What the sentinel answers to a command.
    ///
    /// # Panics
    /// When it answers an error, or not at all.
    pub async fn sentinel(&self, command: &[&str]) -> String {
        cli(self.sentinel_port, &self.login, command).await
    }

    /// The first master and the first replica.
    pub const fn servers(&mut self) -> &mut [RedisServer; 2] {
        &mut self.servers
    }

    /// Makes the replica the master, and waits until it is.
    ///
    /// # Panics
    /// When that does not happen.
    pub async fn fail_over(&self) {
        self.sentinel(&["SENTINEL", "FAILOVER", "main"]).await;
        self.wait_for_failover().await;
    }

    /// Waits until the first replica is the master, by its own word and the sentinel's.
    ///
    /// # Panics
    /// When that does not happen.
    pub async fn wait_for_failover(&self) {
        let replica = &self.servers[1];
        let port = replica.port.to_string();
        let deadline = Instant::now() + CHANGE_TIMEOUT;
        loop {
            let named = self.sentinel(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main"]).await;
            if named.ends_with(&port) && replica.cli(&["ROLE"]).await.starts_with("master") {
                return;
            }
            assert!(Instant::now() < deadline, "no failover");
            sleep(POLL).await;
        }
    }

    /// Waits until the sentinel knows the replica as one that may take over.
    async fn wait_for_replica(&self) {
        let deadline = Instant::now() + CHANGE_TIMEOUT;
        loop {
            let linked = self.servers[1].cli(&["INFO", "replication"]).await;
            if linked.contains("master_link_status:up") && self.knows_replica().await {
                return;
            }
            assert!(Instant::now() < deadline, "the sentinel knows no replica");
            sleep(POLL).await;
        }
    }

    async fn knows_replica(&self) -> bool {
        let ping = tokio::net::TcpStream::connect(("127.0.0.1", self.sentinel_port)).await;
        if ping.is_err() {
            return false;
        }
        let told = self.sentinel(&["SENTINEL", "REPLICAS", "main"]).await;
        let (_, status) = told.split_once("master-link-status\n").unwrap_or_default();
        status.starts_with("ok")
    }
}

/// What makes a server the replica of the one on this port.
const fn following(port: &str) -> [&str; 3] {
    ["--replicaof", "127.0.0.1", port]
}
