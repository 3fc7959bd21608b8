//! The address of the database leads to a server that only follows, and back.

use std::time::Duration;

use firstcome_testkit::{DatabaseServer, Engine, Proxy};
use tokio::time::Instant;

use super::crowd::{Crowd, Heard, QUANTITY, check, check_refused_within};
use super::refusals::refused;
use crate::databases::on_each_engine;
use crate::shop::Shop;

on_each_engine!(a_replica_decides_nothing);

const WAIT_MAX: Duration = Duration::from_secs(30);
/// Longest from the change of the address to claims that flow again.
const BACK_WITHIN: Duration = Duration::from_secs(5);

async fn a_replica_decides_nothing(engine: Engine) {
    let mut primary = DatabaseServer::start(engine).await;
    let proxy = Proxy::start(primary.url()).await;
    let shop = Shop::open_on(&proxy.url(primary.url())).await;
    let event = shop.event(QUANTITY).await;
    let _ = shop.claim(&event, &shop.user("first").await).await.expect(201);
    let replica = primary.copy_read_only().await;
    refused(replica.url(), &["a read-only replica", "give the address of the primary"]).await;

    let crowd = Crowd::gather(&shop, &event).await;
    crowd.hears(100, "claims won", Heard::is_win, Instant::now(), WAIT_MAX).await;
    proxy.set_upstream(replica.url());
    proxy.reset().await;
    let moved = Instant::now();
    crowd.hears(100, "claims refused", Heard::is_refused_claim, moved, WAIT_MAX).await;
    crowd.hears(4, "reads refused", Heard::is_refused_read, moved, WAIT_MAX).await;
    let ready = shop.api.get("/readyz").await.expect_problem(503, "unavailable");
    assert_eq!(ready.member("/missing/0"), "ledger");
    let outage = moved..Instant::now();

    proxy.set_upstream(primary.url());
    proxy.reset().await;
    let back = Instant::now();
    crowd.hears(20, "claims won", Heard::is_win, back, BACK_WITHIN).await;
    crowd.hears(20, "events read", Heard::is_read, back, BACK_WITHIN).await;
    let _ = shop.api.get("/readyz").await.expect(200);
    let heard = crowd.disperse().await;
    check_refused_within(&outage, &heard);
    check(&shop, &event, &heard).await;
}
