//! Faults at random, one after another and all together, in the midst of two drops, by each
//! strategy and commit: one is sold out meanwhile, the other never.

use std::collections::{BTreeMap, HashSet};
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use firstcome_testkit::{Answer, DatabaseServer, Engine, KafkaServer, RedisServer, Wire};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::on_each_engine;
use crate::chance::Chance;
use crate::cluster::{Behind, Cluster};
use crate::durability;
use crate::shop::{Shop, eventually, lasting};

on_each_engine!(
    faults_where_kafka_holds_the_wins,
    faults_where_the_ledger_holds_the_wins,
    faults_where_redis_alone_holds_the_wins,
    faults_where_a_lock_orders_the_claims,
    faults_where_the_ledger_decides,
);

/// Names the seed of another storm.
const SEED_VARIABLE: &str = "FIRSTCOME_TEST_STORM_SEED";
/// The seed where none is named.
const SEED: u64 = 6;

/// Of the drop that is sold out, and of the other.
const QUANTITIES: [usize; 2] = [300, 100_000];
const CLIENTS: usize = 6;
/// More than claim in the time of the test.
const USERS: usize = 12_000;
/// What a client does between two requests, so that the test is of faults and not of a load.
const REST: Duration = Duration::from_millis(20);
/// Most answers that are heard between two faults.
const BETWEEN_MAX: usize = 15;
/// Wins after which claims flow again.
const FLOW: usize = 20;
/// Longest from the last return of a server until they do.
const BACK_WITHIN: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy)]
enum Fault {
    /// Redis forgets everything.
    Flush,
    /// Redis dies, and begins with nothing.
    Redis,
    /// Redis dies, and begins with its file.
    RedisWithFile,
    Kafka,
    Database,
    Worker,
    Issuance,
}

/// What decides the claims and what holds the wins, and all that may befall them.
#[derive(Debug, Clone, Copy)]
struct Kind {
    strategy: &'static str,
    commit: &'static str,
    faults: &'static [Fault],
}

const KAFKA: Kind = Kind {
    strategy: "redis",
    commit: "kafka",
    faults: &[
        Fault::Flush,
        Fault::Redis,
        Fault::Kafka,
        Fault::Database,
        Fault::Worker,
        Fault::Issuance,
    ],
};
const LEDGER: Kind = Kind {
    strategy: "redis",
    commit: "ledger",
    faults: &[Fault::Flush, Fault::Redis, Fault::Database, Fault::Issuance],
};
/// Redis is never emptied: nobody else has what it holds.
const STREAM: Kind = Kind {
    strategy: "redis",
    commit: "redis_stream",
    faults: &[Fault::RedisWithFile, Fault::Database, Fault::Worker, Fault::Issuance],
};
const LOCK: Kind = Kind {
    strategy: "redis_lock",
    commit: "ledger",
    faults: &[Fault::Flush, Fault::Redis, Fault::Database, Fault::Issuance],
};

/// Redis is a cache, and nothing more.
const ALONE: Kind = Kind {
    strategy: "ledger",
    commit: "ledger",
    faults: &[Fault::Redis, Fault::Database, Fault::Worker, Fault::Issuance],
};

/// By what a storm can be repeated. One that fails tells it.
struct Seed(u64);

impl Seed {
    /// The one that the environment names.
    fn given() -> Self {
        let is_number = "FIRSTCOME_TEST_STORM_SEED is a whole number";
        let given = std::env::var(SEED_VARIABLE).ok().filter(|given| !given.is_empty());
        Self(given.map_or(SEED, |given| given.parse().expect(is_number)))
    }
}

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // A failing test has nowhere better to say that this failed.
            let _ = writeln!(std::io::stderr(), "the storm of {SEED_VARIABLE}={}", self.0);
        }
    }
}

/// A deployment with all that it stands on.
struct Deployment {
    // Its processes end before what they stand on.
    cluster: Cluster,
    redis: RedisServer,
    /// Where it holds the wins.
    broker: Option<KafkaServer>,
    database: DatabaseServer,
}

