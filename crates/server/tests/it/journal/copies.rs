//! Three brokers, as the defaults ask for: each has a copy of every record.

use firstcome_testkit::{Answer, Engine, KafkaServer, RedisServer, TestDatabase};
use tempfile::NamedTempFile;

use super::with;
use crate::shop::{BEHIND_MAX, Shop, eventually_within, lasting};

/// As many as make it likely that each broker leads the partition of one.
const EVENTS: usize = 6;
/// Users that win in each.
const WINNERS: usize = 5;

/// Of the time-outs alone nothing is as by default.
fn configuration(brokers: &[String]) -> NamedTempFile {
    let file = NamedTempFile::new().expect("a file");
    let text = format!(
        "[claims]\nstrategy = \"redis\"\ncommit = \"kafka\"\n\
         [kafka]\nbrokers = {brokers:?}\ncreate_topic = true\n\
         [ledger]\nacquire_timeout_ms = 10000\nstatement_timeout_ms = 10000\n"
    );
    std::fs::write(file.path(), text).expect("a file");
    file
}

async fn verdict(shop: &Shop, event: &str, user: &str, status: u16) -> Answer {
    let token = shop.user(user).await;
    let is_told = |answer: &Answer| {
        assert!([status, 503].contains(&answer.status), "{answer}");
        answer.status == status
    };
    eventually_within(BEHIND_MAX, "a verdict", || shop.claim(event, &token), is_told).await
}

/// With its disk, while nobody else has the wins: the ledger takes none, and Redis has lost all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_lost_takes_no_win_with_it() {
    let [first, second, third] = KafkaServer::start_three().await;
    let (redis, database) = (RedisServer::start().await, TestDatabase::new(Engine::Postgres).await);
    let brokers = [&first, &second, &third].map(KafkaServer::authority);
    let file = configuration(&brokers);
    let shop = Shop::open_as(|launch| {
        with(launch, &file, &database).environment("FIRSTCOME_REDIS_URL", &redis.url())
    });
    let shop = shop.await;
    let mut events = Vec::new();
    for _ in 0..EVENTS {
        let event = shop.event(10).await;
        shop.ready(&event).await;
        events.push(event);
    }
    database.execute("BEGIN; LOCK TABLE journal_positions IN EXCLUSIVE MODE").await;
    let mut told = Vec::new();
    for event in &events {
        for number in 0..WINNERS {
            let user = format!("user-{number}");
            let won = verdict(&shop, event, &user, 201).await;
            told.push((event, user, lasting(&won.json())));
        }
    }
    assert_eq!(database.number("SELECT count(*) FROM issued_coupons").await, 0);
    drop(second);
    redis.cli(&["FLUSHALL"]).await;
    database.execute("ROLLBACK").await;

    for (event, user, won) in told {
        let again = verdict(&shop, event, &user, 409).await;
        assert_eq!(lasting(&again.member("/issued_coupon")), won);
    }
    for event in &events {
        let _ = verdict(&shop, event, "newcomer", 201).await;
        shop.recorded(event).await;
        shop.expect_audit(event, WINNERS + 1).await;
    }

    // One copy alone is not enough.
    drop(third);
    for event in &events {
        let latecomer = shop.user("latecomer").await;
        let _ = shop.claim(event, &latecomer).await.expect(503);
    }
}
