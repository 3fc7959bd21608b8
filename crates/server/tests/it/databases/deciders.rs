//! What decides the claims of several processes on one database: a deployment whose roles run
//! apart, by each strategy and commit; and two processes that have all roles, and one Redis.

use firstcome_testkit::{
    Answer, Engine, Launch, RedisServer, TestDatabase, event_body, remove_kafka_topic,
};

use crate::cluster::{Behind, Cluster};
use crate::databases::on_each_engine;
use crate::shop::{Shop, eventually, patient};
use crate::startup::{self, check_refused};
use crate::{durability, scenario};

on_each_engine!(
    twenty_thousand_claims_decided_by_the_ledger,
    twenty_thousand_claims_ordered_by_a_lock,
    twenty_thousand_claims_decided_in_redis,
    no_acknowledged_claim_is_lost_that_redis_decided,
    twenty_thousand_claims_committed_to_kafka,
    twenty_thousand_claims_committed_to_redis,
    no_acknowledged_claim_is_lost_that_kafka_holds,
    a_redis_that_does_not_fit_is_not_used,
    a_redis_whose_user_may_not_decide_is_not_used,
    a_redis_that_does_not_fit_is_not_used_until_it_does,
    a_redis_that_is_mended_is_used,
    a_redis_that_may_lose_wins_of_older_events_is_told,
);

/// Drops in which both processes are killed.
const DROPS: usize = 4;

/// A shop whose events are decided so unless they say otherwise.
async fn shop(strategy: &str, redis: &RedisServer, database: &TestDatabase) -> Shop {
    Shop::open_as(|launch| {
        patient(launch)
            .environment("FIRSTCOME_LEDGER_URL", database.url())
            .environment("FIRSTCOME_REDIS_URL", &redis.url())
            .environment("FIRSTCOME_STRATEGY", strategy)
    })
    .await
}

async fn no_acknowledged_claim_is_lost_that_redis_decided(engine: Engine) {
    let (redis, database) = (RedisServer::start().await, TestDatabase::new(engine).await);
    let shop = shop("redis", &redis, &database).await;
    let beside = shop.beside().await;
    durability::kill_again_and_again(&mut [shop, beside], DROPS).await;
}

/// A deployment whose roles run apart, and its Redis, which loses nothing of what it has answered;
/// where the ledger decides, it has none.
async fn apart(
    strategy: &str,
    commit: &str,
    database: &TestDatabase,
) -> (Cluster, Option<RedisServer>) {
    let saves = ["--appendonly", "yes", "--appendfsync", "always"];
    let redis = match strategy {
        "ledger" => None,
        _ => Some(RedisServer::start_with(&saves).await),
    };
    let redis_url = redis.as_ref().map(RedisServer::url).unwrap_or_default();
    let behind = Behind::new(database.url(), &redis_url, database.name()).by(strategy);
    let behind = if commit == "kafka" { behind } else { behind.without_kafka() };
    (Cluster::start(&behind, "ES256", commit).await, redis)
}

async fn twenty_thousand_claims(strategy: &str, commit: &str, engine: Engine) {
    let database = TestDatabase::new(engine).await;
    let (cluster, _redis) = apart(strategy, commit, &database).await;
    let event = cluster.shops()[0].event(1).await;
    assert_eq!(cluster.shops()[0].read_event(&event).await.member("/strategy"), strategy);
    assert_eq!(database.text("SELECT commit_to FROM events").await, commit);
    scenario::twenty_thousand_claims_on(&cluster.shops()).await;
    drop(cluster);
    if commit == "kafka" {
        remove_kafka_topic(database.name()).await;
    }
}

async fn twenty_thousand_claims_decided_by_the_ledger(engine: Engine) {
    twenty_thousand_claims("ledger", "ledger", engine).await;
}

async fn twenty_thousand_claims_ordered_by_a_lock(engine: Engine) {
    twenty_thousand_claims("redis_lock", "ledger", engine).await;
}

async fn twenty_thousand_claims_decided_in_redis(engine: Engine) {
    twenty_thousand_claims("redis", "ledger", engine).await;
}

async fn twenty_thousand_claims_committed_to_kafka(engine: Engine) {
    twenty_thousand_claims("redis", "kafka", engine).await;
}

async fn twenty_thousand_claims_committed_to_redis(engine: Engine) {
    twenty_thousand_claims("redis", "redis_stream", engine).await;
}

/// In each drop both processes that claims go to are killed, and a worker.
async fn no_acknowledged_claim_is_lost_that_kafka_holds(engine: Engine) {
    let database = TestDatabase::new(engine).await;
    let (mut cluster, _redis) = apart("redis", "kafka", &database).await;
    let Cluster { shops, workers, .. } = &mut cluster;
    durability::kill_all_again_and_again(shops, workers, DROPS).await;
    drop(cluster);
    remove_kafka_topic(database.name()).await;
}

const FORGETFUL: &[&str] = &["--maxmemory-policy", "allkeys-lru"];

