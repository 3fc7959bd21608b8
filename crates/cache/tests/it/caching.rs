//! What is kept, for how long, and what a Redis that is away changes about it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use firstcome_cache::redis::RedisConfig;
use firstcome_testkit::{Direction, Proxy, RedisServer};
use futures_util::future::join_all;
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::time::Instant;
use uuid::Uuid;

use crate::support::shelf::{Process, Shelf, Thing};
use crate::support::{CALL_MAX, config, until};

/// The oldest that an answer may be.
const AGE_MAX: Duration = Duration::from_secs(10);
/// The longest that a read waits for Redis.
const READ_WAIT_MAX: Duration = Duration::from_millis(100);
/// What the busy machine of a test may add.
const SLACK: Duration = Duration::from_secs(2);

#[tokio::test]
async fn what_many_want_is_read_once() {
    let server = RedisServer::start().await;
    let (shelf, id) = Shelf::with_one();
    let process = Process::start(&server.url()).await;
    let reads = (0..100).map(|_| process.version(&shelf, id));
    assert!(join_all(reads).await.into_iter().all(|version| version == 1));
    assert_eq!(shelf.reads(), 1);
}

#[tokio::test]
async fn what_one_process_has_read_others_have_from_redis() {
    let server = RedisServer::start().await;
    let (shelf, id) = Shelf::with_one();
    Process::start(&server.url()).await.version(&shelf, id).await;
    until("it is kept", async || server.cli(&["DBSIZE"]).await == "1").await;
    let ttl: u32 = server.cli(&["TTL", &format!("firstcome:1:thing:{id}")]).await.parse().unwrap();
    assert!((1_700..=1_800).contains(&ttl), "30 min: {ttl}");
    let other = Process::start(&server.url()).await;
    assert_eq!(other.version(&shelf, id).await, 1);
    assert_eq!(shelf.reads(), 1);
}

#[tokio::test]
async fn what_is_missing_or_fails_is_not_kept() {
    let server = RedisServer::start().await;
    let process = Process::start(&server.url()).await;
    let (shelf, id) = (Shelf::default(), Uuid::new_v4());
    for _ in 0..2 {
        assert_eq!(process.things.get(id, || shelf.read(id)).await.unwrap(), None);
    }
    assert_eq!(shelf.reads(), 2);
    let failures = AtomicUsize::new(0);
    let fail = || async {
        failures.fetch_add(1, Ordering::Relaxed);
        Err::<Option<Thing>, _>("away")
    };
    for _ in 0..2 {
        assert_eq!(*process.things.get(id, fail).await.unwrap_err(), "away");
    }
    assert_eq!(failures.into_inner(), 2);
}

#[tokio::test]
async fn without_redis_nothing_is_kept() {
    let (shelf, id) = Shelf::with_one();
    let process = Process::start_alone(&RedisConfig::default());
    assert!(process.caches.listens());
    for version in 1..4 {
        assert_eq!(process.version(&shelf, id).await, version);
        let thing = shelf.change(id);
        process.things.changed(&thing).await;
    }
    assert_eq!(shelf.reads(), 3);
}

/// Counts from the reading of the ledger: what Redis has kept for six seconds is good for four.
#[tokio::test]
async fn a_change_that_nobody_is_told_of_shows_within_ten_seconds() {
    let server = RedisServer::start().await;
    let (shelf, id) = Shelf::with_one();
    let first = Process::start(&server.url()).await;
    let read_at = Instant::now();
    assert_eq!(first.version(&shelf, id).await, 1);
    shelf.change(id);
    until("six seconds", async || read_at.elapsed() > Duration::from_secs(6)).await;
    let second = Process::start(&server.url()).await;
    assert_eq!(second.version(&shelf, id).await, 1, "as Redis has it");
    assert_eq!(shelf.reads(), 1);
    for (process, name) in [(&first, "first"), (&second, "second")] {
        until(name, async || process.version(&shelf, id).await == 2).await;
        let age = read_at.elapsed();
        assert!((AGE_MAX - SLACK..AGE_MAX + SLACK).contains(&age), "{name}: {age:?}");
    }
    assert!(shelf.reads() <= 3, "{}", shelf.reads());
}

#[tokio::test]
async fn a_change_that_could_not_be_told_is_told_later() {
    let server = RedisServer::start().await;
    let proxy = Proxy::start(&server.url()).await;
    let (shelf, id) = Shelf::with_one();
    let cut_off = Process::start(&format!("redis://{}", proxy.authority())).await;
    let other = Process::start(&server.url()).await;
    let read_at = Instant::now();
    assert_eq!(other.version(&shelf, id).await, 1);
    proxy.cut(Direction::ToServer);
    cut_off.things.changed(&shelf.change(id)).await;
    assert_eq!(other.version(&shelf, id).await, 1);
    proxy.heal().await;
    until("it is told", async || other.version(&shelf, id).await == 2).await;
    assert!(read_at.elapsed() < AGE_MAX - SLACK, "too old by itself: {:?}", read_at.elapsed());
}

