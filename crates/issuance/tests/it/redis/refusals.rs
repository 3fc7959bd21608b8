//! A Redis that is there and refuses: nobody is told a verdict that it has not written, and when it
//! no longer refuses, claims go on by themselves.

use firstcome_core::Strategy;
use firstcome_issuance::NoVerdict;
use firstcome_ledger::{Decision, EventRecord, IssuedCouponRecord};
use tokio::time::{Instant, sleep};

use super::losses::{epoch, settled};
use super::{
    Deployment, POLL, WAIT_MAX, claim, decided, for_every_commit, held, issued, on_a_file,
};

for_every_commit! {
    a_redis_whose_memory_is_full_decides_nothing,
    a_redis_that_became_a_replica_decides_nothing,
    a_redis_that_loads_decides_nothing,
    a_redis_that_cannot_save_decides_nothing,
}

on_a_file! {
    a_redis_whose_memory_is_full_decides_nothing,
    a_redis_that_became_a_replica_decides_nothing,
}

/// Keys so that a load takes its time.
const KEYS: &str = "20000";

/// An event with one coupon for each of kim, lee and park, of which kim has one.
async fn begun(test: &Deployment, strategy: Strategy) -> (EventRecord, IssuedCouponRecord) {
    let event = test.event(strategy, 3).await;
    let kims = issued(decided(&test.one, &event, "kim").await);
    settled(&test.redis, &event).await;
    (event, kims)
}

/// By whose word Redis decides; for a lock it knows of no event.
async fn known(test: &Deployment, event: &EventRecord) -> u64 {
    if event.strategy == Strategy::Redis { epoch(&test.redis, event).await } else { 0 }
}

/// While Redis refuses, who would win is told nothing, and who has won that or what they hold.
async fn is_refused(test: &Deployment, event: &EventRecord, kims: &IssuedCouponRecord) {
    for user in ["lee", "park", "lee"] {
        test.one.claim(event.id, user).await.problem(503, "unavailable");
    }
    match test.one.handle.claim(claim(event, "kim")).await {
        Ok(decision) => assert_eq!(held(decision), *kims),
        Err(none) => assert!(matches!(none, NoVerdict::Undecided(_)), "{none}"),
    }
}

/// It refuses no longer: all are decided as if it never had.
async fn goes_on(test: &Deployment, event: &EventRecord, kims: &IssuedCouponRecord) {
    assert_eq!(held(decided(&test.one, event, "kim").await), *kims);
    // What was refused had no effect.
    let lees = issued(decided(&test.one, event, "lee").await);
    let parks = issued(decided(&test.one, event, "park").await);
    assert_eq!(decided(&test.one, event, "choi").await, Decision::SoldOut);
    let winners = test.winners(event).await;
    assert_eq!(winners, [kims.clone(), lees, parks]);
    assert_eq!(winners.iter().map(|row| row.sequence.get()).collect::<Vec<_>>(), [1, 2, 3]);
}

async fn a_redis_whose_memory_is_full_decides_nothing(test: Deployment) {
    for strategy in test.deciders() {
        let (event, kims) = begun(&test, *strategy).await;
        let before = known(&test, &event).await;
        test.redis.cli(&["CONFIG", "SET", "maxmemory", "1"]).await;
        is_refused(&test, &event, &kims).await;
        test.redis.cli(&["CONFIG", "SET", "maxmemory", "0"]).await;
        goes_on(&test, &event, &kims).await;
        assert_eq!(known(&test, &event).await, before, "it has forgotten nothing");
    }
}

/// Of a master that nobody reaches. When it is master again, it is of another history.
async fn a_redis_that_became_a_replica_decides_nothing(test: Deployment) {
    for strategy in test.deciders() {
        let (event, kims) = begun(&test, *strategy).await;
        let before = known(&test, &event).await;
        test.redis.cli(&["REPLICAOF", "127.0.0.1", "1"]).await;
        is_refused(&test, &event, &kims).await;
        test.redis.cli(&["REPLICAOF", "NO", "ONE"]).await;
        goes_on(&test, &event, &kims).await;
        let is_known_anew = known(&test, &event).await > before;
        assert_eq!(is_known_anew, *strategy == Strategy::Redis, "another incarnation");
    }
}

async fn a_redis_that_loads_decides_nothing(test: Deployment) {
    for strategy in test.deciders() {
        while_it_loads(&test, *strategy).await;
    }
}

async fn while_it_loads(test: &Deployment, strategy: Strategy) {
    let (event, kims) = begun(test, strategy).await;
    let redis = &test.redis;
    redis.cli(&["DEBUG", "POPULATE", KEYS]).await;
    // Six seconds unless it is told to hurry, and it answers between the keys.
    redis.cli(&["CONFIG", "SET", "loading-process-events-interval-bytes", "1024"]).await;
    redis.cli(&["CONFIG", "SET", "key-load-delay", "300"]).await;
    let loads = async || redis.cli(&["INFO", "persistence"]).await.contains("\nloading:1");
    let reload = async {
        redis.cli(&["DEBUG", "RELOAD"]).await;
    };
    let meanwhile = async {
        let deadline = Instant::now() + WAIT_MAX;
        while !loads().await {
            assert!(Instant::now() < deadline, "it does not load");
            sleep(POLL).await;
        }
        is_refused(test, &event, &kims).await;
        assert!(loads().await, "it has not loaded all that time");
        redis.cli(&["CONFIG", "SET", "key-load-delay", "0"]).await;
    };
    tokio::join!(reload, meanwhile);
    goes_on(test, &event, &kims).await;
}

async fn a_redis_that_cannot_save_decides_nothing(test: Deployment) {
    let redis = &test.redis;
    let saved = async |how: &str| {
        redis.cli(&["BGSAVE"]).await;
        let told = format!("rdb_last_bgsave_status:{how}");
        let deadline = Instant::now() + WAIT_MAX;
        while !redis.cli(&["INFO", "persistence"]).await.contains(&told) {
            assert!(Instant::now() < deadline, "not {told}");
            sleep(POLL).await;
        }
    };
    redis.cli(&["CONFIG", "SET", "save", "3600 1"]).await;
    let directory = redis.directory().to_str().expect("a path in UTF-8");
    for strategy in test.deciders() {
        let (event, kims) = begun(&test, *strategy).await;
        redis.cli(&["CONFIG", "SET", "dir", "/proc"]).await;
        saved("err").await;
        is_refused(&test, &event, &kims).await;
        redis.cli(&["CONFIG", "SET", "dir", directory]).await;
        saved("ok").await;
        goes_on(&test, &event, &kims).await;
    }
}
