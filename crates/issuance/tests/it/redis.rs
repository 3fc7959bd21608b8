//! The strategies that need Redis, on real servers: exact, whatever is lost.

mod another_journal;
mod behind;
mod crowd;
mod emptied;
mod halfway;
mod histories;
mod kinds;
mod lag;
mod locks;
mod losses;
mod refusals;
mod rights;
mod sleepers;
mod unacknowledged;
mod verdicts;

use std::sync::Arc;
use std::time::Duration;

use axum::http::Method;
use firstcome_cache::redis::{Redis, RedisConfig};
use firstcome_core::{Commit, EventId, Name, Quantity, Strategy, Timestamp, UserId, Window};
use firstcome_issuance::journal::Journal;
use firstcome_issuance::{NoVerdict, Outcome, RedisStrategy, Strategy as _, Worker};
use firstcome_ledger::{
    Claim, Decision, EventRecord, IssuedCouponRecord, Ledger, LedgerOptions, NewEvent, Purpose,
};
use firstcome_testkit::{Engine, ManualClock, Proxy, RedisServer, TestDatabase, draft};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::journal::TestTopic;
use crate::support::TestIssuance;

/// How often a test looks again at what it waits for.
pub(crate) const POLL: Duration = Duration::from_millis(5);
/// Longest that a test waits.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// Makes a test of each function, on every database server.
macro_rules! on_every_server {
    ($($test:ident),+ $(,)?) => {
        mod postgres { $crate::redis::on_server! { Postgres: $($test),+ } }
        mod mariadb { $crate::redis::on_server! { MariaDb: $($test),+ } }
    };
}

/// Makes a test of each function, for every commit on every database server.
macro_rules! for_every_commit {
    ($($test:ident),+ $(,)?) => {
        mod ledger { $crate::redis::for_commit! { Ledger: $($test),+ } }
        mod kafka { $crate::redis::for_commit! { Kafka: $($test),+ } }
        mod redis_stream { $crate::redis::for_commit! { RedisStream: $($test),+ } }
    };
}

/// Makes a test of each function, for one commit on every database server.
macro_rules! for_commit {
    ($commit:ident: $($test:ident),+ $(,)?) => {
        mod postgres { $crate::redis::for_commit! { $commit on Postgres: $($test),+ } }
        mod mariadb { $crate::redis::for_commit! { $commit on MariaDb: $($test),+ } }
    };
    ($commit:ident on $engine:ident: $($test:ident),+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                let commit = firstcome_core::Commit::$commit;
                let engine = firstcome_testkit::Engine::$engine;
                let test = $crate::redis::Deployment::committing(commit, engine);
                super::super::$test(test.await).await;
            }
        )+
    };
}

/// Makes a test of each function, on one database server.
macro_rules! on_server {
    ($engine:ident: $($test:ident),+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(firstcome_testkit::Engine::$engine).await;
            }
        )+
    };
}

/// Makes a test of each function, on a ledger in a file, which one process alone has.
macro_rules! on_a_file {
    ($($test:ident),+ $(,)?) => {
        mod sqlite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::$test($crate::redis::Deployment::on_a_file().await).await;
                }
            )+
        }
    };
}

pub(crate) use {for_commit, for_every_commit, on_a_file, on_every_server, on_server};

/// Where a ledger of a test's own is.
enum Place {
    Server(TestDatabase),
    File(TempDir),
}

impl Place {
    fn url(&self) -> String {
        match self {
            Self::Server(database) => database.url().to_owned(),
            Self::File(directory) => {
                format!("sqlite:{}", directory.path().join("ledger.db").display())
            }
        }
    }
}

/// A proxy in front of the server of this database.
async fn proxy_of(url: &str) -> Proxy {
    let authority = url.split_once('@').and_then(|(_, rest)| rest.split_once('/'));
    Proxy::start(authority.expect("an address").0).await
}

/// A deployment: a Redis, a database and where it need be a topic of its own, one process, and a
/// worker.
struct Deployment {
    redis: RedisServer,
    /// Leads to it, or to others in its place.
    redis_url: String,
    ledger: Place,
    /// What holds the wins of events that Redis decides.
    commit: Commit,
    topic: Option<TestTopic>,
    one: TestIssuance,
    worker: Option<TestWorker>,
}

/// A process with the role worker; dropping it ends it.
struct TestWorker {
    _worker: Option<Worker>,
    carrier: JoinHandle<()>,
}

impl Drop for TestWorker {
    fn drop(&mut self) {
        self.carrier.abort();
    }
}

impl Deployment {
    async fn new(engine: Engine) -> Self {
        Self::committing(Commit::Ledger, engine).await
    }

    async fn committing(commit: Commit, engine: Engine) -> Self {
        let topic = if commit == Commit::Kafka { Some(TestTopic::new(2).await) } else { None };
        Self::with(commit, topic, engine).await
    }

