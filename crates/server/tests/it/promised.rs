//! What was promised is there for whoever asks, though it is not in the ledger yet.

use std::time::SystemTime;

use firstcome_testkit::{
    Answer, DatabaseServer, Engine, Launch, RedisServer, TestDatabase, kafka_brokers,
};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::erasure::{sign_up, text};
use crate::shop::{BINARY, Shop, eventually, lasting};

/// A test of each of these functions, where Kafka holds the wins and where Redis does.
macro_rules! of_each_commit {
    ($($test:ident),+ $(,)?) => {
        mod kafka {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::$test(super::Promises::open("kafka").await).await;
                }
            )+
        }
        mod redis_stream {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::$test(super::Promises::open("redis_stream").await).await;
                }
            )+
        }
    };
}

of_each_commit! {
    a_win_is_read_right_after_it_was_told,
    what_a_user_has_won_is_never_denied_them,
    what_was_won_is_never_denied_to_staff,
    nobody_is_erased_before_what_they_have_won,
}

/// A configuration with a topic of its own, whose wins are held by this.
pub(crate) fn configuration(commit: &str, topic: &str) -> NamedTempFile {
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

/// Names and values of the environment.
type Settings = [(&'static str, String); 3];

fn settings(file: &NamedTempFile, ledger_url: &str, redis_url: &str) -> Settings {
    let path = file.path().to_str().expect("a path in UTF-8");
    [
        ("FIRSTCOME_CONFIG", path.to_owned()),
        ("FIRSTCOME_LEDGER_URL", ledger_url.to_owned()),
        ("FIRSTCOME_REDIS_URL", redis_url.to_owned()),
    ]
}

fn with(launch: Launch, settings: &Settings) -> Launch {
    settings.iter().fold(launch, |launch, (name, value)| launch.environment(name, value))
}

/// A shop whose wins are promised before the ledger has them.
pub(crate) struct Promises<D = TestDatabase> {
    pub(crate) shop: Shop,
    pub(crate) database: D,
    pub(crate) redis: RedisServer,
    file: NamedTempFile,
}

impl Promises {
    pub(crate) async fn open(commit: &str) -> Self {
        let database = TestDatabase::new(Engine::Postgres).await;
        let (url, topic) = (database.url().to_owned(), database.name().to_owned());
        Self::open_on(commit, &url, &topic, database).await
    }
}

impl Promises<DatabaseServer> {
    /// On a server of the test's own, which lets many processes in.
    pub(crate) async fn open_with_room(commit: &str) -> Self {
        let room = ["-c", "max_connections=300"];
        let database = DatabaseServer::start_with(Engine::Postgres, &room).await;
        let now = SystemTime::UNIX_EPOCH.elapsed().expect("a clock that is right").as_nanos();
        let (url, topic) = (database.url().to_owned(), format!("firstcome-test-{now}"));
        Self::open_on(commit, &url, &topic, database).await
    }
}

impl<D> Promises<D> {
    async fn open_on(commit: &str, ledger_url: &str, topic: &str, database: D) -> Self {
        let redis = RedisServer::start_with(&["--appendonly", "yes"]).await;
        let file = configuration(commit, topic);
        let settings = settings(&file, ledger_url, &redis.url());
        let shop = Shop::open_as(|launch| with(launch, &settings)).await;
        Self { shop, database, redis, file }
    }

    /// A command of the same shop, which finds the ledger and Redis there.
    pub(crate) fn command(&self, arguments: &[&str], ledger_url: &str, redis_url: &str) -> Launch {
        with(Launch::new(BINARY, arguments), &settings(&self.file, ledger_url, redis_url))
    }
}

impl Promises {
    /// An event that one user has won in, and whose next wins nobody can write to the ledger. All
    /// that is there is read as ever.
    async fn event_behind(&self) -> String {
        let event = self.shop.event(5).await;
        let first = self.shop.user("first").await;
        eventually("a win", || self.shop.claim(&event, &first), |it| it.status == 201).await;
        self.shop.expect_audit(&event, 1).await;
        let hold = "ALTER TABLE issued_coupons ADD CONSTRAINT held CHECK (false) NOT VALID";
        self.database.execute(hold).await;
        event
    }

    async fn let_go(&self) {
        self.database.execute("ALTER TABLE issued_coupons DROP CONSTRAINT held").await;
    }
}

/// Nothing is denied, and to ask again is worth it.
fn expect_later(answer: Answer) {
    let later = answer.expect_problem(503, "unavailable");
    assert_eq!(later.member("/retryable"), true, "{later}");
}

fn order() -> Value {
    json!({"order_id": "order-1", "order_amount": 50_000})
}

/// Without anything held up: each answer is read at once.
async fn a_win_is_read_right_after_it_was_told(promises: Promises) {
    let Promises { shop, .. } = &promises;
    let (event, api) = (shop.event(20).await, &shop.api);
    for number in 0..10 {
        let user = shop.user(&format!("user-{number}")).await;
        let won = |it: &Answer| it.status == 201;
        let claimed = eventually("a win", || shop.claim(&event, &user), won).await;
        let id = claimed.member_text("/id");
        let list = api.get("/v1/me/coupons").token(&user).await.expect(200);
        assert_eq!(list.member("/items/0/id"), Value::from(id.clone()));
        let _ = api.get(&format!("/v1/events/{event}/claims/me")).token(&user).await.expect(200);
        let _ = shop.redeem(&id, &user, order()).await.expect(201);
    }
    shop.expect_audit(&event, 10).await;
}

async fn what_a_user_has_won_is_never_denied_them(promises: Promises) {
    let Promises { shop, .. } = &promises;
    let event = promises.event_behind().await;
    let kim = shop.user("kim").await;
    let claimed = shop.claim(&event, &kim).await.expect(201);
    let (id, code) = (claimed.member_text("/id"), claimed.member_text("/code"));
    let mine = format!("/v1/events/{event}/claims/me");
    let coupon = format!("/v1/me/coupons/{id}");
    let api = &shop.api;
    for path in [mine.as_str(), "/v1/me/coupons", &coupon] {
        expect_later(api.get(path).token(&kim).await);
    }
    expect_later(shop.redeem(&id, &kim, order()).await);
    promises.let_go().await;
    let ask = || async { api.get(&mine).token(&kim).await };
    let told = eventually("the claim", ask, |it| it.status == 200).await;
    assert_eq!(lasting(&told.json()), lasting(&claimed.json()));
    let list = api.get("/v1/me/coupons").token(&kim).await.expect(200);
    assert_eq!(list.member("/items/0/code"), Value::from(code));
    let _ = api.get(&coupon).token(&kim).await.expect(200);
    let _ = shop.redeem(&id, &kim, order()).await.expect(201);
    shop.expect_audit(&event, 2).await;
}

async fn what_was_won_is_never_denied_to_staff(promises: Promises) {
    let Promises { shop, .. } = &promises;
    let (event, api) = (promises.event_behind().await, &shop.api);
    let checkout = shop.checkout().await;
    let kims = shop.claim(&event, &shop.user("kim").await).await.expect(201);
    let lees = shop.claim(&event, &shop.user("lee").await).await.expect(201);
    let mut by_code = order();
    by_code["code"] = kims.member("/code");
    let redeem =
        || async { api.post("/v1/redemptions").token(&checkout).json(by_code.clone()).await };
    let path = format!("/v1/issued-coupons/{}/revoke", lees.member_text("/id"));
    let reason = json!({"reason": "The order was fraudulent."});
    let revoke = || async { api.post(&path).token(&shop.admin).json(reason.clone()).await };
    let path = format!("/v1/events/{event}/issued-coupons");
    let list = || async { api.get(&path).token(&shop.admin).await };
    let csv = || async { api.get(&path).token(&shop.admin).header("accept", "text/csv").await };
    expect_later(redeem().await);
    expect_later(revoke().await);
    expect_later(list().await);
    expect_later(csv().await);
    let audit = api.get(&format!("/v1/events/{event}/audit")).token(&shop.admin).await;
    // What a journal still has is counted; what Redis has is written first.
    if audit.status == 200 {
        assert_eq!(audit.member("/pending"), 2, "{audit}");
    } else {
        expect_later(audit);
    }
    promises.let_go().await;
    eventually("the list", list, |it| it.status == 200).await;
    assert!(shop.issued(&event).await.keys().eq(["first", "kim", "lee"]));
    let file = csv().await.expect(200).text();
    for won in [&kims, &lees] {
        assert!(file.contains(&won.member_text("/code")), "{file}");
    }
    let _ = redeem().await.expect(201);
    assert_eq!(revoke().await.expect(200).member("/state"), "revoked");
    shop.expect_audit(&event, 3).await;
}

/// What is written later would be written under their own ids.
async fn nobody_is_erased_before_what_they_have_won(promises: Promises) {
    let Promises { shop, .. } = &promises;
    let (event, api) = (promises.event_behind().await, &shop.api);
    let (_, tokens) = sign_up(shop, "kim@example.com").await;
    let (kim, lee) = (text(&tokens, "access_token"), shop.user("lee").await);
    for user in [kim, &lee] {
        let _ = shop.claim(&event, user).await.expect(201);
    }
    let erase_kim = || async { api.call("DELETE", "/v1/me").token(kim).await };
    let erase_lee = || async { api.call("DELETE", "/v1/users/lee").token(&shop.admin).await };
    expect_later(erase_kim().await);
    expect_later(erase_lee().await);
    promises.let_go().await;
    eventually("the one is erased", erase_kim, |it| it.status == 204).await;
    eventually("the other is erased", erase_lee, |it| it.status == 204).await;
    shop.expect_audit(&event, 3).await;
    let by_user = shop.issued(&event).await;
    let erased = by_user.keys().filter(|user| user.starts_with("erased-")).count();
    assert_eq!((erased, by_user.len()), (2, 3), "{by_user:?}");
}
