//! The strategies on a cluster, and behind sentinels that fail over.

use firstcome_core::{Commit, Strategy};
use firstcome_issuance::{NoVerdict, Undecided};
use firstcome_ledger::Decision;
use firstcome_testkit::{
    Direction, Engine, Proxy, RedisCluster, RedisServer, RedisTrio, TestDatabase,
};
use tokio::time::{sleep, timeout};

use super::{Deployment, POLL, Place, WAIT_MAX, claim, decided, held, issued, process};

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

/// At once, and not when its lease ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_that_was_had_in_a_cluster_before_the_connection_broke_is_let_go() {
    let proxy = Proxy::start("127.0.0.1:1").await;
    let cluster = RedisCluster::start_behind(proxy.authority()).await;
    let node = &cluster.nodes()[0];
    proxy.set_upstream(&node.authority());
    let test = deployment(&cluster.url()).await;
    let event = test.event(Strategy::RedisLock, 2).await;
    issued(decided(&test.one, &event, "kim").await);
    node.cli(&["CONFIG", "RESETSTAT"]).await;

    proxy.cut(Direction::ToClient);
    let (handle, lees) = (test.one.handle.clone(), claim(&event, "lee"));
    let told = tokio::spawn(async move { handle.claim(lees).await });
    let had = async {
        while node.calls_of("set").await == 0 {
            sleep(POLL).await;
        }
    };
    timeout(WAIT_MAX, had).await.expect("the lock is had");
    proxy.wait_for_losses(1).await;
    proxy.heal().await;
    let refused = told.await.expect("no panic");
    assert_eq!(refused, Err(NoVerdict::Undecided(Undecided::Unavailable)));
    let lock = format!("firstcome:ev:{{{}}}:lock", event.id);
    let let_go = async {
        while node.cli(&["EXISTS", &lock]).await == "1" {
            sleep(POLL).await;
        }
    };
    timeout(WAIT_MAX, let_go).await.expect("it is let go");
    let stats = node.cli(&["INFO", "stats"]).await;
    assert!(stats.contains("expired_keys:0"), "its lease has ended");
    assert_eq!(issued(decided(&test.one, &event, "lee").await).sequence.get(), 2);
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
