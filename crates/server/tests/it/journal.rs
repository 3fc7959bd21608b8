//! The journal from the outside: what an operator sees of it, and what a process does without it.

mod copies;

use std::sync::Arc;
use std::time::Duration;

use firstcome_core::{Commit, CouponId, EventId, Name, Strategy};
use firstcome_issuance::journal::{Journal, JournalRecord, KafkaConfig};
use firstcome_ledger::{Ledger, LedgerOptions, NewEvent, Purpose};
use firstcome_testkit::{
    Answer, Engine, KafkaServer, Launch, ManualClock, RedisServer, Server, TestDatabase, draft,
    kafka_brokers, kafka_configs, make_kafka_topic, remove_kafka_topic,
};
use serde_json::json;
use tempfile::NamedTempFile;
use tokio::time::{Instant, sleep};

use crate::promised::{self, Promises};
use crate::shop::{BINARY, Shop, eventually};
use crate::startup::{check_refused, directory, serve};

const COUPON: &str = "01890a5d-ac96-774b-bcce-b302099a8057";
const EVENT: &str = "01890a5d-ac96-774b-bcce-b302099a8058";

/// What is measured of what the brokers have acknowledged.
const WRITTEN: [&str; 3] = [
    "firstcome_journal_batches_total{outcome=\"written\"}",
    "firstcome_journal_records_total{outcome=\"written\"}",
    "firstcome_journal_append_seconds_count",
];

/// A configuration file for one broker, which makes its topic.
fn configuration(brokers: &[String]) -> NamedTempFile {
    let file = NamedTempFile::new().expect("a file");
    let text = format!(
        "[kafka]\nbrokers = {brokers:?}\npartitions_min = 2\nreplication_factor_min = 1\n\
         min_insync_replicas_min = 1\ncreate_topic = true\n\
         [ledger]\nacquire_timeout_ms = 10000\nstatement_timeout_ms = 10000\n"
    );
    std::fs::write(file.path(), text).expect("a file");
    file
}

fn with(launch: Launch, file: &NamedTempFile, database: &TestDatabase) -> Launch {
    launch
        .environment("FIRSTCOME_CONFIG", file.path().to_str().expect("a path in UTF-8"))
        .environment("FIRSTCOME_LEDGER_URL", database.url())
}

/// What one broker alone can have.
fn config(broker: &KafkaServer) -> KafkaConfig {
    KafkaConfig {
        brokers: vec![broker.authority()],
        partitions_min: 2,
        replication_factor_min: 1,
        min_insync_replicas_min: 1,
        ..KafkaConfig::default()
    }
}

fn journal(broker: &KafkaServer) -> Journal {
    Journal::new(&config(broker)).expect("a good configuration")
}

fn fence(event: &str) -> JournalRecord {
    let event_id = EventId::parse(event).expect("an id");
    JournalRecord::Fence { event_id, epoch: 1 }
}

/// Waits until the metrics have these lines.
async fn metrics_have(server: &Server, lines: &[&str]) {
    let api = server.api();
    let ask = || async { api.get("/metrics").await.expect(200) };
    let has = |answer: &Answer| {
        let text = answer.text();
        lines.iter().all(|line| text.lines().any(|found| found == *line))
    };
    eventually(&format!("{lines:?}"), ask, has).await;
}

/// An event whose wins belong into partition 0 or 1, in its first epoch; that partition.
async fn begin_event(database: &TestDatabase) -> i32 {
    let options = LedgerOptions::parse_url(database.url(), Purpose::Visit).expect("a URL");
    let clock = Arc::new(ManualClock::new(draft::OPENS_AT));
    let ledger = Ledger::open(options, clock).await.expect("the ledger");
    let coupon_id = CouponId::parse(COUPON).expect("an id");
    ledger.create_coupon(coupon_id, draft::coupon()).await.expect("an answer");
    let id = EventId::parse(EVENT).expect("an id");
    let new = NewEvent {
        id,
        coupon_id,
        name: Name::parse("선착순").expect("a name"),
        rule: draft::rule(10),
        strategy: Strategy::Redis,
        commit: Commit::Kafka,
    };
    ledger.create_event(new).await.expect("an answer").expect("the coupon");
    let begun = ledger.begin_epoch(id, 1, 0, Some(2)).await.expect("an answer").expect("the event");
    begun.partition.expect("it is pinned")
}