    /// Where Kafka holds the wins, in a topic of the test's own choice.
    async fn at(topic: TestTopic, engine: Engine) -> Self {
        Self::with(Commit::Kafka, Some(topic), engine).await
    }

    async fn with(commit: Commit, topic: Option<TestTopic>, engine: Engine) -> Self {
        let saves: &[&str] = match commit {
            // As the operations page asks for.
            Commit::RedisStream => &["--appendonly", "yes", "--appendfsync", "always"],
            Commit::Ledger | Commit::Kafka => &[],
        };
        // What tests make it suffer.
        let open = ["--enable-debug-command", "yes", "--enable-protected-configs", "yes"];
        let redis = RedisServer::start_with(&[saves, &open].concat()).await;
        Self::deciding_at(redis.url(), redis, commit, topic, engine).await
    }

    /// Where Redis is at this URL, which need not be the one that is the test's own.
    async fn deciding_at(
        redis_url: String,
        redis: RedisServer,
        commit: Commit,
        topic: Option<TestTopic>,
        engine: Engine,
    ) -> Self {
        let ledger = Place::Server(TestDatabase::new(engine).await);
        let journal = topic.as_ref().map(TestTopic::journal);
        let one = process(&redis_url, &ledger.url(), journal.clone()).await;
        if let Some(journal) = journal {
            journal.bind(&one.ledger).await.expect("a fresh ledger");
        }
        let mut test = Self { redis, redis_url, ledger, commit, topic, one, worker: None };
        test.worker = Some(test.another_worker().await);
        test
    }

    /// With a ledger in a file, which has no room for a second process.
    async fn on_a_file() -> Self {
        let redis = RedisServer::start().await;
        let ledger = Place::File(TempDir::new().expect("a temporary directory"));
        let (redis_url, commit) = (redis.url(), Commit::Ledger);
        let one = process(&redis_url, &ledger.url(), None).await;
        Self { redis, redis_url, ledger, commit, topic: None, one, worker: None }
    }

    /// The strategies that need Redis, and are for its ledger.
    const fn beside(&self) -> &'static [Strategy] {
        match self.ledger {
            Place::Server(_) => &[Strategy::RedisLock, Strategy::Redis],
            Place::File(_) => &[Strategy::RedisLock],
        }
    }

    /// Those of them whose wins are held as the deployment has it.
    const fn deciders(&self) -> &'static [Strategy] {
        match self.commit {
            Commit::Ledger => self.beside(),
            Commit::Kafka | Commit::RedisStream => &[Strategy::Redis],
        }
    }

    /// One process more.
    async fn another(&self) -> TestIssuance {
        process(&self.redis_url, &self.ledger.url(), self.journal()).await
    }

    /// One worker more.
    async fn another_worker(&self) -> TestWorker {
        let ledger = ledger(&self.ledger.url(), Purpose::Visit).await;
        let redis = connection(&self.redis_url);
        let strategy = RedisStrategy::new(redis, ledger.clone(), self.journal());
        let worker = self.journal().map(|journal| Worker::start(ledger, journal));
        TestWorker { _worker: worker, carrier: tokio::spawn(strategy.carry()) }
    }

    /// What these claims are told that are one batch.
    async fn decided_together(&self, batch: Vec<Claim>) -> Vec<Outcome> {
        self.decider().decide(batch).await
    }

    /// What decides in Redis, as in a process that has just begun.
    fn decider(&self) -> RedisStrategy {
        let (redis, ledger) = (connection(&self.redis_url), self.one.ledger.clone());
        RedisStrategy::new(redis, ledger, self.journal())
    }

    fn journal(&self) -> Option<Journal> {
        self.topic.as_ref().map(TestTopic::journal)
    }

    /// An event of this quantity that is open.
    async fn event(&self, strategy: Strategy, quantity: u32) -> EventRecord {
        let commit = if strategy == Strategy::Redis { self.commit } else { Commit::Ledger };
        let id = EventId::from_uuid(Uuid::now_v7());
        let from = Timestamp::parse_rfc3339("2026-01-01T00:00:00Z").expect("a moment");
        let until = Timestamp::parse_rfc3339("2099-01-01T00:00:00Z").expect("a moment");
        let mut rule = draft::rule(quantity);
        rule.window = Window::new(from, until).expect("a window");
        let name = Name::parse("선착순").expect("a name");
        let coupon_id = self.one.coupon().await;
        let new = NewEvent { id, coupon_id, name, rule, strategy, commit };
        self.one.ledger.create_event(new).await.expect("an answer").expect("the coupon")
    }

    /// As another decider that rebuilds the event, and goes no further.
    async fn begin_epoch(&self, event: &EventRecord) {
        let epoch = self.one.ledger.epoch(event.id).await.expect("an answer").expect("the event");
        let partitions = self.topic.as_ref().map(|_| 2);
        let begun = self.one.ledger.begin_epoch(event.id, epoch, 0, partitions).await;
        let begun = begun.expect("an answer");
        begun.expect("nobody else begins one");
    }

    /// An admin's call on an event; the event afterwards.
    async fn act(&self, event: &EventRecord, action: &str) -> Value {
        let path = format!("/v1/events/{}/{action}", event.id);
        let answer = self.one.admin(Method::POST, &path, &Value::Null).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    /// Changes the quantity; the answer's status.
    async fn set_quantity(&self, event: &EventRecord, quantity: u32) -> u16 {
        let quantity = Quantity::parse(quantity.into()).expect("a number").get();
        self.patch(event, &json!({"quantity": quantity})).await
    }

    /// Changes the event as it is now; the answer's status.
    async fn patch(&self, event: &EventRecord, body: &Value) -> u16 {
        let path = format!("/v1/events/{}", event.id);
        let now = self.one.ledger.event(event.id).await.expect("an answer").expect("the event");
        let etag = format!("\"{}\"", now.version);
        let answer = self
            .one
            .send(
                ("admin", "admin"),
                Method::PATCH,
                &path,
                &[("if-match", &etag), ("content-type", "application/json")],
                body.to_string(),
            )
            .await;
        answer.status.as_u16()
    }

    /// The audit by HTTP, which passes with nothing pending; the winners in their order.
    async fn winners(&self, event: &EventRecord) -> Vec<IssuedCouponRecord> {
        let path = format!("/v1/events/{}/audit", event.id);
        let deadline = Instant::now() + WAIT_MAX;
        loop {
            let audit = self.one.admin(Method::GET, &path, &Value::Null).await;
            // Redis may be being rebuilt.
            if audit.status == 200 {
                let audit = audit.json();
                let waits = self.commit != Commit::Ledger && audit["pending"] != 0;
                if waits && Instant::now() < deadline {
                    sleep(POLL).await;
                    continue;
                }
                let told = (&audit["verdict"], &audit["pending"]);
                assert_eq!(told, (&json!("pass"), &json!(0)), "{audit}");
                break;
            }
            assert!(Instant::now() < deadline, "{audit:?}");
            sleep(POLL).await;
        }
        self.rows(event).await
    }

    /// What the ledger has of an event, in the order of the places.
    async fn rows(&self, event: &EventRecord) -> Vec<IssuedCouponRecord> {
        let mut rows = Vec::new();
        loop {
            let last = rows.last().map(|row: &IssuedCouponRecord| row.sequence);
            let page = self.one.ledger.issued_coupons_of_event(event.no, last, 200).await;
            let page = page.expect("a page");
            if page.is_empty() {
                return rows;
            }
            rows.extend(page);
        }
    }
}

