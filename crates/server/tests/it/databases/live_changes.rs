//! Changes by an admin in the midst of a drop at two processes, by each strategy and each commit.

use firstcome_testkit::{Engine, Launch, RedisServer, TestDatabase, remove_kafka_topic};

use crate::databases::on_each_engine;
use crate::live_changes::Drops;
use crate::promised;
use crate::shop::{Shop, patient};

on_each_engine!(
    decided_by_the_ledger,
    ordered_by_a_lock,
    decided_in_redis,
    committed_to_kafka,
    committed_to_redis,
);

async fn change(drops: Drops<'_>) {
    let drops = drops.smaller();
    drops.opened_by_hand().await;
    drops.raised_again_and_again().await;
    drops.lowered_again_and_again().await;
    drops.everything_at_once_and_closed().await;
}

async fn decided_by_the_ledger(engine: Engine) {
    let database = TestDatabase::new(engine).await;
    let shop = Shop::open_patiently_on(database.url()).await;
    change(Drops::at(&[&shop, &shop.beside().await]).await).await;
}

/// Where Redis orders or decides, in processes that have every role.
async fn beside_redis(database: &TestDatabase, of: impl FnOnce(Launch) -> Launch) {
    let redis = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]).await;
    let shop = Shop::open_as(|launch| {
        of(launch)
            .environment("FIRSTCOME_LEDGER_URL", database.url())
            .environment("FIRSTCOME_REDIS_URL", &redis.url())
    });
    let shop = shop.await;
    change(Drops::at(&[&shop, &shop.beside().await]).await.waiting()).await;
}

async fn by(strategy: &str, engine: Engine) {
    let database = TestDatabase::new(engine).await;
    let of = |launch| patient(launch).environment("FIRSTCOME_STRATEGY", strategy);
    beside_redis(&database, of).await;
    assert_eq!(database.text("SELECT DISTINCT strategy FROM events").await, strategy);
}

async fn ordered_by_a_lock(engine: Engine) {
    by("redis_lock", engine).await;
}

async fn decided_in_redis(engine: Engine) {
    by("redis", engine).await;
}

async fn committed_to(commit: &str, engine: Engine) {
    let database = TestDatabase::new(engine).await;
    let file = promised::configuration(commit, database.name());
    let path = file.path().to_str().expect("a path in UTF-8");
    beside_redis(&database, |launch| launch.environment("FIRSTCOME_CONFIG", path)).await;
    assert_eq!(database.text("SELECT DISTINCT commit_to FROM events").await, commit);
    remove_kafka_topic(database.name()).await;
}

async fn committed_to_kafka(engine: Engine) {
    committed_to("kafka", engine).await;
}

async fn committed_to_redis(engine: Engine) {
    committed_to("redis_stream", engine).await;
}