/// Partition 0 is stopped at its first record.
async fn inspection_fails(server: &Server) {
    let inspected = server.command(&["journal", "inspect"]).await;
    assert_eq!(inspected.code, Some(1), "{inspected:?}");
    for line in [
        "        0             0             0             2             2",
        "partition 0, offset 0: a fence of the event 01890a5d-ac96-774b-bcce-b302099a8059, epoch \
         1: cannot be applied: the ledger has no such event",
        "firstcome journal skip --partition 0 --offset 0 --reason TEXT",
    ] {
        assert!(inspected.stdout.contains(line), "{line} is not in {}", inspected.stdout);
    }
    let one = server.command(&["journal", "inspect", "--partition", "1"]).await;
    assert_eq!(one.code, Some(0), "{one:?}");
}

fn skip<'a>(partition: &'a str, offset: &'a str) -> Vec<&'a str> {
    let command = ["journal", "skip", "--partition", partition, "--offset", offset];
    [&command[..], &["--reason", "made by a test"]].concat()
}

async fn skips_are_refused(server: &Server) {
    for (partition, offset, sentence) in [
        ("0", "1", "partition 0 is applied to offset 0: only the record there can be skipped"),
        ("1", "0", "partition 1 is applied to its end, offset 0: there is nothing to skip"),
        ("7", "0", "no worker has begun partition 7"),
    ] {
        let refused = server.command(&skip(partition, offset)).await;
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(refused.stderr.contains(sentence), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_stops_its_partition_is_shown_and_skipped() {
    let broker = KafkaServer::start().await;
    let (file, database) =
        (configuration(&[broker.authority()]), TestDatabase::new(Engine::Postgres).await);
    let mut server = Server::start_as(BINARY, |launch| with(launch, &file, &database)).await;
    let journal = journal(&broker);
    let unknown = "01890a5d-ac96-774b-bcce-b302099a8059";
    journal.append(0, &[fence(unknown), fence(unknown)]).await.expect("an acknowledgement");
    let stopped = "firstcome_worker_stopped{partition=\"0\"} 1";
    let lag = "firstcome_worker_lag_records{partition=\"0\"} 2";
    metrics_have(&server, &[stopped, lag, "firstcome_worker_stopped{partition=\"1\"} 0"]).await;
    let logged = server.logged();
    assert!(logged.contains("partition 0 of the journal stands at offset 0"), "{logged}");
    assert!(logged.contains("firstcome journal inspect --partition 0"), "{logged}");

    inspection_fails(&server).await;
    skips_are_refused(&server).await;
    for offset in ["0", "1"] {
        let skipped = server.command(&skip("0", offset)).await;
        assert_eq!(skipped.code, Some(0), "{skipped:?}");
        let again = server.command(&skip("0", offset)).await;
        assert_eq!(again.code, Some(1), "{again:?}");
    }
    metrics_have(
        &server,
        &[
            "firstcome_worker_stopped{partition=\"0\"} 0",
            "firstcome_worker_lag_records{partition=\"0\"} 0",
        ],
    )
    .await;
    let inspected = server.command(&["journal", "inspect"]).await;
    assert_eq!(inspected.code, Some(0), "{inspected:?}");
    let kept = inspected.stdout.lines().filter(|line| line.ends_with(": made by a test")).count();
    assert_eq!(kept, 2, "{}", inspected.stdout);

    // Nobody works on it now: what can be applied is applied, not skipped.
    assert_eq!(server.terminate().await, Some(0));
    let partition = begin_event(&database).await;
    journal.append(partition, &[fence(EVENT)]).await.expect("an acknowledgement");
    let offset = if partition == 0 { "2" } else { "0" };
    let partition = if partition == 0 { "0" } else { "1" };
    let inspected = server.command(&["journal", "inspect", "--partition", partition]).await;
    assert!(inspected.stdout.contains("can be applied"), "{inspected:?}");
    let refused = server.command(&skip(partition, offset)).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("can be applied, and is now"), "{refused:?}");
    assert_eq!(database.number("SELECT fence FROM events").await, 1);
}

/// Who forgets to say where Kafka is must not believe that nothing is stopped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_inspection_without_kafka_fails_where_the_ledger_has_a_journal() {
    let database = TestDatabase::new(Engine::Postgres).await;
    let (embedded, shop) = (Shop::open().await, Shop::open_on(database.url()).await);
    let event = shop.event(5).await;
    for server in [&embedded.server, &shop.server] {
        let inspected = server.command(&["journal", "inspect"]).await;
        assert_eq!(inspected.code, Some(0), "{inspected:?}");
        assert!(inspected.stdout.contains("nothing to inspect"), "{inspected:?}");
    }
    for (change, named) in [
        ("UPDATE events SET strategy = 'redis', commit_to = 'kafka', epoch = 1", event.as_str()),
        (
            "INSERT INTO journal_positions (journal, journal_partition, next_offset)
             VALUES ('wins-of-a-test', 0, 0)",
            "the topic wins-of-a-test",
        ),
    ] {
        database.execute(change).await;
        let refused = shop.server.command(&["journal", "inspect"]).await;
        assert_eq!(refused.code, Some(1), "{refused:?}");
        for name in ["kafka.brokers", named] {
            assert!(refused.stderr.contains(name), "{refused:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_needs_kafka_says_when_it_is_away() {
    let mut broker = KafkaServer::start().await;
    let (file, database) =
        (configuration(&[broker.authority()]), TestDatabase::new(Engine::Postgres).await);
    let worker = Server::start_as(BINARY, |launch| with(launch, &file, &database)).await;
    let other = Server::start_as(BINARY, |launch| {
        let roles = "identity,catalog,issuance,wallet";
        with(launch, &file, &database).environment("FIRSTCOME_ROLES", roles)
    })
    .await;
    let redis = RedisServer::start().await;
    let reader = Server::start_as(BINARY, |launch| {
        let launch =
            with(launch, &file, &database).environment("FIRSTCOME_REDIS_URL", &redis.url());
        let launch = launch.environment("FIRSTCOME_COMMIT", "kafka");
        launch.environment("FIRSTCOME_ROLES", "identity,wallet")
    })
    .await;
    for server in [&worker, &other, &reader] {
        metrics_have(server, &["firstcome_journal_reachable 1"]).await;
    }
    // It asks Kafka for this only.
    let kim = reader.token("kim", "user").await;
    let _ = reader.api().get("/v1/me/coupons").token(&kim).await.expect(200);
    broker.kill9();
    let (worker_api, other_api) = (worker.api(), other.api());
    let ask = || async { worker_api.get("/readyz").await };
    let answer = eventually("not ready", ask, |answer| answer.status == 503).await;
    assert_eq!(answer.expect_problem(503, "unavailable").member("/missing"), json!(["kafka"]));
    for server in [&worker, &other, &reader] {
        metrics_have(server, &["firstcome_journal_reachable 0"]).await;
    }
    let _ = worker_api.get("/livez").await.expect(200);
    for api in [&other_api, &reader.api()] {
        let _ = api.get("/readyz").await.expect(200);
    }

    // It starts while nobody answers, and is ready when somebody does.
    let launched = Server::start_as(BINARY, |launch| with(launch, &file, &database));
    let (late, ()) = tokio::join!(launched, broker.restart());
    assert!(late.logged().contains("Kafka is away"), "{}", late.logged());
    eventually("ready again", ask, |answer| answer.status == 200).await;
    for server in [&worker, &other, &reader] {
        metrics_have(server, &["firstcome_journal_reachable 1"]).await;
        let logged = server.logged();
        assert!(logged.contains("no broker of Kafka answers"), "{logged}");
        assert!(logged.contains("Kafka answers again"), "{logged}");
    }
    let logged = worker.logged();
    assert!(logged.contains("Kafka answers, and its topic is fit"), "{logged}");
}

/// A partition stands still then, and no process with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_is_ready_while_any_broker_answers() {
    let broker = KafkaServer::start_soon_back().await;
    let mut other = broker.start_beside().await;
    make_kafka_topic(&broker.authority(), "firstcome-wins", &[2, 1]).await;
    let (file, database) =
        (configuration(&[broker.authority()]), TestDatabase::new(Engine::Postgres).await);
    let server = Server::start_as(BINARY, |launch| with(launch, &file, &database)).await;
    let (api, journal) = (server.api(), journal(&broker));
    journal.end_offset(0).await.expect("an answer");

    other.kill9();
    let ends = || async { format!("{:?}", journal.end_offset(0).await) };
    eventually("without a leader", ends, |end| end.starts_with("Err")).await;
    // It looks each second, and what it misses three times in a row is away.
    let looked = Instant::now() + Duration::from_secs(8);
    while Instant::now() < looked {
        let _ = api.get("/readyz").await.expect(200);
        sleep(Duration::from_millis(100)).await;
    }
    journal.end_offset(0).await.expect_err("still without");
}

/// The shop's process lacks this one thing.
async fn lacks(shop: &Shop, missing: &str) {
    let ask = || async { shop.api.get("/readyz").await };
    let names =
        |answer: &Answer| answer.status == 503 && answer.member("/missing") == json!([missing]);
    let answer = eventually(missing, ask, names).await;
    let _ = answer.expect_problem(503, "unavailable");
    let _ = shop.api.get("/livez").await.expect(200);
}

/// What needs no Kafka is decided.
async fn what_needs_no_kafka_is_decided(shop: &Shop, user: &str) {
    for strategy in ["ledger", "redis_lock"] {
        let other = shop.event_of(|body| body.with("/strategy", strategy)).await;
        let other = other.member_text("/id");
        let _ = shop.claim(&other, user).await.expect(201);
        let _ = shop.claim(&other, user).await.expect_problem(409, "already_claimed");
        shop.expect_audit(&other, 1).await;
    }
}

/// Whoever starts a deployment need not start Kafka first, nor have its topic right.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_starts_without_kafka_serves_what_needs_none_until_it_is_fit() {
    let (mut broker, redis) = (KafkaServer::start_soon_back().await, RedisServer::start().await);
    let database = TestDatabase::new(Engine::Postgres).await;
    let config = KafkaConfig { create_topic: true, retention_hours_min: 100, ..config(&broker) };
    let made = Journal::new(&config).expect("a good configuration").check_topic().await;
    made.expect("the topic is made");
    broker.kill9();

    // It wants records kept for 168 hours.
    let file = configuration(&[broker.authority()]);
    let server = Server::start_unready_as(BINARY, |launch| {
        with(launch, &file, &database)
            .environment("FIRSTCOME_REDIS_URL", &redis.url())
            .environment("FIRSTCOME_STRATEGY", "redis")
            .environment("FIRSTCOME_COMMIT", "kafka")
    });
    let shop = Shop::of(server.await, Vec::new()).await;
    // At once, and not when it has missed an answer or two.
    let answer = shop.api.get("/readyz").await.expect_problem(503, "unavailable");
    assert_eq!(answer.member("/missing"), json!(["kafka"]));
    let (event, user) = (shop.event(10).await, shop.user("kim").await);
    assert_eq!(database.text("SELECT commit_to FROM events").await, "kafka");
    what_needs_no_kafka_is_decided(&shop, &user).await;
    let _ = shop.claim(&event, &user).await.expect_problem(503, "unavailable");
    lacks(&shop, "kafka").await;

    broker.restart().await;
    lacks(&shop, "kafka.topic").await;
    let topic = ["--entity-type", "topics", "--entity-name", &config.topic];
    let command = ["--bootstrap-server", &broker.authority(), "--alter"];
    let longer = ["--add-config", "retention.ms=-1"];
    kafka_configs(&[&command[..], &topic, &longer].concat()).await;
    let ask = || async { shop.api.get("/readyz").await };
    eventually("ready", ask, |answer| answer.status == 200).await;
    shop.ready(&event).await;
    let [batches, records, timed] = WRITTEN;
    let before = shop.metric(records).await;
    let _ = shop.claim(&event, &user).await.expect(201);
    for series in [batches, records, timed] {
        assert_eq!(shop.metric(series).await, before + 1, "{series}");
    }
    shop.recorded(&event).await;
    shop.expect_audit(&event, 1).await;
    metrics_have(
        &shop.server,
        &[
            "firstcome_worker_applied_total{outcome=\"written\"} 1",
            "firstcome_worker_lag_records{partition=\"0\"} 0",
            "firstcome_worker_lag_records{partition=\"1\"} 0",
        ],
    )
    .await;
}

#[tokio::test]
async fn a_topic_that_is_missing_or_unfit_keeps_the_server_from_starting() {
    let (data, database) = (directory(), TestDatabase::new(Engine::Postgres).await);
    let brokers = kafka_brokers().join(",");
    let file = NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "kafka.topic = \"nobody-made-it\"").expect("a file");
    let launch = with(serve(data.path()), &file, &database);
    let launch = launch.environment("FIRSTCOME_KAFKA_BROKERS", &brokers);
    let sentence = "kafka.topic: there is no topic nobody-made-it. To repair it: kafka-topics.sh";
    check_refused(launch, &[sentence, &brokers]).await;
}

/// Of a ledger, not of a process: what is in the first would be denied, and given to others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_topic_is_refused_until_the_first_is_forgotten() {
    let mut promises = Promises::open("kafka").await;
    let Promises { shop, database, redis, .. } = &mut promises;
    let (event, kim) = (shop.event(10).await, shop.user("kim").await);
    eventually("a win", || shop.claim(&event, &kim), |it| it.status == 201).await;
    shop.recorded(&event).await;
    assert_eq!(shop.server.terminate().await, Some(0));
    let (data, first) = (directory(), database.name());
    let second = format!("{first}-2");
    let file = promised::configuration("kafka", &second);
    let other = || {
        let launch = with(serve(data.path()), &file, database);
        launch.environment("FIRSTCOME_REDIS_URL", &redis.url())
    };
    let command = format!("firstcome journal forget --topic {first}");
    check_refused(other(), &["kafka.topic", &format!("set kafka.topic to {first}"), &command])
        .await;
    let forget = async |arguments: &[&str]| {
        let command = [&["journal", "forget", "--topic"][..], arguments].concat();
        let launch = with(Launch::new(BINARY, &command), &file, database);
        let launch = launch.environment("FIRSTCOME_REDIS_URL", &redis.url());
        launch.environment("FIRSTCOME_DATA_DIR", data.path().to_str().expect("UTF-8")).run().await
    };
    for arguments in [&[first][..], &[first, "--lost"]] {
        let kept = forget(arguments).await;
        assert_eq!(kept.code, Some(1), "{kept:?}");
        assert!(kept.stderr.contains(&event), "{kept:?}");
    }
    shop.reopen_as(|launch| launch).await;
    let _ = shop.claim(&event, &kim).await.expect_problem(409, "already_claimed");
    let path = format!("/v1/events/{event}/close");
    let _ = shop.api.post(&path).token(&shop.admin).await.expect(200);
    assert_eq!(shop.server.terminate().await, Some(0));
    let unknown = forget(&["nobody-has-it"]).await;
    assert!(unknown.stderr.contains("the ledger has no topic nobody-has-it"), "{unknown:?}");
    let forgotten = forget(&[first]).await;
    assert_eq!(forgotten.code, Some(0), "{forgotten:?}");
    shop.reopen_as(|launch| {
        launch.environment("FIRSTCOME_CONFIG", file.path().to_str().expect("UTF-8"))
    })
    .await;
    let _ = shop.claim(&event, &kim).await.expect_problem(409, "already_claimed");
    let event = shop.event(10).await;
    eventually("a win", || shop.claim(&event, &kim), |it| it.status == 201).await;
    shop.expect_audit(&event, 1).await;
    assert!(records(&second).await > 0);
    remove_kafka_topic(&second).await;
}

