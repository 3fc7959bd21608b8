//! Wins that the brokers have not acknowledged: nobody is told of them, and none is lost.

use firstcome_core::Strategy;
use firstcome_issuance::journal::{Journal, KafkaConfig};
use firstcome_ledger::EventRecord;
use firstcome_testkit::{Direction, Engine, KafkaServer, Proxy};

use super::losses::settled;
use super::{Deployment, decided, held, issued, on_every_server, process};
use crate::journal::TestTopic;
use crate::support::TestIssuance;

on_every_server!(a_win_is_told_only_when_the_brokers_have_acknowledged_it);

/// How long records may take in these tests: less than a claim may, so that it is not the claim's
/// own end that keeps a win from being told.
const DELIVERY_MS: u64 = 2_000;

/// Nobody hears that this user has won: not who wins now, and not who asks again.
async fn is_in_doubt(process: &TestIssuance, event: &EventRecord, user: &str) {
    for _ in 0..2 {
        process.claim(event.id, user).await.problem(503, "in_doubt");
    }
}

async fn a_win_is_told_only_when_the_brokers_have_acknowledged_it(engine: Engine) {
    let proxy = Proxy::start("127.0.0.1:1").await;
    let broker = KafkaServer::start_behind(proxy.authority()).await;
    proxy.set_upstream(&broker.authority());
    let topic = TestTopic::at(proxy.authority(), 2).await;
    let config = KafkaConfig { delivery_timeout_ms: DELIVERY_MS, ..topic.config() };
    let journal = Journal::new(&config).expect("a good configuration");
    let test = Deployment::at(topic, engine).await;
    let process = process(&test.redis.url(), &test.ledger.url(), Some(journal)).await;
    let event = test.event(Strategy::Redis, 3).await;
    let kims = issued(decided(&process, &event, "kim").await);
    settled(&test.redis, &event).await;

    // It has not got the win.
    broker.hang();
    is_in_doubt(&process, &event, "lee").await;
    // Who was told before asks the brokers nothing.
    assert_eq!(held(decided(&process, &event, "kim").await), kims);
    broker.go_on();
    let lees = held(decided(&process, &event, "lee").await);
    settled(&test.redis, &event).await;

    // It has the win, and its acknowledgement does not come.
    proxy.cut(Direction::ToClient);
    is_in_doubt(&process, &event, "park").await;
    proxy.heal().await;
    let parks = held(decided(&process, &event, "park").await);

    let other = test.another().await;
    let told = [("kim", kims), ("lee", lees), ("park", parks)];
    for (user, coupon) in &told {
        assert_eq!(held(decided(&other, &event, user).await), *coupon);
    }
    assert_eq!(test.winners(&event).await, told.map(|(_, coupon)| coupon));
}
