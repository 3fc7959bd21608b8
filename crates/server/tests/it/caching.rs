//! Several processes with one Redis: what an admin changed shows at once in all of them, and a
//! Redis that is away costs nothing but speed.

use std::time::Duration;

use firstcome_testkit::{Answer, Engine, RedisServer, TestDatabase};
use serde_json::json;
use tokio::time::Instant;

use crate::shop::{Shop, eventually, patient};
use crate::startup::{check_refused, directory, serve};

/// How long the count of issued coupons may lag behind, and what a busy machine may add.
const LAG_MAX: Duration = Duration::from_secs(10 + 5);
/// How often a change is followed by a read at the other process.
const TURNS: usize = 20;

struct Pair {
    /// Where a change is made, and where it is read.
    shops: [Shop; 2],
    redis: RedisServer,
    _database: TestDatabase,
}

impl Pair {
    async fn open() -> Self {
        let database = TestDatabase::new(Engine::Postgres).await;
        let redis = RedisServer::start().await;
        let shop = Shop::open_as(|launch| {
            let launch = launch.environment("FIRSTCOME_LEDGER_URL", database.url());
            patient(launch.environment("FIRSTCOME_REDIS_URL", &redis.url()))
        })
        .await;
        let beside = shop.beside().await;
        Self { shops: [shop, beside], redis, _database: database }
    }
}

async fn read(shop: &Shop, path: &str) -> Answer {
    shop.api.get(path).await.expect(200)
}

/// The value of a counter, or of several together, at `/metrics`.
async fn counted(shop: &Shop, name: &str) -> u64 {
    let text = shop.api.get("/metrics").await.expect(200).text();
    let lines = text.lines().filter(|line| line.starts_with(name));
    lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_admin_changed_shows_at_once_in_every_process() {
    let pair = Pair::open().await;
    let [here, there] = &pair.shops;
    let coupon = format!("/v1/coupons/{}", here.coupon().await);
    let event = here.event(10).await;
    let event_path = format!("/v1/events/{event}");
    for turn in 0..TURNS {
        let (writer, reader) = if turn % 2 == 0 { (here, there) } else { (there, here) };
        let old = read(reader, &coupon).await;
        let change = writer.api.patch(&coupon).token(&writer.admin);
        let change = change.header("if-match", old.header("etag"));
        let changed = change.json(json!({"name": format!("쿠폰 {turn}")})).await.expect(200);
        for shop in [reader, writer] {
            let found = read(shop, &coupon).await;
            assert_eq!(found.header("etag"), changed.header("etag"), "turn {turn}");
            assert_eq!(found.text(), changed.text(), "turn {turn}");
        }
        read(reader, &event_path).await;
        let action = if turn % 2 == 0 { "pause" } else { "resume" };
        let changed = writer.act(&event, action).await.expect(200);
        for shop in [reader, writer] {
            let found = read(shop, &event_path).await;
            assert_eq!(found.header("etag"), changed.header("etag"), "turn {turn}");
            assert_eq!(found.member("/state"), changed.member("/state"), "turn {turn}");
        }
    }
    let changed = here.change_event(&event, json!({"quantity": 20})).await.expect(200);
    assert_eq!(read(there, &event_path).await.member("/quantity"), 20);
    assert_eq!(changed.member("/quantity"), 20);
    let hits = "firstcome_cache_reads_total{cache=\"coupon\",level=\"redis\",outcome=\"hit\"}";
    assert!(counted(there, hits).await > 0, "the change came by way of Redis");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_issued_shows_within_ten_seconds() {
    let pair = Pair::open().await;
    let [here, there] = &pair.shops;
    let event = here.event(2).await;
    for shop in [here, there] {
        assert_eq!(shop.read_event(&event).await.expect(200).member("/issued"), 0);
    }
    for name in ["kim", "lee"] {
        let _ = here.claim(&event, &here.user(name).await).await.expect(201);
    }
    let claimed_at = Instant::now();
    let all = |answer: &Answer| answer.member("/issued") == 2;
    for shop in [here, there] {
        let found = eventually("two issued", || shop.read_event(&event), all).await;
        assert_eq!(found.member("/state"), "sold_out");
        assert_eq!(found.member("/remaining"), 0);
    }
    assert!(claimed_at.elapsed() < LAG_MAX, "{:?}", claimed_at.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_dies_takes_nothing_with_it() {
    let mut pair = Pair::open().await;
    let [here, there] = &pair.shops;
    let event = here.event(10).await;
    let path = format!("/v1/events/{event}");
    read(there, &path).await;
    pair.redis.kill9();
    for _ in 0..5 {
        let changed = here.act(&event, "pause").await.expect(200);
        assert_eq!(read(here, &path).await.header("etag"), changed.header("etag"));
        let _ = here.act(&event, "resume").await.expect(200);
        let _ = read(there, &path).await;
    }
    let _ = here.claim(&event, &here.user("kim").await).await.expect(201);
    for shop in [here, there] {
        assert_eq!(shop.api.get("/readyz").await.expect(200).member("/status"), "ready");
    }
    let open = |answer: &Answer| answer.member("/state") == "open";
    eventually("open", || there.read_event(&event), open).await;
    pair.redis.restart().await;
    let heard = "firstcome_cache_news_total{outcome=\"heard\"}";
    let before = counted(there, heard).await;
    // The breaker lets nothing through for a second after the last call that failed.
    let change = async || {
        let _ = here.act(&event, "pause").await.expect(200);
        let _ = here.act(&event, "resume").await.expect(200);
        counted(there, heard).await
    };
    eventually("news heard", change, |heard| *heard > before).await;
}

#[tokio::test]
async fn a_redis_that_does_not_fit_keeps_a_server_from_starting() {
    let redis = RedisServer::start_with(&["--requirepass", "right-one"]).await;
    let data = directory();
    let refused = async |url: &str, names: &[&str]| {
        let launch = serve(data.path()).environment("FIRSTCOME_REDIS_URL", url);
        let said = check_refused(launch, names).await;
        assert!(!said.contains("geheim"), "a password is told: {said}");
    };
    let authority = redis.authority();
    let wrong = format!("redis://:geheim@{authority}");
    refused(&wrong, &[&authority, "redis.url", "`requirepass`"]).await;
    refused(&format!("redis://{authority}"), &["it wants a password"]).await;
    refused("redis://u:geheim@host/x", &["redis.url", "FIRSTCOME_REDIS_URL"]).await;
    refused("rediss+sentinel://u:geheim@host", &["redis.url", "the master's name"]).await;
    let cluster = format!("redis+cluster://:right-one@{authority}");
    refused(&cluster, &["begin redis.url with redis://"]).await;
}

#[tokio::test]
async fn a_redis_that_is_away_at_the_start_is_told() {
    let mut redis = RedisServer::start().await;
    redis.kill9();
    let shop =
        Shop::open_as(|launch| launch.environment("FIRSTCOME_REDIS_URL", &redis.url())).await;
    let logged = shop.server.logged();
    assert!(logged.contains("Redis is away") && logged.contains(&redis.authority()), "{logged}");
    let event = shop.event(1).await;
    let _ = shop.claim(&event, &shop.user("kim").await).await.expect(201);
}