/// Sets how long a topic of the brokers that tests share keeps records.
async fn keep_for(topic: &str, milliseconds: &str) {
    let retention = format!("retention.ms={milliseconds}");
    let brokers = kafka_brokers().join(",");
    let command = ["--bootstrap-server", &brokers, "--alter", "--entity-type", "topics"];
    let change = ["--entity-name", topic, "--add-config", &retention];
    kafka_configs(&[&command[..], &change].concat()).await;
}

/// How many records are in the two partitions of that topic.
async fn records(topic: &str) -> i64 {
    let config =
        KafkaConfig { brokers: kafka_brokers(), topic: topic.to_owned(), ..KafkaConfig::default() };
    let journal = Journal::new(&config).expect("a good configuration");
    let ends = [journal.end_offset(0).await, journal.end_offset(1).await];
    ends.into_iter().map(|end| end.expect("an answer")).sum()
}

/// An event keeps its commit: a process whose new events are held elsewhere writes to Kafka, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_hardly_uses_kafka_serves_the_rest_and_gives_an_unfit_topic_nothing() {
    let mut promises = Promises::open("kafka").await;
    let Promises { shop, database, .. } = &mut promises;
    let (event, topic) = (shop.event(10).await, database.name());
    let (kim, lee) = (shop.user("kim").await, shop.user("lee").await);
    eventually("a win", || shop.claim(&event, &kim), |it| it.status == 201).await;
    shop.recorded(&event).await;
    assert_eq!(shop.server.terminate().await, Some(0));
    keep_for(topic, "3600000").await;
    let before = records(topic).await;

    let change = |launch: Launch| {
        let roles = "identity,catalog,issuance,wallet";
        launch.environment("FIRSTCOME_COMMIT", "ledger").environment("FIRSTCOME_ROLES", roles)
    };
    shop.reopen_as(change).await;
    let _ = shop.api.get("/readyz").await.expect(200);
    let logged = shop.server.logged();
    assert!(logged.contains(&format!("until the topic {topic} is set right")), "{logged}");
    assert!(logged.contains("retention.ms"), "{logged}");
    what_needs_no_kafka_is_decided(shop, &lee).await;
    let _ = shop.claim(&event, &lee).await.expect(503);
    let other = shop.event_of(|body| body.with("/strategy", "redis")).await.member_text("/id");
    for (arguments, rebuilt) in [(&["sync"][..], 1), (&["sync", "--event", &event], 0)] {
        let refused = shop.server.command(arguments).await;
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(refused.stderr.contains("retention.ms"), "{refused:?}");
        assert_eq!(refused.stdout.lines().count(), rebuilt, "{refused:?}");
        assert!(rebuilt == 0 || refused.stdout.starts_with(&other), "{refused:?}");
    }
    assert_eq!(records(topic).await, before);
    let _ = shop.api.get("/readyz").await.expect(200);

    keep_for(topic, "-1").await;
    // Redis had decided what was in doubt.
    let held = eventually("an answer", || shop.claim(&event, &lee), |it| it.status != 503).await;
    let held = held.expect_problem(409, "already_claimed");
    assert_eq!(held.member("/issued_coupon/sequence"), 2);
    assert_eq!(records(topic).await, before + 1);
}
