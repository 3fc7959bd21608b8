//! Wins that Redis or Kafka has and the ledger lacks, before those who cannot look there, and
//! before the audit.

use firstcome_testkit::{Api, Ended, Server};
use serde_json::json;

use crate::promised::Promises;
use crate::shop::{BINARY, Shop, eventually};

/// Nobody writes a win to the ledger, which all may read.
const HELD: &str = "BEGIN; SELECT no FROM events FOR UPDATE";
const LET_GO: &str = "ROLLBACK";

/// An event with a win that the ledger has, and one that it lacks.
struct Lagging {
    promises: Promises,
    event: String,
    /// Who has won what the ledger lacks.
    kim: String,
    /// What that is.
    coupon: String,
}

impl Lagging {
    async fn open(commit: &str) -> Self {
        let promises = Promises::open(commit).await;
        let shop = &promises.shop;
        let event = shop.event(5).await;
        let (first, kim) = (shop.user("first").await, shop.user("kim").await);
        eventually("a win", || shop.claim(&event, &first), |it| it.status == 201).await;
        shop.expect_audit(&event, 1).await;
        promises.database.execute(HELD).await;
        let coupon = shop.claim(&event, &kim).await.expect(201).member_text("/id");
        Self { promises, event, kim, coupon }
    }

    /// Another process on the same ledger, with or without the Redis of the first.
    async fn beside(&self, redis_url: Option<&str>) -> Server {
        let Promises { shop, database, .. } = &self.promises;
        let directory = shop.server.data_dir();
        Server::start_on_as(BINARY, directory, |launch| {
            let launch = launch.environment("FIRSTCOME_LEDGER_URL", database.url());
            match redis_url {
                Some(url) => launch.environment("FIRSTCOME_REDIS_URL", url),
                None => launch,
            }
        })
        .await
    }

    /// Nobody is told here that there is no such coupon, nor that all is well.
    async fn expect_no_word(&self, api: &Api) {
        let (event, coupon) = (&self.event, &self.coupon);
        for path in [
            "/v1/me/coupons".to_owned(),
            format!("/v1/me/coupons/{coupon}"),
            format!("/v1/events/{event}/claims/me"),
        ] {
            let _ = api.get(&path).token(&self.kim).await.expect_problem(503, "unavailable");
        }
        let admin = &self.promises.shop.admin;
        for path in ["issued-coupons", "audit"] {
            let path = format!("/v1/events/{event}/{path}");
            let _ = api.get(&path).token(admin).await.expect_problem(503, "unavailable");
        }
        let order = json!({"order_id": "order-1", "order_amount": 50_000});
        let redeem = api.post(&format!("/v1/me/coupons/{coupon}/redemptions"));
        let _ = redeem.token(&self.kim).json(order).await.expect_problem(503, "unavailable");
        let erase = api.call("DELETE", "/v1/me").token(&self.kim);
        let _ = erase.await.expect_problem(503, "unavailable");
    }

    /// Nothing is changed here: others would go on promising what is taken away.
    async fn expect_no_change(&self, api: &Api) {
        let (event, admin) = (format!("/v1/events/{}", self.event), &self.promises.shop.admin);
        let before = api.get(&event).await.expect(200);
        for action in ["pause", "close", "sync"] {
            let act = api.post(&format!("{event}/{action}")).token(admin);
            let _ = act.await.expect_problem(503, "unavailable");
        }
        let lower = api.patch(&event).token(admin).header("if-match", before.header("etag"));
        let _ = lower.json(json!({"quantity": 1})).await.expect_problem(503, "unavailable");
        let after = api.get(&event).await.expect(200);
        assert_eq!(after.header("etag"), before.header("etag"));
    }

    async fn audit(&self, server: &Server) -> Ended {
        server.command(&["audit", "--event", &self.event]).await
    }
}