/// What clients of two drops ask and have heard.
struct Crowd {
    events: [String; 2],
    tokens: Vec<String>,
    next: AtomicUsize,
    /// Where claims go to, now.
    places: Mutex<[String; 2]>,
    enough: AtomicBool,
    answers: AtomicUsize,
    /// Wins of the drop that is never sold out.
    wins: AtomicUsize,
    told: Mutex<[BTreeMap<String, Value>; 2]>,
    /// Who was told 201, of each drop.
    winners: Mutex<[HashSet<String>; 2]>,
}

impl Deployment {
    async fn start(kind: Kind, engine: Engine) -> Self {
        let saves: &[&str] = match kind.commit {
            // As the operations page asks for.
            "redis_stream" => &["--appendonly", "yes", "--appendfsync", "always"],
            _ => &[],
        };
        let redis = RedisServer::start_with(saves).await;
        let broker = match kind.commit {
            "kafka" => Some(KafkaServer::start_soon_back().await),
            _ => None,
        };
        let database = DatabaseServer::start(engine).await;
        let redis_url = redis.url();
        let behind = Behind::new(database.url(), &redis_url, "wins").by(kind.strategy).hurried();
        let behind = match &broker {
            Some(broker) => behind.at(broker),
            None => behind.without_kafka(),
        };
        let cluster = Cluster::start(&behind, "ES256", kind.commit).await;
        Self { cluster, redis, broker, database }
    }

    async fn strike(&mut self, fault: Fault) {
        match fault {
            // Who is dead has forgotten everything already.
            Fault::Flush if self.redis.is_dead() => {}
            Fault::Flush => assert_eq!(self.redis.cli(&["FLUSHALL"]).await, "OK"),
            Fault::Redis | Fault::RedisWithFile => self.redis.kill9(),
            Fault::Kafka => self.broker.as_mut().expect("a broker").kill9(),
            Fault::Database => self.database.kill9(),
            Fault::Worker => self.cluster.workers[0].kill9(),
            Fault::Issuance => self.cluster.shops[0].server.kill9(),
        }
    }

    async fn mend(&mut self, fault: Fault, crowd: &Crowd) {
        match fault {
            Fault::Flush => {}
            Fault::Redis => self.redis.restart_empty().await,
            Fault::RedisWithFile => self.redis.restart().await,
            Fault::Kafka => self.broker.as_mut().expect("a broker").restart().await,
            Fault::Database => self.database.restart().await,
            Fault::Worker => self.cluster.workers[0].restart().await,
            Fault::Issuance => self.cluster.shops[0].reopen().await,
        }
        *crowd.places.lock().expect("no panic while held") = places(&self.cluster);
    }

    /// Strikes these, and mends them in another order, the processes after what they start on.
    async fn strike_all(&mut self, faults: &mut [Fault], chance: &mut Chance, crowd: &Crowd) {
        for fault in &*faults {
            self.strike(*fault).await;
            crowd.hears(1 + chance.below(BETWEEN_MAX)).await;
        }
        chance.shuffle(faults);
        faults.sort_by_key(|fault| matches!(fault, Fault::Worker | Fault::Issuance));
        for fault in &*faults {
            self.mend(*fault, crowd).await;
        }
        let back = Instant::now();
        let before = crowd.wins.load(Ordering::SeqCst);
        while crowd.wins.load(Ordering::SeqCst) < before + FLOW {
            assert!(back.elapsed() < BACK_WITHIN, "after {faults:?}: claims do not flow");
            sleep(REST).await;
        }
    }
}

fn places(cluster: &Cluster) -> [String; 2] {
    cluster.shops().map(|shop| shop.server.authority().to_owned())
}