#[tokio::test]
async fn what_was_read_before_a_gap_in_the_news_is_not_answered_after_it() {
    let server = RedisServer::start().await;
    let proxy = Proxy::start(&server.url()).await;
    let (shelf, id) = Shelf::with_one();
    let writer = Process::start(&server.url()).await;
    let cut_off = Process::start(&format!("redis://{}", proxy.authority())).await;
    assert_eq!(cut_off.version(&shelf, id).await, 1);
    let read_at = Instant::now();
    proxy.cut(Direction::ToClient);
    let thing = shelf.change(id);
    writer.things.changed(&thing).await;
    until("the silence is noticed", async || !cut_off.caches.listens()).await;
    proxy.heal().await;
    until("news come in again", async || cut_off.caches.listens()).await;
    assert!(read_at.elapsed() < AGE_MAX, "it would be young enough: {:?}", read_at.elapsed());
    assert_eq!(cut_off.version(&shelf, id).await, 2);
}

#[tokio::test]
async fn a_process_that_hears_nothing_answers_what_is_a_second_old_at_most() {
    let server = RedisServer::start().await;
    let proxy = Proxy::start(&server.url()).await;
    let (shelf, id) = Shelf::with_one();
    let process = Process::start(&format!("redis://{}", proxy.authority())).await;
    proxy.cut(Direction::ToClient);
    until("the silence is noticed", async || !process.caches.listens()).await;
    let read_at = Instant::now();
    assert_eq!(process.version(&shelf, id).await, 1);
    shelf.change(id);
    until("the change shows", async || process.version(&shelf, id).await == 2).await;
    assert!(read_at.elapsed() < Duration::from_secs(1) + SLACK, "{:?}", read_at.elapsed());
}

#[tokio::test]
async fn a_redis_that_dies_is_no_reason_to_fail() {
    let mut server = RedisServer::start().await;
    let (shelf, id) = Shelf::with_one();
    let process = Process::start(&server.url()).await;
    assert_eq!(process.version(&shelf, id).await, 1);
    server.hang();
    for _ in 0..20 {
        let started = Instant::now();
        let thing = shelf.change(id);
        process.things.changed(&thing).await;
        assert_eq!(process.version(&shelf, id).await, thing.version, "what was changed here");
        assert!(started.elapsed() < CALL_MAX, "{:?}", started.elapsed());
    }
    server.kill9();
    let (other, other_id) = Shelf::with_one();
    let reads = (0..100).map(|_| process.version(&other, other_id));
    assert!(join_all(reads).await.into_iter().all(|version| version == 1));
    assert_eq!(other.reads(), 1, "still once for all");
    server.restart().await;
    until("news come in", async || process.caches.listens()).await;
    let fresh = Process::start(&server.url()).await;
    until("the levels work together", async || {
        let thing = shelf.change(id);
        process.things.changed(&thing).await;
        let reads = shelf.reads();
        fresh.version(&shelf, id).await == thing.version && shelf.reads() == reads
    })
    .await;
}

/// However long changes and the breaker would wait for it.
#[tokio::test]
async fn a_read_waits_for_a_redis_that_hangs_for_a_moment_only() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let server = RedisServer::start().await;
    let process = Process::start_alone(&RedisConfig {
        connect_timeout_ms: 60_000,
        answer_timeout_ms: 60_000,
        breaker_failures: 1_000,
        ..config(&server.url())
    });
    until("news come in", async || process.caches.listens()).await;
    let (near, near_id) = Shelf::with_one();
    assert_eq!(process.version(&near, near_id).await, 1);
    until("it is kept", async || server.cli(&["DBSIZE"]).await == "1").await;
    server.hang();
    // The first finds a connection that says nothing any more, and the others get none.
    for turn in 1..=3 {
        let (far, far_id) = Shelf::with_one();
        let started = Instant::now();
        let reads = (0..20).map(|_| process.version(&far, far_id));
        assert!(join_all(reads).await.into_iter().all(|version| version == 1));
        let took = started.elapsed();
        assert!(took < 10 * READ_WAIT_MAX, "turn {turn}: {took:?}");
        assert_eq!(far.reads(), 1, "once for all");
        let labels = "{cache=\"thing\",level=\"redis\",outcome=\"unavailable\"}";
        let unavailable = format!("firstcome_cache_reads_total{labels} {turn}");
        let shown = handle.render();
        assert!(shown.lines().any(|line| line == unavailable), "{unavailable}: {shown}");
    }
    let in_doubt = "firstcome_redis_calls_total{use=\"cache\",outcome=\"in_doubt\"} 1";
    let shown = handle.render();
    assert!(shown.lines().any(|line| line == in_doubt), "{in_doubt}: {shown}");
    // What the process has is asked of nobody.
    assert_eq!(process.version(&near, near_id).await, 1);
    assert_eq!(near.reads(), 1);
    server.go_on();
    let other = Process::start(&server.url()).await;
    until("Redis is asked again", async || {
        let (shelf, id) = Shelf::with_one();
        other.version(&shelf, id).await;
        let key = format!("firstcome:1:thing:{id}");
        until("it is kept", async || server.cli(&["EXISTS", &key]).await == "1").await;
        process.version(&shelf, id).await == 1 && shelf.reads() == 1
    })
    .await;
}

