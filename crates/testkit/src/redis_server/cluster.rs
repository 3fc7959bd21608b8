//! Servers that share the keys.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{RedisServer, cli};
use crate::launch::POLL;
use crate::port::free_port;

/// Longest until all nodes agree who has which slots.
const AGREE_TIMEOUT: Duration = Duration::from_secs(30);

/// A cluster of masters.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<RedisServer>,
    url: String,
}

impl RedisCluster {
    /// Starts a cluster of three.
    ///
    /// # Panics
    /// When it does not become one.
    pub async fn start() -> Self {
        let mut nodes = Vec::new();
        for _ in 0..3 {
            nodes.push(start_node().await);
        }
        let places: Vec<_> = nodes.iter().map(RedisServer::authority).collect();
        let mut command = vec!["--cluster", "create", "--cluster-yes"];
        command.extend(places.iter().map(String::as_str));
        cli(nodes[0].port, &[], &command).await;
        let url = format!("redis+cluster://{},{}", places[0], places[1]);
        let cluster = Self { nodes, url };
        cluster.agree().await;
        cluster
    }

    /// Starts a cluster of one, which is found at this address only, as `127.0.0.1:1234`.
    ///
    /// # Panics
    /// When it does not become one.
    pub async fn start_behind(authority: &str) -> Self {
        let bus = free_port().to_string();
        let (host, port) = authority.split_once(':').expect("a host and a port");
        let arguments = ["--cluster-enabled", "yes", "--cluster-port", &bus];
        let found = ["--cluster-announce-ip", host, "--cluster-announce-port", port];
        let node = RedisServer::start_with(&[arguments.as_slice(), &found].concat()).await;
        node.cli(&["cluster", "addslotsrange", "0", "16383"]).await;
        let cluster = Self { nodes: vec![node], url: format!("redis+cluster://{authority}") };
        cluster.agree().await;
        cluster
    }

    /// Starts one more, which has no slots yet. Its place is the last.
    ///
    /// # Panics
    /// When the others do not take it in.
    pub async fn add_node(&mut self) {
        let node = start_node().await;
        let known = &self.nodes[0];
        let bus = known.cli(&["config", "get", "cluster-port"]).await;
        let bus = bus.lines().last().expect("its value");
        node.cli(&["cluster", "meet", "127.0.0.1", &known.port.to_string(), bus]).await;
        self.nodes.push(node);
        self.agree().await;
    }

    /// Its URL, which names two of its nodes, or its address.
    #[must_use]
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// Its nodes.
    #[must_use]
    pub fn nodes(&self) -> &[RedisServer] {
        &self.nodes
    }

    /// Which of its nodes has a key: its place among [`nodes`](Self::nodes).
    ///
    /// # Panics
    /// When none says so.
    pub async fn node_of(&self, key: &str) -> usize {
        let slot = self.nodes[0].cli(&["cluster", "keyslot", key]).await;
        let slot: u16 = slot.parse().expect("a slot");
        for (place, node) in self.nodes.iter().enumerate() {
            let known = node.cli(&["cluster", "nodes"]).await;
            let itself = known.lines().find(|line| line.contains("myself")).expect("itself");
            let slots = itself.rsplit(' ').next().and_then(|slots| slots.split_once('-'));
            let bounds = slots.map(|(first, last)| (first.parse::<u16>(), last.parse::<u16>()));
            let Some((Ok(first), Ok(last))) = bounds else { panic!("its slots: {itself}") };
            if (first..=last).contains(&slot) {
                return place;
            }
        }
        panic!("no node has slot {slot}");
    }

    async fn agree(&self) {
        let deadline = Instant::now() + AGREE_TIMEOUT;
        for node in &self.nodes {
            while !self.is_known_to(node).await {
                assert!(Instant::now() < deadline, "the nodes do not agree");
                sleep(POLL).await;
            }
        }
    }

    async fn is_known_to(&self, node: &RedisServer) -> bool {
        let known = node.cli(&["cluster", "nodes"]).await;
        known.lines().count() == self.nodes.len()
            && !known.contains("handshake")
            && node.cli(&["cluster", "info"]).await.contains("cluster_state:ok")
    }
}

async fn start_node() -> RedisServer {
    let bus = free_port().to_string();
    let arguments = ["--cluster-enabled", "yes", "--cluster-port", &bus];
    let patience = ["--cluster-node-timeout", "2000"];
    RedisServer::start_with(&[arguments.as_slice(), &patience].concat()).await
}