impl Crowd {
    async fn gather(shop: &Shop, places: [String; 2]) -> Arc<Self> {
        let mut events = Vec::new();
        for quantity in QUANTITIES {
            let event = shop.event(quantity.try_into().expect("a small number")).await;
            shop.ready(&event).await;
            events.push(event);
        }
        Arc::new(Self {
            events: events.try_into().expect("two"),
            tokens: shop.server.tokens("shopper", USERS).await,
            next: AtomicUsize::new(0),
            places: Mutex::new(places),
            enough: AtomicBool::new(false),
            answers: AtomicUsize::new(0),
            wins: AtomicUsize::new(0),
            told: Mutex::default(),
            winners: Mutex::default(),
        })
    }

    /// Claims for one user after another at one of the processes; who is told nothing asks again.
    async fn claim(self: Arc<Self>, process: usize) {
        let (mut wire, mut number) = (None, None);
        while !self.enough.load(Ordering::SeqCst) {
            let claim = *number.get_or_insert_with(|| self.next.fetch_add(1, Ordering::Relaxed));
            // Some users claim a second time, and each on both drops.
            let (drop, user) = (claim % 2, claim / 2 * 7 / 8);
            let place = self.places.lock().expect("no panic while held")[process].clone();
            let what = format!("POST /v1/events/{}/claims", self.events[drop]);
            match asked(&mut wire, &place, &what, &self.tokens[user % USERS]).await {
                Ok(answer) => {
                    if self.hear(drop, &answer) {
                        number = None;
                    }
                    self.answers.fetch_add(1, Ordering::SeqCst);
                }
                // Its process is dead.
                Err(_) => wire = None,
            }
            sleep(REST).await;
        }
    }

    /// Keeps what was told; whether it was a verdict.
    fn hear(&self, drop: usize, answer: &Answer) -> bool {
        let issued = match answer.status {
            201 => answer.json(),
            503 => {
                assert!(["unavailable", "in_doubt"].contains(&answer.code().as_str()), "{answer}");
                return false;
            }
            409 if answer.code() == "already_claimed" => answer.member("/issued_coupon"),
            409 if answer.code() == "sold_out" && drop == 0 => return true,
            _ => panic!("neither a verdict nor a refusal: {answer}"),
        };
        let user = issued["user_id"].as_str().expect("a user").to_owned();
        let mut told = self.told.lock().expect("no panic while held");
        let before = told[drop].insert(user.clone(), lasting(&issued));
        let is_same = before.as_ref().is_none_or(|before| *before == lasting(&issued));
        assert!(is_same, "told two things: {before:?} and {answer}");
        if answer.status == 201 {
            let mut winners = self.winners.lock().expect("no panic while held");
            assert!(winners[drop].insert(user), "two wins: {answer}");
            self.wins.fetch_add(drop, Ordering::SeqCst);
        }
        true
    }

    /// Waits until so many more answers are heard.
    async fn hears(&self, count: usize) {
        let before = self.answers.load(Ordering::SeqCst);
        let deadline = Instant::now() + BACK_WITHIN;
        while self.answers.load(Ordering::SeqCst) < before + count {
            assert!(Instant::now() < deadline, "nobody is answered");
            sleep(REST).await;
        }
    }
}

/// What is answered to a claim; an error where nobody listens any more.
async fn asked(
    wire: &mut Option<Wire>,
    place: &str,
    what: &str,
    token: &str,
) -> std::io::Result<Answer> {
    if wire.is_none() {
        *wire = Some(Wire::connect(place).await?);
    }
    let wire = wire.as_mut().expect("a connection");
    wire.request(what, token, "").await?;
    wire.answer().await
}

/// What a client's last claim has won, which it has not waited for, holds a place until it is
/// written, and holds none any more where the event is rebuilt before.
async fn settled(shop: &Shop, event: &str) {
    let path = format!("/v1/events/{event}/audit");
    let audited = || async { shop.api.get(&path).token(&shop.admin).await };
    let is_settled = |audit: &Answer| audit.status == 200 && audit.member("/pending") == 0;
    eventually("all is written", audited, is_settled).await;
}