async fn the_audit_counts_what_the_ledger_lacks(commit: &str) {
    let lagging = Lagging::open(commit).await;
    let Promises { shop, database, .. } = &lagging.promises;
    let audit = lagging.audit(&shop.server).await;
    assert_eq!(audit.code, Some(1), "{commit}: {audit:?}");
    assert!(audit.stdout.contains("1 rows, 1 pending"), "{commit}: {audit:?}");
    assert!(audit.stdout.contains("nothing_pending: expected 0, found 1"), "{commit}: {audit:?}");
    database.execute(LET_GO).await;
    shop.recorded(&lagging.event).await;
    let audit = lagging.audit(&shop.server).await;
    assert_eq!(audit.code, Some(0), "{commit}: {audit:?}");
    assert!(audit.stdout.contains("2 rows, 0 pending"), "{commit}: {audit:?}");
    assert_eq!(audit.stderr, "", "{commit}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_audit_counts_what_kafka_has() {
    the_audit_counts_what_the_ledger_lacks("kafka").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_audit_counts_what_redis_has() {
    the_audit_counts_what_the_ledger_lacks("redis_stream").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_no_redis_denies_nothing() {
    for commit in ["kafka", "redis_stream"] {
        let lagging = Lagging::open(commit).await;
        let alone = lagging.beside(None).await;
        lagging.expect_no_word(&alone.api()).await;
        let audit = lagging.audit(&alone).await;
        assert_eq!(audit.code, Some(0), "{commit}: {audit:?}");
        assert!(audit.stderr.contains("only the ledger was counted"), "{commit}: {audit:?}");
        lagging.promises.database.execute(LET_GO).await;
        lagging.expect_no_change(&alone.api()).await;
        // It cannot know that now the ledger has it all, and has it what is asked for.
        let path = format!("/v1/me/coupons/{}", lagging.coupon);
        let found = || async { alone.api().get(&path).token(&lagging.kim).await };
        eventually("the coupon", found, |it| it.status == 200).await;
        let mine = alone.api().get("/v1/me/coupons").token(&lagging.kim).await;
        let _ = mine.expect_problem(503, "unavailable");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_no_kafka_denies_nothing() {
    let lagging = Lagging::open("kafka").await;
    let redis_url = lagging.promises.redis.url();
    let alone = lagging.beside(Some(&redis_url)).await;
    lagging.expect_no_word(&alone.api()).await;
    let audit = lagging.audit(&alone).await;
    assert_eq!(audit.code, Some(1), "{audit:?}");
    assert!(audit.stderr.contains("commits its wins to Kafka"), "{audit:?}");
    lagging.promises.database.execute(LET_GO).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_only_the_ledger_holds_wins_nobody_need_look() {
    let Promises { shop, database, .. } = &Promises::open("ledger").await;
    let event = shop.event(5).await;
    let kim = shop.user("kim").await;
    eventually("a win", || shop.claim(&event, &kim), |it| it.status == 201).await;
    let directory = shop.server.data_dir();
    let alone = Server::start_on_as(BINARY, directory, |launch| {
        launch.environment("FIRSTCOME_LEDGER_URL", database.url())
    });
    let alone = Shop::of(alone.await, Vec::new()).await;
    let mine = alone.api.get("/v1/me/coupons").token(&kim).await.expect(200);
    assert_eq!(mine.member("/items/0/event_id"), event);
    alone.expect_audit(&event, 1).await;
    let audit = alone.server.command(&["audit", "--event", &event]).await;
    assert_eq!((audit.code, &*audit.stderr), (Some(0), ""), "{audit:?}");
    // But nobody else would hear that it ends earlier,
    let path = format!("/v1/events/{event}");
    let before = alone.api.get(&path).await.expect(200);
    let earlier = alone.api.patch(&path).token(&alone.admin);
    let earlier = earlier.header("if-match", before.header("etag"));
    let earlier = earlier.json(json!({"closes_at": "2030-01-01T00:00:00Z"}));
    let _ = earlier.await.expect_problem(503, "unavailable");
    // and claims may be in doubt, which others would write after it.
    let erase = alone.api.call("DELETE", "/v1/me").token(&kim);
    let _ = erase.await.expect_problem(503, "unavailable");
    let _ = shop.api.call("DELETE", "/v1/me").token(&kim).await.expect(204);
}
