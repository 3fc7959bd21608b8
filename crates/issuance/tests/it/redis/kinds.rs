//! The strategies on a cluster, and behind sentinels that fail over.

use firstcome_core::{Commit, Strategy};
use firstcome_issuance::{NoVerdict, Undecided};
use firstcome_ledger::{Decision, EventRecord};
use firstcome_testkit::{Direction, Engine, Proxy, RedisCluster, RedisServer, RedisTrio};
use tokio::time::{sleep, timeout};

use super::crowd::Crowd;
use super::losses::key;
use super::{Deployment, POLL, WAIT_MAX, claim, decided, held, issued};
use crate::journal::TestTopic;

/// Makes a test of each function, for every commit.
macro_rules! for_every_commit {
    ($($test:ident),+ $(,)?) => {
        mod ledger { for_commit! { Ledger: $($test),+ } }
        mod kafka { for_commit! { Kafka: $($test),+ } }
        mod redis_stream { for_commit! { RedisStream: $($test),+ } }
    };
}

macro_rules! for_commit {
    ($commit:ident: $($test:ident),+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(firstcome_core::Commit::$commit).await;
            }
        )+
    };
}

for_every_commit! {
    a_cluster_decides_events_on_every_node,
    no_claim_is_lost_while_a_slot_moves,
    a_new_master_decides_only_what_was_recorded,
}

/// Events that may be needed until every node of a cluster has one: all of so many miss a node less
/// than once in 10^17.
const EVENTS_MAX: usize = 100;

/// A deployment that decides at this URL; the server beside it is asked nothing.
async fn deployment(url: String, commit: Commit) -> Deployment {
    let topic = if commit == Commit::Kafka { Some(TestTopic::new(2).await) } else { None };
    let redis = RedisServer::start().await;
    Deployment::deciding_at(url, redis, commit, topic, Engine::Postgres).await
}

async fn a_cluster_decides_events_on_every_node(commit: Commit) {
    let cluster = RedisCluster::start().await;
    let test = deployment(cluster.url(), commit).await;
    for strategy in test.deciders() {
        let mut is_tried = [false; 3];
        for _ in 0..EVENTS_MAX {
            let event = test.event(*strategy, 2).await;
            // Events are made at random; where their keys lie follows from their ids.
            let node = cluster.node_of(&tag(&event)).await;
            if std::mem::replace(&mut is_tried[node], true) {
                continue;
            }
            let first = issued(decided(&test.one, &event, "kim").await);
            assert_eq!(held(decided(&test.one, &event, "kim").await), first);
            test.act(&event, "sync").await;
            assert_eq!(issued(decided(&test.one, &event, "lee").await).sequence.get(), 2);
            assert_eq!(decided(&test.one, &event, "park").await, Decision::SoldOut);
            assert_eq!(test.winners(&event).await.len(), 2);
            if *strategy == Strategy::Redis {
                let winners = key(&event, "winners");
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

/// What all keys of an event have in common.
fn tag(event: &EventRecord) -> String {
    format!("{{{}}}", event.id)
}

/// Each of its keys goes by itself; they are decided by when they are together.
async fn no_claim_is_lost_while_a_slot_moves(commit: Commit) {
    /// Answers that are heard between two steps.
    const HEARD: usize = 20;
    let cluster = RedisCluster::start().await;
    let test = deployment(cluster.url(), commit).await;
    let other = test.another().await;
    for strategy in test.deciders() {
        let event = test.event(*strategy, 100_000).await;
        let crowd = Crowd::gather(&event, [&test.one, &other]);
        crowd.is_decided(HEARD).await;
        let to = (cluster.node_of(&tag(&event)).await + 1) % 3;
        let slot = cluster.start_to_move(&tag(&event), to).await;
        crowd.hears(HEARD).await;
        while let Some(key) = slot.keys_at(slot.from).await.first() {
            slot.migrate(key).await;
            crowd.hears(HEARD).await;
        }
        slot.end().await;
        crowd.is_decided(HEARD).await;
        let (heard, told) = crowd.disperse().await;
        if *strategy == Strategy::Redis {
            assert!(heard > told.len(), "nobody has met what was half moved");
        }
        let winners = test.winners(&event).await;
        assert_eq!(winners.len(), told.len());
        for (user, decision) in told {
            let row = winners.iter().find(|row| row.user_id.as_str() == user);
            match decision {
                Decision::Issued(coupon) | Decision::AlreadyClaimed(coupon) => {
                    assert_eq!(Some(&coupon), row);
                }
                other => panic!("{user} was told {other:?} and has {row:?}"),
            }
        }
        let quantity = u32::try_from(winners.len()).expect("a small number");
        assert_eq!(test.set_quantity(&event, quantity).await, 200);
        assert_eq!(decided(&test.one, &event, "late").await, Decision::SoldOut);
    }
}

/// At once, and not when its lease ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_that_was_had_in_a_cluster_before_the_connection_broke_is_let_go() {
    let proxy = Proxy::start("127.0.0.1:1").await;
    let cluster = RedisCluster::start_behind(proxy.authority()).await;
    let node = &cluster.nodes()[0];
    proxy.set_upstream(&node.authority());
    let mut test = deployment(cluster.url(), Commit::Ledger).await;
    // Nobody but its holder has it.
    test.worker = None;
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
    let lock = key(&event, "lock");
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

async fn a_new_master_decides_only_what_was_recorded(commit: Commit) {
    let mut trio = RedisTrio::start().await;
    let test = deployment(trio.url(), commit).await;
    let event = test.event(Strategy::Redis, 3).await;
    let first = issued(decided(&test.one, &event, "kim").await);
    if commit == Commit::RedisStream {
        // It promises no more than that.
        assert_eq!(test.winners(&event).await, std::slice::from_ref(&first));
    }
    trio.fail_over().await;
    if commit == Commit::RedisStream {
        // Nor that what the old one has decided meanwhile outlives it.
        let is_replica = async {
            while trio.servers()[0].cli(&["ROLE"]).await.starts_with("master") {
                sleep(POLL).await;
            }
        };
        timeout(WAIT_MAX, is_replica).await.expect("the old master is a replica");
    }
    assert_eq!(held(decided(&test.one, &event, "kim").await), first);
    assert_eq!(issued(decided(&test.one, &event, "lee").await).sequence.get(), 2);
    assert_eq!(test.winners(&event).await.len(), 2);
}