/// Goes on until the small drop is sold out, as it must be when everything is well.
async fn sell_out(shop: &Shop, event: &str) {
    for token in shop.server.tokens("latecomer", QUANTITIES[0] + 1).await {
        let answer = shop.claim(event, &token).await;
        if answer.status != 201 {
            let _ = answer.expect_problem(409, "sold_out");
            return;
        }
    }
    panic!("more are won than there are");
}

/// Rebuilds an event that Redis decides; by whose word it is decided since.
///
/// Each rebuild may take from every client the place in line of its one claim that was told
/// nothing yet: it was decided, and the end of Redis or of the process came before what holds it
/// had it, or the fence did. A place that others stand behind by then is given to nobody again.
async fn rebuilt(cluster: &Cluster, event: &str) -> usize {
    let ended = cluster.shops[0].server.command(&["sync", "--event", event]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let epoch = ended.stdout.split(", ").find_map(|part| part.strip_prefix("epoch "));
    epoch.and_then(|epoch| epoch.parse().ok()).expect("an epoch")
}

async fn faults_where_kafka_holds_the_wins(engine: Engine) {
    faults_at_random_and_all_together(KAFKA, engine).await;
}

async fn faults_where_the_ledger_holds_the_wins(engine: Engine) {
    faults_at_random_and_all_together(LEDGER, engine).await;
}

async fn faults_where_redis_alone_holds_the_wins(engine: Engine) {
    faults_at_random_and_all_together(STREAM, engine).await;
}

async fn faults_where_a_lock_orders_the_claims(engine: Engine) {
    faults_at_random_and_all_together(LOCK, engine).await;
}

async fn faults_where_the_ledger_decides(engine: Engine) {
    faults_at_random_and_all_together(ALONE, engine).await;
}

async fn faults_at_random_and_all_together(kind: Kind, engine: Engine) {
    let seed = Seed::given();
    let mut chance = Chance::new(seed.0);
    let mut deployment = Deployment::start(kind, engine).await;
    let crowd = Crowd::gather(&deployment.cluster.shops[1], places(&deployment.cluster)).await;
    let is_rebuilt = kind.strategy == "redis";
    let mut epochs = [0; 2];
    for (epoch, event) in epochs.iter_mut().zip(&crowd.events).filter(|_| is_rebuilt) {
        *epoch = rebuilt(&deployment.cluster, event).await;
    }
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        clients.spawn(Arc::clone(&crowd).claim(number % 2));
    }
    let mut faults = kind.faults.to_vec();
    chance.shuffle(&mut faults);
    for &fault in &faults {
        deployment.strike_all(&mut [fault], &mut chance, &crowd).await;
    }
    chance.shuffle(&mut faults);
    deployment.strike_all(&mut faults, &mut chance, &crowd).await;
    crowd.enough.store(true, Ordering::SeqCst);
    clients.join_all().await;

    let told = std::mem::take(&mut *crowd.told.lock().expect("no panic while held"));
    for event in &crowd.events {
        settled(&deployment.cluster.shops[0], event).await;
    }
    sell_out(&deployment.cluster.shops[0], &crowd.events[0]).await;
    for (drop, event) in crowd.events.iter().enumerate() {
        let rebuilds = if is_rebuilt {
            // The last one found all claims told.
            rebuilt(&deployment.cluster, event).await - 1 - epochs[drop]
        } else {
            0
        };
        for shop in deployment.cluster.shops() {
            let issued = durability::check_told(shop, event, QUANTITIES[drop], &told[drop]).await;
            let missing = shop.expect_audit_to(event, issued).await - issued;
            assert!(missing <= rebuilds * CLIENTS, "{missing} are missing after {rebuilds}");
        }
    }
    let sold_out = deployment.cluster.shops[0].issued(&crowd.events[0]).await;
    assert_eq!(sold_out.len(), QUANTITIES[0]);
    let audit = deployment.cluster.shops[0].server.command(&["audit", "--all"]).await;
    assert_eq!(audit.code, Some(0), "{audit:?}");
}
