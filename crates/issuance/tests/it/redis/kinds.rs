//! The strategies on a cluster, and behind sentinels that fail over.

use firstcome_core::{Commit, Strategy};
use firstcome_ledger::Decision;
use firstcome_testkit::{Engine, RedisCluster, RedisServer, RedisTrio, TestDatabase};

use super::{Deployment, decided, held, issued, process};

/// A deployment that decides at this URL; the server beside it is asked nothing.
async fn deployment(url: &str) -> Deployment {
    let database = TestDatabase::new(Engine::Postgres).await;
    let one = process(url, database.url(), None).await;
    let (redis, commit) = (RedisServer::start().await, Commit::Ledger);
    Deployment { redis, database, commit, topic: None, one, worker: None }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_decides_events_on_every_node() {
    let cluster = RedisCluster::start().await;
    let test = deployment(&cluster.url()).await;
    for strategy in [Strategy::Redis, Strategy::RedisLock] {
        for _ in 0..6 {
            let event = test.event(strategy, 2).await;
            let first = issued(decided(&test.one, &event, "kim").await);
            assert_eq!(held(decided(&test.one, &event, "kim").await), first);
            test.act(&event, "sync").await;
            assert_eq!(issued(decided(&test.one, &event, "lee").await).sequence.get(), 2);
            assert_eq!(decided(&test.one, &event, "park").await, Decision::SoldOut);
            assert_eq!(test.winners(&event).await.len(), 2);
        }
    }
    for node in cluster.nodes() {
        let keys = node.cli(&["DBSIZE"]).await;
        assert_ne!(keys.trim(), "0", "every node has some of the events");
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
