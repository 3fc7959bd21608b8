//! A database that is killed, and a network that goes silent, in the midst of a drop.

use std::time::Duration;

use firstcome_testkit::{DatabaseServer, Direction, Engine, Proxy, TestDatabase};
use tokio::time::Instant;

use super::crowd::{Crowd, Heard, QUANTITY, check, check_refused_within};
use crate::databases::on_each_engine;
use crate::shop::Shop;

on_each_engine!(a_database_that_is_killed, a_silence_to_the_database, a_silence_from_the_database);

/// Longest that a test waits for what has no promised time.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// Longest that requests take while nobody listens where the database was.
const REFUSED_WITHIN: Duration = Duration::from_secs(1);
/// Longest from a database that answers again to claims and reads that are answered again.
const BACK_WITHIN: Duration = Duration::from_secs(5);
/// The same of a network that has healed.
const HEALED_WITHIN: Duration = Duration::from_secs(10);
/// Most memory that requests without an answer from the database may take, in KiB.
const MEMORY_KIB_MAX: usize = 100 * 1_024;

/// Claims are won and events are read from `since` on.
async fn flows(crowd: &Crowd, since: Instant, limit: Duration) {
    crowd.hears(20, "claims won", Heard::is_win, since, limit).await;
    crowd.hears(20, "events read", Heard::is_read, since, limit).await;
}

/// The memory that a process has, in KiB.
fn resident_kib(process: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

async fn a_database_that_is_killed(engine: Engine) {
    let mut database = DatabaseServer::start(engine).await;
    let shop = Shop::open_on(database.url()).await;
    let event = shop.event(QUANTITY).await;
    let crowd = Crowd::gather(&shop, &event).await;
    let mut outages = Vec::new();
    for _ in 0..2 {
        flows(&crowd, Instant::now(), WAIT_MAX).await;
        let down = Instant::now();
        database.kill9();
        crowd.hears(1, "claims refused", Heard::is_refused_claim, down, WAIT_MAX).await;
        let noticed = Instant::now();
        crowd.hears(100, "claims refused", Heard::is_refused_claim, noticed, WAIT_MAX).await;
        crowd.hears(2, "reads refused", Heard::is_refused_read, noticed, WAIT_MAX).await;
        let ready = shop.api.get("/readyz").await.expect_problem(503, "unavailable");
        assert_eq!(ready.member("/missing/0"), "ledger");
        outages.push(noticed..Instant::now());
        database.restart().await;
        flows(&crowd, Instant::now(), BACK_WITHIN).await;
        let _ = shop.api.get("/readyz").await.expect(200);
    }
    let heard = crowd.disperse().await;
    for outage in &outages {
        check_refused_within(outage, &heard);
        for Heard { took, answer, .. } in heard.iter().filter(|it| outage.contains(&it.begun)) {
            assert!(*took <= REFUSED_WITHIN, "after {took:?}: {answer}");
        }
    }
    check(&shop, &event, &heard).await;
}

async fn a_silence_to_the_database(engine: Engine) {
    a_silence(engine, Direction::ToServer).await;
}

async fn a_silence_from_the_database(engine: Engine) {
    a_silence(engine, Direction::ToClient).await;
}

async fn a_silence(engine: Engine, direction: Direction) {
    let database = TestDatabase::new(engine).await;
    let proxy = Proxy::start(database.url()).await;
    let shop = Shop::open_on(&proxy.url(database.url())).await;
    let event = shop.event(QUANTITY).await;
    let crowd = Crowd::gather(&shop, &event).await;
    flows(&crowd, Instant::now(), WAIT_MAX).await;

    let (silent, before) = (Instant::now(), resident_kib(shop.server.id()));
    proxy.cut(direction);
    crowd.hears(40, "claims refused", Heard::is_refused_claim, silent, WAIT_MAX).await;
    crowd.hears(8, "reads refused", Heard::is_refused_read, silent, WAIT_MAX).await;
    let _ = shop.api.get("/readyz").await.expect_problem(503, "unavailable");
    let after = resident_kib(shop.server.id());
    assert!(after < before + MEMORY_KIB_MAX, "{before} KiB have become {after} KiB");

    proxy.heal().await;
    flows(&crowd, Instant::now(), HEALED_WITHIN).await;
    let _ = shop.api.get("/readyz").await.expect(200);
    let heard = crowd.disperse().await;
    check(&shop, &event, &heard).await;
}
