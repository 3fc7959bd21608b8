//! Two processes that serve from one database and one Redis, by each strategy that needs it.

use firstcome_testkit::{Engine, RedisServer, TestDatabase};

use crate::databases::on_each_engine;
use crate::shop::{Shop, patient};
use crate::{durability, scenario};

on_each_engine!(
    twenty_thousand_claims_ordered_by_a_lock,
    twenty_thousand_claims_decided_in_redis,
    no_acknowledged_claim_is_lost_that_redis_decided,
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

async fn twenty_thousand_claims(strategy: &str, engine: Engine) {
    let (redis, database) = (RedisServer::start().await, TestDatabase::new(engine).await);
    let shop = shop(strategy, &redis, &database).await;
    let event = shop.event(1).await;
    assert_eq!(shop.read_event(&event).await.member("/strategy"), strategy);
    scenario::twenty_thousand_claims_on(&[&shop, &shop.beside().await]).await;
}

async fn twenty_thousand_claims_ordered_by_a_lock(engine: Engine) {
    twenty_thousand_claims("redis_lock", engine).await;
}

async fn twenty_thousand_claims_decided_in_redis(engine: Engine) {
    twenty_thousand_claims("redis", engine).await;
}

async fn no_acknowledged_claim_is_lost_that_redis_decided(engine: Engine) {
    let (redis, database) = (RedisServer::start().await, TestDatabase::new(engine).await);
    let shop = shop("redis", &redis, &database).await;
    let beside = shop.beside().await;
    durability::kill_again_and_again(&mut [shop, beside], DROPS).await;
}