async fn process(redis: &str, database: &str, journal: Option<Journal>) -> TestIssuance {
    process_as(redis, database, journal, Purpose::Serve).await
}

async fn process_as(
    redis: &str,
    database: &str,
    journal: Option<Journal>,
    purpose: Purpose,
) -> TestIssuance {
    TestIssuance::beside(connection(redis), journal, ledger(database, purpose).await)
}

pub(crate) async fn ledger(database: &str, purpose: Purpose) -> Ledger {
    let mut options = LedgerOptions::parse_url(database, purpose).expect("a URL");
    // A busy machine is no dead one.
    options.limits.acquire_timeout = Duration::from_secs(20);
    options.limits.statement_timeout = Duration::from_secs(20);
    let clock = Arc::new(ManualClock::new(draft::OPENS_AT));
    Ledger::open(options, clock).await.expect("the database is a ledger")
}

fn connection(url: &str) -> Redis {
    let config = RedisConfig { url: url.to_owned(), ..RedisConfig::default() };
    Redis::new(&config, "claims").expect("a URL")
}

fn claim(event: &EventRecord, user: &str) -> Claim {
    Claim { event_id: event.id, user_id: UserId::parse(user).expect("a user id") }
}

/// Claims until there is a verdict.
async fn decided(process: &TestIssuance, event: &EventRecord, user: &str) -> Decision {
    let deadline = Instant::now() + WAIT_MAX;
    loop {
        match process.handle.claim(claim(event, user)).await {
            Ok(decision) => return decision,
            Err(NoVerdict::Closing) => panic!("it is closing"),
            Err(none) => assert!(Instant::now() < deadline, "still {none}"),
        }
        sleep(POLL).await;
    }
}

fn issued(decision: Decision) -> IssuedCouponRecord {
    match decision {
        Decision::Issued(coupon) => coupon,
        other => panic!("not issued: {other:?}"),
    }
}

fn held(decision: Decision) -> IssuedCouponRecord {
    match decision {
        Decision::AlreadyClaimed(coupon) => coupon,
        other => panic!("not held: {other:?}"),
    }
}
