//! Calls to a cluster: one that was certainly not executed is sent again, and no other. The client
//! would do that too where a connection breaks under a call, and tell of the second time alone.

use std::time::Duration;

use ::redis::cluster_async::ClusterConnection;
use ::redis::cluster_routing::SingleNodeRoutingInfo;
use ::redis::{Cmd, ErrorKind, RedisError, RedisResult, ServerErrorKind, Value, pipe};
use tokio::time::sleep;

/// How often a call is sent again, to the node that has the key now.
const RETRIES: usize = 1;
/// How long is waited before.
const RETRY_AFTER: Duration = Duration::from_millis(10);

/// Sends a command to the node that has its keys, and awaits its answer.
pub(super) async fn query(connection: &mut ClusterConnection, command: &Cmd) -> RedisResult<Value> {
    let mut answer = command.query_async(connection).await;
    for _ in 0..RETRIES {
        answer = match answer {
            Err(error) if asks(&error) => query_asking(connection, command, error).await,
            Err(error) if is_not_executed(&error) => {
                // The client has looked anew who has which keys before it sends this.
                sleep(RETRY_AFTER).await;
                command.query_async(connection).await
            }
            answer => return answer,
        };
    }
    answer
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

/// Sends a command to the node that gets its slot, as the one that has it still has said.
async fn query_asking(
    connection: &mut ClusterConnection,
    command: &Cmd,
    said: RedisError,
) -> RedisResult<Value> {
    let node = said.redirect_node().and_then(|(node, _)| node.rsplit_once(':'));
    let Some((host, Ok(port))) = node.map(|(host, port)| (host, port.parse())) else {
        return Err(said);
    };
    let mut both = pipe();
    both.cmd("ASKING").add_command(command.clone());
    let node = SingleNodeRoutingInfo::ByAddress { host: host.to_owned(), port };
    let mut answers = connection.route_pipeline(both, 1, 1, node).await?;
    answers.pop().unwrap_or(Value::Nil).extract_error()
}
