//! Changes that every process knows of by the time that they are answered, and what is late.

use std::sync::Arc;

use firstcome_testkit::{RedisCluster, RedisServer};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::support::shelf::{Process, Shelf};
use crate::support::{CALL_MAX, until};

#[tokio::test]
async fn a_change_shows_at_once_in_every_process() {
    let server = RedisServer::start().await;
    let (shelf, id) = Shelf::with_one();
    let mut processes = Vec::new();
    for _ in 0..4 {
        processes.push(Process::start(&server.url()).await);
    }
    for turn in 0..100 {
        for process in &processes {
            process.version(&shelf, id).await;
        }
        let thing = shelf.change(id);
        processes[turn % 4].things.changed(&thing).await;
        for process in &processes {
            assert_eq!(process.version(&shelf, id).await, thing.version, "turn {turn}");
        }
    }
    assert_eq!(shelf.reads(), 1, "the new value came by way of Redis");
}

#[tokio::test]
async fn a_change_shows_at_once_in_a_cluster() {
    let cluster = RedisCluster::start().await;
    let (shelf, id) = Shelf::with_one();
    let one = Process::start(&cluster.url()).await;
    // The other one listens at another node.
    let (first, second) = (&cluster.nodes()[0], &cluster.nodes()[1]);
    let url = format!("redis+cluster://{},{}", second.authority(), first.authority());
    let two = Process::start(&url).await;
    for _ in 0..50 {
        two.version(&shelf, id).await;
        let thing = shelf.change(id);
        one.things.changed(&thing).await;
        assert_eq!(two.version(&shelf, id).await, thing.version);
    }
}

#[tokio::test]
async fn a_process_that_sleeps_delays_a_change_by_half_a_second_at_most() {
    let server = RedisServer::start().await;
    let (shelf, id) = Shelf::with_one();
    let process = Process::start(&server.url()).await;
    // A subscriber that confirms nothing.
    let sleeper = crate::support::redis(&server.url());
    let mut subscription = sleeper.subscribe("firstcome:1:news");
    subscription.next().await.unwrap();
    let started = Instant::now();
    let thing = shelf.change(id);
    process.things.changed(&thing).await;
    assert!(started.elapsed() < CALL_MAX, "{:?}", started.elapsed());
    assert_eq!(process.version(&shelf, id).await, 2);
}

#[tokio::test]
async fn a_late_older_value_replaces_no_newer_one() {
    let server = RedisServer::start().await;
    let (shelf, id) = Shelf::with_one();
    let (shelf, read, go_on) = (Arc::new(shelf), Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (reader, writer) =
        (Process::start(&server.url()).await, Process::start(&server.url()).await);
    // A read that has the old value in its hands when the change is made and told.
    let slow = {
        let (shelf, things) = (Arc::clone(&shelf), reader.things.clone());
        let (read, go_on) = (Arc::clone(&read), Arc::clone(&go_on));
        tokio::spawn(async move {
            let load = || async {
                let thing = shelf.read(id).await;
                if shelf.reads() == 1 {
                    read.notify_one();
                    go_on.notified().await;
                }
                thing
            };
            things.get(id, load).await.unwrap().unwrap().version
        })
    };
    read.notified().await;
    let thing = shelf.change(id);
    writer.things.changed(&thing).await;
    // Who comes now waits for the read under way, and must not be given what it has.
    let joined = reader.version(&shelf, id);
    tokio::pin!(joined);
    assert!(futures_util::poll!(joined.as_mut()).is_pending());
    go_on.notify_one();
    assert_eq!(joined.await, 2);
    assert_eq!(slow.await.unwrap(), 2);
    assert_eq!(reader.version(&shelf, id).await, 2, "nor is it kept");
    let key = format!("firstcome:1:thing:{id}");
    // The two reads and the change, told and written, have looked for the version, and then the
    // late write.
    until("the late write is over", async || server.calls_of("hmget").await == 5).await;
    assert_eq!(server.cli(&["HGET", &key, "version"]).await, "2", "nor in Redis");
}

#[tokio::test]
async fn full_memory_keeps_no_change_from_being_told() {
    let server = RedisServer::start().await;
    let (shelf, id) = Shelf::with_one();
    let one = Process::start(&server.url()).await;
    let two = Process::start(&server.url()).await;
    assert_eq!(two.version(&shelf, id).await, 1);
    until("it is kept", async || server.cli(&["DBSIZE"]).await == "1").await;
    server.cli(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let thing = shelf.change(id);
    one.things.changed(&thing).await;
    assert_eq!(two.version(&shelf, id).await, 2);
    assert_eq!(server.cli(&["DBSIZE"]).await, "0", "what it cannot replace it forgets");
}

/// What an operator is told to type.
#[tokio::test]
async fn the_user_of_the_operations_page_is_enough() {
    let server = RedisServer::start().await;
    let url = server.make_operations_user().await;
    server.cli(&["ACL", "SETUSER", "default", "off"]).await;
    let (shelf, id) = Shelf::with_one();
    let (one, two) = (Process::start(&url).await, Process::start(&url).await);
    for _ in 0..10 {
        two.version(&shelf, id).await;
        let thing = shelf.change(id);
        one.things.changed(&thing).await;
        assert_eq!(two.version(&shelf, id).await, thing.version);
    }
    assert_eq!(shelf.reads(), 1, "both levels work");
    let facts = one.caches.redis().unwrap().inspect().await.unwrap();
    assert!(facts[0].version.is_some() && facts[0].appendfsync.is_some(), "{facts:?}");
}
