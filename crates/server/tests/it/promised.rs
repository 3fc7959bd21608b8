//! What was promised is there for whoever asks, though it is not in the ledger yet.

use firstcome_testkit::{Answer, Engine, Launch, RedisServer, TestDatabase, kafka_brokers};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::shop::{Shop, eventually, lasting};

/// A configuration with a topic of its own, whose wins are held by this.
fn configuration(commit: &str, topic: &str) -> NamedTempFile {
    let file = NamedTempFile::new().expect("a file");
    let brokers = kafka_brokers();
    let text = format!(
        "[claims]\nstrategy = \"redis\"\ncommit = \"{commit}\"\n\
         [kafka]\nbrokers = {brokers:?}\ntopic = \"{topic}\"\npartitions_min = 2\n\
         replication_factor_min = 1\nmin_insync_replicas_min = 1\ncreate_topic = true\n\
         [ledger]\nacquire_timeout_ms = 10000\nstatement_timeout_ms = 10000\n\
         [issuance]\nclaim_timeout_ms = 30000\n"
    );
    std::fs::write(file.path(), text).expect("a file");
    file
}

/// A shop, and what its wins wait for while it is away: a table of the ledger.
pub(crate) struct Promises {
    pub(crate) shop: Shop,
    pub(crate) database: TestDatabase,
    pub(crate) redis: RedisServer,
    table: &'static str,
    _file: NamedTempFile,
}

impl Promises {
    pub(crate) async fn open(commit: &str, table: &'static str) -> Self {
        let redis = RedisServer::start_with(&["--appendonly", "yes"]).await;
        let database = TestDatabase::new(Engine::Postgres).await;
        let file = configuration(commit, database.name());
        let path = file.path().to_str().expect("a path in UTF-8").to_owned();
        let (ledger_url, redis_url) = (database.url().to_owned(), redis.url());
        let shop = Shop::open_as(|launch: Launch| {
            launch
                .environment("FIRSTCOME_CONFIG", &path)
                .environment("FIRSTCOME_LEDGER_URL", &ledger_url)
                .environment("FIRSTCOME_REDIS_URL", &redis_url)
        });
        Self { shop: shop.await, database, redis, table, _file: file }
    }

    /// Nobody writes a win to the ledger from now on.
    async fn hold(&self) {
        self.database.execute(&format!("ALTER TABLE {} RENAME TO elsewhere", self.table)).await;
    }

    async fn let_go(&self) {
        self.database.execute(&format!("ALTER TABLE elsewhere RENAME TO {}", self.table)).await;
    }
}

async fn what_was_promised_is_never_denied(promises: Promises) {
    let shop = &promises.shop;
    let event = shop.event(5).await;
    let (first, kim) = (shop.user("first").await, shop.user("kim").await);
    eventually("a win", || shop.claim(&event, &first), |it| it.status == 201).await;
    shop.expect_audit(&event, 1).await;
    promises.hold().await;
    let claimed = shop.claim(&event, &kim).await.expect(201);
    let (id, code) = (claimed.member_text("/id"), claimed.member_text("/code"));
    let mine = format!("/v1/events/{event}/claims/me");
    let coupon = format!("/v1/me/coupons/{id}");
    let api = &shop.api;
    for path in [mine.as_str(), "/v1/me/coupons", &coupon] {
        let behind = api.get(path).token(&kim).await.expect(503);
        assert_eq!(behind.member("/code"), "unavailable", "{path}");
        assert_eq!(behind.member("/retryable"), true, "{path}");
    }
    let order = json!({"order_id": "order-1", "order_amount": 50_000});
    let _ = shop.redeem(&id, &kim, order.clone()).await.expect(503);
    promises.let_go().await;
    let found = |answer: &Answer| answer.status == 200;
    let ask = || async { api.get(&mine).token(&kim).await };
    let told = eventually("the claim", ask, found).await;
    assert_eq!(lasting(&told.json()), lasting(&claimed.json()));
    let list = api.get("/v1/me/coupons").token(&kim).await.expect(200);
    assert_eq!(list.member("/items/0/code"), Value::from(code));
    let _ = api.get(&coupon).token(&kim).await.expect(200);
    let _ = shop.redeem(&id, &kim, order).await.expect(201);
    shop.expect_audit(&event, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_kafka_has_is_never_denied() {
    let promises = Promises::open("kafka", "journal_positions").await;
    what_was_promised_is_never_denied(promises).await;
}

/// Without anything held up: each answer is read at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_win_is_read_right_after_it_was_told() {
    for commit in ["kafka", "redis_stream"] {
        let promises = Promises::open(commit, "journal_positions").await;
        let shop = &promises.shop;
        let event = shop.event(20).await;
        let api = &shop.api;
        for number in 0..10 {
            let user = shop.user(&format!("user-{number}")).await;
            let won = |it: &Answer| it.status == 201;
            let claimed = eventually("a win", || shop.claim(&event, &user), won).await;
            let id = claimed.member_text("/id");
            let list = api.get("/v1/me/coupons").token(&user).await.expect(200);
            assert_eq!(list.member("/items/0/id"), Value::from(id.clone()), "{commit}");
            let _ =
                api.get(&format!("/v1/events/{event}/claims/me")).token(&user).await.expect(200);
            let order = json!({"order_id": "order-1", "order_amount": 50_000});
            let _ = shop.redeem(&id, &user, order).await.expect(201);
        }
        shop.expect_audit(&event, 10).await;
    }
}