async fn a_redis_that_does_not_fit_is_not_used(engine: Engine) {
    let database = TestDatabase::new(engine).await;
    let without_file = RedisServer::start().await;
    let forgetful = RedisServer::start_with(FORGETFUL).await;
    for (redis, commit, names) in [
        (&forgetful, "ledger", ["`maxmemory-policy allkeys-lru`", "noeviction"]),
        (&without_file, "redis_stream", ["`appendonly no`", "appendonly yes"]),
    ] {
        let data = startup::directory();
        let launch = startup::serve(data.path())
            .environment("FIRSTCOME_LEDGER_URL", database.url())
            .environment("FIRSTCOME_REDIS_URL", &redis.url())
            .environment("FIRSTCOME_STRATEGY", "redis")
            .environment("FIRSTCOME_COMMIT", commit);
        check_refused(launch, &names).await;
    }
}

async fn a_redis_whose_user_may_not_decide_is_not_used(engine: Engine) {
    let (redis, database) = (RedisServer::start().await, TestDatabase::new(engine).await);
    redis.cli(&["ACL", "SETUSER", "ann", "on", ">p", "~*", "&*", "+@all", "-hset"]).await;
    let url = format!("redis://ann:p@{}", redis.authority());
    for strategy in ["redis", "redis_lock"] {
        let data = startup::directory();
        let launch = startup::serve(data.path())
            .environment("FIRSTCOME_LEDGER_URL", database.url())
            .environment("FIRSTCOME_REDIS_URL", &url)
            .environment("FIRSTCOME_STRATEGY", strategy);
        check_refused(launch, &["denies HSET", "docs/operations/redis.md"]).await;
    }
}

/// Where events are decided by the ledger unless they say otherwise.
async fn a_redis_that_is_mended_is_used(engine: Engine) {
    let database = TestDatabase::new(engine).await;
    let redis = RedisServer::start_with(FORGETFUL).await;
    let shop = shop("ledger", &redis, &database).await;
    let body = event_body(&shop.coupon().await).with("/strategy", "redis");
    let make = || shop.api.post("/v1/events").token(&shop.admin).json(body.clone());
    let refused = make().await.expect_problem(422, "invalid");
    assert!(refused.to_string().contains("one that cannot be used"), "{refused}");
    redis.cli(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await;
    let made = || async { make().await };
    let made = eventually("an event", made, |answer: &Answer| answer.status == 201).await;
    let (event, kim) = (made.member_text("/id"), shop.user("kim").await);
    eventually("a win", || shop.claim(&event, &kim), |answer| answer.status == 201).await;
    shop.expect_audit(&event, 1).await;
}

async fn a_redis_that_does_not_fit_is_not_used_until_it_does(engine: Engine) {
    let database = TestDatabase::new(engine).await;
    let mut forgetful = RedisServer::start_with(FORGETFUL).await;
    forgetful.kill9();
    let shop = shop("redis", &forgetful, &database).await;
    let (event, kim) = (shop.event(1).await, shop.user("kim").await);
    forgetful.restart().await;
    // Nor before it is judged.
    let logged = || async {
        let _ = shop.claim(&event, &kim).await.expect_problem(503, "unavailable");
        shop.server.logged()
    };
    let is_judged = |log: &String| log.contains("maxmemory-policy allkeys-lru");
    eventually("the reason", logged, is_judged).await;
    let _ = shop.claim(&event, &kim).await.expect_problem(503, "unavailable");
    assert_eq!(database.number("SELECT count(*) FROM issued_coupons").await, 0);
    // Set right, it is used without a restart of anything.
    forgetful.cli(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await;
    eventually("a win", || shop.claim(&event, &kim), |answer| answer.status == 201).await;
    shop.expect_audit(&event, 1).await;
}

/// An event keeps its commit, and what it needs of Redis.
async fn a_redis_that_may_lose_wins_of_older_events_is_told(engine: Engine) {
    let database = TestDatabase::new(engine).await;
    let redis = RedisServer::start_with(&["--appendonly", "yes"]).await;
    let change = |launch: Launch| {
        patient(launch)
            .environment("FIRSTCOME_LEDGER_URL", database.url())
            .environment("FIRSTCOME_REDIS_URL", &redis.url())
            .environment("FIRSTCOME_STRATEGY", "redis")
            .environment("FIRSTCOME_COMMIT", "redis_stream")
    };
    let mut shop = Shop::open_as(change).await;
    let (event, kim) = (shop.event(5).await, shop.user("kim").await);
    assert_eq!(shop.server.terminate().await, Some(0));
    redis.cli(&["CONFIG", "SET", "appendonly", "no"]).await;
    shop.reopen_as(|launch| launch.environment("FIRSTCOME_COMMIT", "ledger")).await;
    let logged = || async { shop.server.logged() };
    let is_told = |log: &String| log.contains("`appendonly no`") && log.contains("redis_stream");
    eventually("the warning", logged, is_told).await;
    eventually("a win", || shop.claim(&event, &kim), |answer| answer.status == 201).await;
    let _ = shop.act(&event, "close").await.expect(200);
    assert_eq!(shop.server.terminate().await, Some(0));
    shop.reopen().await;
    let logged = shop.server.logged();
    assert!(!logged.contains("appendonly"), "{logged}");
}
