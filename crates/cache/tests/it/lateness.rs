//! What a Redis that hung executes when it goes on, and one whose clock was set back.

use firstcome_testkit::RedisServer;
use metrics_exporter_prometheus::PrometheusBuilder;
use uuid::Uuid;

use crate::support::shelf::{Process, Shelf};
use crate::support::until;

/// The time of Redis.
async fn now_ms(server: &RedisServer) -> u64 {
    let time = server.cli(&["TIME"]).await;
    let (seconds, micros) = time.split_once('\n').unwrap();
    seconds.parse::<u64>().unwrap() * 1_000 + micros.trim().parse::<u64>().unwrap() / 1_000
}

/// When it was read what Redis has of this thing.
async fn read_at_ms(server: &RedisServer, id: Uuid) -> u64 {
    server.cli(&["HGET", &key(id), "read_at"]).await.parse().unwrap()
}

/// The version that Redis knows of it.
async fn version(server: &RedisServer, id: Uuid) -> String {
    server.cli(&["HGET", &key(id), "version"]).await
}

fn key(id: Uuid) -> String {
    format!("firstcome:1:thing:{id}")
}

#[tokio::test]
async fn of_changes_that_a_hanging_redis_hears_late_no_older_one_is_answered() {
    let server = RedisServer::start().await;
    let (shelf, id) = Shelf::with_one();
    let (reader, writer) =
        (Process::start(&server.url()).await, Process::start(&server.url()).await);
    assert_eq!(reader.version(&shelf, id).await, 1);
    let thing = shelf.change(id);
    // From here on the server knows the scripts: it executes what it hears late.
    writer.things.changed(&thing).await;
    assert_eq!(reader.version(&shelf, id).await, 2);
    server.hang();
    for _ in 0..2 {
        let thing = shelf.change(id);
        writer.things.changed(&thing).await;
    }
    server.go_on();
    until("a change is heard late", async || version(&server, id).await != "2").await;
    let fresh = Process::start(&server.url()).await;
    assert_eq!(fresh.version(&shelf, id).await, 4);
    until("all hear of one", async || reader.version(&shelf, id).await == 4).await;
    until("the newest is kept", async || version(&server, id).await == "4").await;
}

#[tokio::test]
async fn what_a_redis_that_hung_keeps_late_is_no_younger_for_that() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let server = RedisServer::start().await;
    let (shelf, id) = Shelf::with_one();
    let process = Process::start(&server.url()).await;
    let (other, other_id) = Shelf::with_one();
    process.version(&other, other_id).await;
    until("the script is known", async || server.cli(&["DBSIZE"]).await == "1").await;
    let before_ms = now_ms(&server).await;
    let load = async || {
        server.hang();
        shelf.read(id).await
    };
    assert_eq!(process.things.get(id, load).await.unwrap().unwrap().version, 1);
    let in_doubt = "firstcome_redis_calls_total{use=\"cache\",outcome=\"in_doubt\"} 1";
    let is_given_up = async || handle.render().lines().any(|line| line == in_doubt);
    until("the write is given up", is_given_up).await;
    server.go_on();
    until("it is kept late", async || server.cli(&["DBSIZE"]).await == "2").await;
    let (read_at_ms, now_ms) = (read_at_ms(&server, id).await, now_ms(&server).await);
    assert!(read_at_ms >= before_ms, "{read_at_ms} {before_ms}");
    assert!(now_ms - read_at_ms >= 500, "it has the time of the call: {now_ms} {read_at_ms}");
}

#[tokio::test]
async fn what_is_younger_than_nothing_is_passed_by_and_replaced() {
    let server = RedisServer::start().await;
    let (shelf, id) = Shelf::with_one();
    let later_ms = now_ms(&server).await + 3_600_000;
    let json = format!("{{\"id\":\"{id}\",\"version\":1}}");
    let later = later_ms.to_string();
    server.cli(&["HSET", &key(id), "version", "1", "read_at", &later, "value", &json]).await;
    assert_eq!(Process::start(&server.url()).await.version(&shelf, id).await, 1);
    assert_eq!(shelf.reads(), 1);
    until("it is replaced", async || read_at_ms(&server, id).await < later_ms).await;
    assert_eq!(Process::start(&server.url()).await.version(&shelf, id).await, 1);
    assert_eq!(shelf.reads(), 1, "and kept");
}
