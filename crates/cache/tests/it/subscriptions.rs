//! What is published is heard, and where it may not have been, that is told.

use firstcome_cache::redis::{Heard, Redis, Subscription};
use firstcome_testkit::{Direction, Proxy, RedisCluster, RedisServer};
use tokio::time::timeout;

use crate::support::{WAIT_MAX, command, redis, until};

async fn heard(subscription: &mut Subscription) -> Heard {
    timeout(WAIT_MAX, subscription.next()).await.expect("in time").expect("the runtime runs")
}

async fn publish(redis: &Redis, text: &str) {
    redis.call::<i64>(&command(&["PUBLISH", "news", text])).await.unwrap();
}

#[tokio::test]
async fn messages_are_heard_in_order_after_the_first_gap() {
    let server = RedisServer::start().await;
    let redis = redis(&server.url());
    let mut subscription = redis.subscribe("news");
    assert_eq!(heard(&mut subscription).await, Heard::Gap);
    for text in ["one", "two", "three"] {
        publish(&redis, text).await;
    }
    for text in ["one", "two", "three"] {
        assert_eq!(heard(&mut subscription).await, Heard::Message(text.to_owned()));
    }
}

#[tokio::test]
async fn a_lost_connection_is_told_and_made_again() {
    let mut server = RedisServer::start().await;
    let redis = redis(&server.url());
    let mut subscription = redis.subscribe("news");
    assert_eq!(heard(&mut subscription).await, Heard::Gap);
    server.kill9();
    assert_eq!(heard(&mut subscription).await, Heard::Lost);
    server.restart().await;
    assert_eq!(heard(&mut subscription).await, Heard::Gap);
    until("calls are answered", async || redis.call::<String>(&command(&["PING"])).await.is_ok())
        .await;
    publish(&redis, "again").await;
    assert_eq!(heard(&mut subscription).await, Heard::Message("again".to_owned()));
}

#[tokio::test]
async fn a_silent_connection_is_noticed() {
    let server = RedisServer::start().await;
    let proxy = Proxy::start(&server.url()).await;
    let redis = redis(&format!("redis://{}", proxy.authority()));
    let mut subscription = redis.subscribe("news");
    assert_eq!(heard(&mut subscription).await, Heard::Gap);
    proxy.cut(Direction::ToClient);
    assert_eq!(heard(&mut subscription).await, Heard::Lost);
    proxy.heal().await;
    assert_eq!(heard(&mut subscription).await, Heard::Gap);
}

#[tokio::test]
async fn messages_that_nobody_takes_become_a_gap() {
    let server = RedisServer::start().await;
    let redis = redis(&server.url());
    let mut subscription = redis.subscribe("news");
    assert_eq!(heard(&mut subscription).await, Heard::Gap);
    let flood = "for n = 1, 6000 do redis.call('PUBLISH', 'news', n) end return 'done'";
    let mut eval = command(&["EVAL", flood]);
    let done: String = redis.call(eval.arg(0)).await.unwrap();
    assert_eq!(done, "done");
    publish(&redis, "last").await;
    let mut messages = 0;
    until("a gap is told", async || {
        let heard = heard(&mut subscription).await;
        messages += u32::from(matches!(heard, Heard::Message(_)));
        heard == Heard::Gap
    })
    .await;
    assert!(messages < 6_001, "{messages}");
}

#[tokio::test]
async fn a_cluster_tells_all_its_nodes() {
    let cluster = RedisCluster::start().await;
    let redis = redis(&cluster.url());
    let mut subscription = redis.subscribe("news");
    assert_eq!(heard(&mut subscription).await, Heard::Gap);
    for node in cluster.nodes() {
        node.cli(&["PUBLISH", "news", &node.authority()]).await;
        assert_eq!(heard(&mut subscription).await, Heard::Message(node.authority()));
    }
}

/// It answers as before, and nobody's word reaches it.
#[tokio::test]
async fn a_node_that_has_left_its_cluster_is_noticed() {
    let cluster = RedisCluster::start().await;
    let redis = redis(&cluster.url());
    let mut subscription = redis.subscribe("news");
    assert_eq!(heard(&mut subscription).await, Heard::Gap);
    let [left, others @ ..] = cluster.nodes() else { panic!("nodes") };
    let id = left.cli(&["CLUSTER", "MYID"]).await;
    left.cli(&["CLUSTER", "RESET"]).await;
    for other in others {
        other.cli(&["CLUSTER", "FORGET", &id]).await;
    }
    assert_eq!(heard(&mut subscription).await, Heard::Lost);
    for other in others {
        other.cli(&["CONFIG", "SET", "cluster-require-full-coverage", "no"]).await;
    }
    assert_eq!(heard(&mut subscription).await, Heard::Gap);
    for other in others {
        other.cli(&["PUBLISH", "news", &other.authority()]).await;
        assert_eq!(heard(&mut subscription).await, Heard::Message(other.authority()));
    }
}
