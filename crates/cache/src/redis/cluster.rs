//! Calls to a cluster: one that was certainly not executed is sent again, and no other. The client
//! would do that too where a connection breaks under a call, and tell of the second time alone.
//!
//! A key that has moved before its slot is asked for over a connection of our own: the client has
//! none to a node without slots, and throws away all that it has when it is sent there.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use ::redis::cluster_async::ClusterConnection;
use ::redis::{
    Cmd, ErrorKind, RedisError, RedisResult, ServerErrorKind, Value, cmd, make_extension_error,
};
use tokio::runtime::Handle;
use tokio::time::sleep;

use super::connect::Connector;
use super::link::Link;

/// How often a call is sent again, to the node that has the key now.
const RETRIES: usize = 1;
/// How long is waited before.
const RETRY_AFTER: Duration = Duration::from_millis(10);

/// How long a connection to a node that keys move to is kept. Who needs one for longer makes
/// another.
const KEPT: Duration = Duration::from_secs(60);

/// The nodes of a cluster.
#[derive(Clone)]
pub(super) struct Cluster {
    /// It knows those that have slots.
    pub(super) client: ClusterConnection,
    importers: Arc<Importers>,
}

/// The nodes that slots are on their way to, which may have none yet.
struct Importers {
    connector: Arc<Connector>,
    runtime: Handle,
    /// By address: at most as many as the cluster has nodes.
    links: Mutex<HashMap<String, Arc<Link>>>,
}

impl Cluster {
    pub(super) fn new(client: ClusterConnection, connector: Arc<Connector>) -> Self {
        Self { client, importers: Arc::new(Importers::new(connector, Handle::current())) }
    }

    /// Sends a command to the node that has its keys, and awaits its answer.
    pub(super) async fn query(&mut self, command: &Cmd) -> RedisResult<Value> {
        let mut answer = command.query_async(&mut self.client).await;
        for _ in 0..RETRIES {
            answer = match answer {
                Err(error) if asks(&error) => self.importers.query(command, error).await,
                Err(error) if is_not_executed(&error) => {
                    // The client has looked anew who has which keys before it sends this.
                    sleep(RETRY_AFTER).await;
                    command.query_async(&mut self.client).await
                }
                answer => return answer,
            };
        }
        answer
    }
}

impl Importers {
    fn new(connector: Arc<Connector>, runtime: Handle) -> Self {
        Self { connector, runtime, links: Mutex::default() }
    }

    /// Sends a command to the node that gets its slot, as the one that has it still has said. Where
    /// there is no way to that one it stays with what was said: the one that said it is there.
    async fn query(self: &Arc<Self>, command: &Cmd, said: RedisError) -> RedisResult<Value> {
        let Some((node, slot)) = said.redirect_node() else { return Err(said) };
        let live = match self.link(node) {
            Ok(link) => link.live().await,
            Err(error) => Err(error),
        };
        let mut live = live.map_err(|error| {
            make_extension_error("ASK".into(), Some(format!("{slot} {node}, and there: {error}")))
        })?;
        let both = [cmd("ASKING"), command.clone()];
        let mut answers = live.connection.query_all(both.iter()).await?;
        answers.pop().unwrap_or(Ok(Value::Nil))
    }

    /// The way to the node at this address.
    fn link(self: &Arc<Self>, node: &str) -> Result<Arc<Link>, super::RedisError> {
        let mut links = self.links();
        if let Some(link) = links.get(node) {
            return Ok(Arc::clone(link));
        }
        let connector = Arc::new(self.connector.of_node(node)?);
        let link = Arc::new(Link::new(connector, self.runtime.clone()));
        links.insert(node.to_owned(), Arc::clone(&link));
        let (importers, node) = (Arc::downgrade(self), node.to_owned());
        self.runtime.spawn(async move {
            sleep(KEPT).await;
            if let Some(importers) = importers.upgrade() {
                importers.links().remove(&node);
            }
        });
        Ok(link)
    }

    fn links(&self) -> MutexGuard<'_, HashMap<String, Arc<Link>>> {
        self.links.lock().expect("no panic while held")
    }
}

/// Whether the key is with another node already, though its slot is not.
fn asks(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::Ask)
}

/// Whether the next time may do better, and this one has done nothing.
fn is_not_executed(error: &RedisError) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ClusterConnectionNotFound
            | ErrorKind::Server(
                ServerErrorKind::Moved
                    | ServerErrorKind::TryAgain
                    | ServerErrorKind::ReadOnly
                    | ServerErrorKind::ClusterDown
                    | ServerErrorKind::MasterDown
                    | ServerErrorKind::BusyLoading
            )
    )
}

#[cfg(test)]
mod tests {
    use super::super::RedisConfig;
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_way_to_a_node_is_kept_for_a_while() {
        let config = RedisConfig { url: "redis+cluster://host".into(), ..RedisConfig::default() };
        let connector = Arc::new(Connector::new(&config).unwrap());
        let importers = Arc::new(Importers::new(connector, Handle::current()));
        let first = importers.link("host:7000").unwrap();
        sleep(KEPT / 2).await;
        assert!(Arc::ptr_eq(&first, &importers.link("host:7000").unwrap()));
        sleep(KEPT).await;
        assert!(importers.links().is_empty());
        assert!(!Arc::ptr_eq(&first, &importers.link("host:7000").unwrap()));
        assert!(importers.link("host").is_err() && importers.link("host:port").is_err());
    }
}
