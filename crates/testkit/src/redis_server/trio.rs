//! A master, its replica, and a sentinel that watches both.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{RedisServer, cli, program};
use crate::Launch;
use crate::launch::{POLL, Process};
use crate::port::free_port;

/// Longest that any change of roles may take.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(30);

/// A master, its replica, and a sentinel that calls the master `main`.
#[derive(Debug)]
pub struct RedisTrio {
    /// The first master and the first replica.
    servers: [RedisServer; 2],
    sentinel_port: u16,
    _sentinel: Process,
}

impl RedisTrio {
    /// Starts all three.
    ///
    /// # Panics
    /// When they do not find each other.
    pub async fn start() -> Self {
        let master = RedisServer::start().await;
        let port = master.port.to_string();
        let quick = ["--repl-diskless-sync-delay", "0"];
        let following = ["--replicaof", "127.0.0.1", &port];
        let replica = RedisServer::start_with(&[following.as_slice(), &quick].concat()).await;
        let sentinel_port = free_port();
        // A sentinel rewrites its configuration.
        let configuration = master.directory().join("sentinel.conf");
        let text = format!(
            "port {sentinel_port}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {port} 1\n\
             sentinel down-after-milliseconds main 1000\nsentinel failover-timeout main 3000\n"
        );
        std::fs::write(&configuration, text).expect("a file for the sentinel");
        let path = configuration.to_str().expect("a path in UTF-8");
        let sentinel = Launch::new(program("redis-server"), &[path, "--sentinel"]).spawn();
        let trio = Self { servers: [master, replica], sentinel_port, _sentinel: sentinel };
        trio.wait_for_replica().await;
        trio
    }

    /// The URL that leads to the master by way of the sentinel.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis+sentinel://127.0.0.1:{}/main", self.sentinel_port)
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
        cli(self.sentinel_port, &[], &["SENTINEL", "FAILOVER", "main"]).await;
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
            let command = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main"];
            let named = cli(self.sentinel_port, &[], &command).await;
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
        let told = cli(self.sentinel_port, &[], &["SENTINEL", "REPLICAS", "main"]).await;
        let (_, status) = told.split_once("master-link-status\n").unwrap_or_default();
        status.starts_with("ok")
    }
}
