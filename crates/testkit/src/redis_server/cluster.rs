//! Servers that share the keys.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{RedisServer, cli};
use crate::launch::POLL;
use crate::port::free_port;

/// Longest until all nodes agree who has which slots.
const AGREE_TIMEOUT: Duration = Duration::from_secs(30);
/// More keys than a test has in a slot.
const KEYS_MAX: &str = "1000";

/// A cluster of masters.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<RedisServer>,
    url: String,
}

/// A slot on its way from one node to another.
#[derive(Debug)]
pub struct MovingSlot<'a> {
    cluster: &'a RedisCluster,
    /// The node that has it.
    pub from: &'a RedisServer,
    /// The node that gets it.
    pub to: &'a RedisServer,
    number: String,
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
            // What is on the move stands behind, in brackets.
            let ranges = itself.split(' ').skip(8).filter(|range| !range.starts_with('['));
            let mut bounds = ranges.map(|range| {
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                let [first, last] = [first, last].map(str::parse::<u16>);
                first.expect("a slot")..=last.expect("a slot")
            });
            if bounds.any(|range| range.contains(&slot)) {
                return place;
            }
        }
        panic!("no node has slot {slot}");
    }

    /// Opens the slot of a key on the node that has it and on the one at this place, which gets it.
    ///
    /// # Panics
    /// When they do not.
    pub async fn start_to_move(&self, key: &str, to: usize) -> MovingSlot<'_> {
        let [from, to] = [self.node_of(key).await, to].map(|place| &self.nodes[place]);
        let [from_id, to_id] =
            [from.cli(&["CLUSTER", "MYID"]).await, to.cli(&["CLUSTER", "MYID"]).await];
        let number = from.cli(&["CLUSTER", "KEYSLOT", key]).await;
        to.cli(&["CLUSTER", "SETSLOT", &number, "IMPORTING", &from_id]).await;
        from.cli(&["CLUSTER", "SETSLOT", &number, "MIGRATING", &to_id]).await;
        MovingSlot { cluster: self, from, to, number }
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

impl MovingSlot<'_> {
    /// Moves one of its keys, which is gone from then on where it was.
    ///
    /// # Panics
    /// When it does not go.
    pub async fn migrate(&self, key: &str) {
        let port = self.to.port.to_string();
        self.from.cli(&["MIGRATE", "127.0.0.1", &port, key, "0", "5000"]).await;
    }

    /// Those of its keys that a node has: of [`from`](Self::from) those that are not moved yet.
    ///
    /// # Panics
    /// When the node does not tell.
    pub async fn keys_at(&self, node: &RedisServer) -> Vec<String> {
        let keys = node.cli(&["CLUSTER", "GETKEYSINSLOT", &self.number, KEYS_MAX]).await;
        keys.lines().filter(|key| !key.is_empty()).map(str::to_owned).collect()
    }

    /// Gives it to the new node.
    ///
    /// # Panics
    /// When a node does not take that.
    pub async fn end(self) {
        let to_id = self.to.cli(&["CLUSTER", "MYID"]).await;
        for node in [self.to].into_iter().chain(&self.cluster.nodes) {
            node.cli(&["CLUSTER", "SETSLOT", &self.number, "NODE", &to_id]).await;
        }
    }
}

async fn start_node() -> RedisServer {
    let bus = free_port().to_string();
    let arguments = ["--cluster-enabled", "yes", "--cluster-port", &bus];
    let patience = ["--cluster-node-timeout", "2000"];
    RedisServer::start_with(&[arguments.as_slice(), &patience].concat()).await
}
