//! The strategies on a cluster, and behind sentinels that fail over.

use firstcome_core::{Commit, Strategy};
use firstcome_ledger::Decision;
use firstcome_testkit::{Engine, RedisCluster, RedisServer, RedisTrio, TestDatabase};

use super::{Deployment, Place, decided, held, issued, process};

/// Events that may be needed until every node of a cluster has one: all of so many miss a node less
/// than once in 10^17.
const EVENTS_MAX: usize = 100;

/// A deployment that decides at this URL; the server beside it is asked nothing.
async fn deployment(url: &str) -> Deployment {
    let database = TestDatabase::new(Engine::Postgres).await;
    let one = process(url, database.url(), None).await;
    let (redis, commit) = (RedisServer::start().await, Commit::Ledger);
    let ledger = Place::Server(database);
    Deployment { redis, ledger, commit, topic: None, one, worker: None }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_decides_events_on_every_node() {
    let cluster = RedisCluster::start().await;
    let test = deployment(&cluster.url()).await;
    for strategy in [Strategy::Redis, Strategy::RedisLock] {
        let mut is_tried = [false; 3];
        for _ in 0..EVENTS_MAX {
            let event = test.event(strategy, 2).await;
            // Events are made at random; where their keys lie follows from their ids.
            let node = cluster.node_of(&format!("{{{}}}", event.id)).await;
            if std::mem::replace(&mut is_tried[node], true) {
                continue;
            }
            let first = issued(decided(&test.one, &event, "kim").await);
            assert_eq!(held(decided(&test.one, &event, "kim").await), first);
            test.act(&event, "sync").await;
            assert_eq!(issued(decided(&test.one, &event, "lee").await).sequence.get(), 2);
            assert_eq!(decided(&test.one, &event, "park").await, Decision::SoldOut);
            assert_eq!(test.winners(&event).await.len(), 2);
            if strategy == Strategy::Redis {
                let winners = format!("firstcome:ev:{{{}}}:winners", event.id);
                let kept = cluster.nodes()[node].cli(&["exists", &winners]).await;
                assert_eq!(kept, "1", "the event's own node keeps its winners");
            }
            if is_tried == [true; 3] {
                break;
            }
        }
        assert_eq!(is_tried, [true; 3], "{strategy:?} has met every node");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_master_decides_only_what_the_ledger_has() {
    let trio = RedisTrio::start().await;
    let test = deployment(&trio.url()).await;
    let event = test.event(Strategy::Redis, 3).await;
    let first = issued(decided(&test.one, &event, "kim").await);
    trio.fail_over().await;
    assert_eq!(held(decided(&test.one, &event, "kim").await), first);
    assert_eq!(issued(decided(&test.one, &event, "lee").await).sequence.get(), 2);
    assert_eq!(test.winners(&event).await.len(), 2);
}