#[tokio::test]
async fn a_process_that_starts_without_its_redis_answers() {
    let mut server = RedisServer::start().await;
    server.kill9();
    let (shelf, id) = Shelf::with_one();
    let process = Process::start_alone(&config(&server.url()));
    assert!(!process.caches.listens());
    assert_eq!(process.version(&shelf, id).await, 1);
    server.restart().await;
    until("news come in", async || process.caches.listens()).await;
}

#[tokio::test]
async fn what_another_release_kept_is_passed_by() {
    let server = RedisServer::start().await;
    let (shelf, id) = Shelf::with_one();
    let key = format!("firstcome:1:thing:{id}");
    let now = server.cli(&["TIME"]).await;
    let seconds = now.lines().next().unwrap();
    let read_at = format!("{seconds}000");
    server.cli(&["HSET", &key, "version", "9", "read_at", &read_at, "value", "{\"x\":1}"]).await;
    assert_eq!(Process::start(&server.url()).await.version(&shelf, id).await, 1);
    server.cli(&["DEL", &key]).await;
    server.cli(&["SET", &key, "text"]).await;
    assert_eq!(Process::start(&server.url()).await.version(&shelf, id).await, 1);
}

#[tokio::test]
async fn reads_are_counted_by_level() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let server = RedisServer::start().await;
    let (shelf, id) = Shelf::with_one();
    let first = Process::start(&server.url()).await;
    for _ in 0..3 {
        first.version(&shelf, id).await;
    }
    until("it is kept", async || server.cli(&["DBSIZE"]).await == "1").await;
    let second = Process::start(&server.url()).await;
    second.version(&shelf, id).await;
    let thing = shelf.change(id);
    first.things.changed(&thing).await;
    let shown = handle.render();
    for line in [
        "firstcome_cache_reads_total{cache=\"thing\",level=\"process\",outcome=\"hit\"} 2",
        "firstcome_cache_reads_total{cache=\"thing\",level=\"process\",outcome=\"miss\"} 2",
        "firstcome_cache_reads_total{cache=\"thing\",level=\"redis\",outcome=\"hit\"} 1",
        "firstcome_cache_reads_total{cache=\"thing\",level=\"redis\",outcome=\"miss\"} 1",
        "firstcome_cache_loads_total{cache=\"thing\",outcome=\"ok\"} 1",
        "firstcome_cache_news_total{outcome=\"told\"} 1",
        "firstcome_cache_news_total{outcome=\"gap\"} 2",
        "firstcome_redis_breaker_open{use=\"cache\"} 0",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line} is not in:\n{shown}");
    }
    let ok = "firstcome_redis_calls_total{use=\"cache\",outcome=\"ok\"}";
    assert!(shown.contains(ok) && shown.contains("firstcome_redis_call_seconds"), "{shown}");
}

#[tokio::test]
async fn what_a_level_is_given_is_counted_by_level() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let server = RedisServer::start().await;
    let (shelf, id) = Shelf::with_one();
    let refreshes = |level: &str, by: &str| {
        let labels = format!("{{cache=\"thing\",level=\"{level}\",by=\"{by}\"}}");
        let (shown, name) = (handle.render(), "firstcome_cache_refreshes_total");
        let line = shown.lines().find_map(|line| line.strip_prefix(&format!("{name}{labels} ")));
        line.unwrap_or_else(|| panic!("no {name}{labels} in:\n{shown}")).parse::<u32>().unwrap()
    };
    let first = Process::start(&server.url()).await;
    for _ in 0..3 {
        first.version(&shelf, id).await;
    }
    until("it is kept", async || refreshes("redis", "load") == 1).await;
    assert_eq!(refreshes("process", "load"), 1, "from the ledger");
    let second = Process::start(&server.url()).await;
    second.version(&shelf, id).await;
    assert_eq!(refreshes("process", "load"), 2, "from Redis");
    assert_eq!((refreshes("process", "change"), refreshes("redis", "change")), (0, 0));

    let (older, newer) = (shelf.change(id), shelf.change(id));
    first.things.changed(&newer).await;
    assert_eq!((refreshes("process", "change"), refreshes("redis", "change")), (1, 1));
    assert_eq!(second.version(&shelf, id).await, newer.version);
    assert_eq!(refreshes("process", "load"), 3, "by who has heard of it, and is asked");
    second.things.changed(&older).await;
    assert_eq!(refreshes("redis", "change"), 1, "what is older is not kept");
    assert_eq!(refreshes("redis", "load"), 1);
}
