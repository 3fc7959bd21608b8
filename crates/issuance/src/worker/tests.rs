//! What cannot be seen from outside.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use firstcome_core::{Commit, CouponId, EventId, Name, Sequence, Strategy, Timestamp, UserId};
use firstcome_ledger::{EventRecord, Ledger, LedgerOptions, NewEvent, Purpose};
use firstcome_testkit::{Engine, ManualClock, TestDatabase, draft, kafka_brokers};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use uuid::Uuid;

use super::Work;
use super::partition::{GOES_ON, Partition};
use crate::journal::{Journal, JournalRecord, JournalWin, KafkaConfig, ReadError};

/// Longest that a test waits.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// How often a test looks again at what it waits for.
const POLL: Duration = Duration::from_millis(5);
/// Wins that a test appends.
const WINS: u32 = 1_000;

/// One partition, and the event whose wins are in it.
pub(super) struct Stage {
    database: TestDatabase,
    config: KafkaConfig,
    journal: Journal,
    event: EventRecord,
}

impl Stage {
    pub(super) async fn new(engine: Engine) -> Self {
        let database = TestDatabase::new(engine).await;
        let config = KafkaConfig {
            brokers: kafka_brokers(),
            topic: format!("firstcome-test-{}", Uuid::new_v4().simple()),
            partitions_min: 1,
            replication_factor_min: 1,
            min_insync_replicas_min: 1,
            create_topic: true,
            ..KafkaConfig::default()
        };
        let journal = Journal::new(&config).unwrap();
        let ledger = ledger(database.url()).await;
        journal.check_topic_of(&ledger).await.unwrap();
        let coupon_id = CouponId::from_uuid(Uuid::now_v7());
        ledger.create_coupon(coupon_id, draft::coupon()).await.unwrap();
        let id = EventId::from_uuid(Uuid::now_v7());
        let new = NewEvent {
            id,
            coupon_id,
            name: Name::parse("선착순").unwrap(),
            rule: draft::rule(WINS),
            strategy: Strategy::Redis,
            commit: Commit::Kafka,
        };
        ledger.create_event(new).await.unwrap().unwrap();
        let event = ledger.begin_epoch(id, 1, 0, Some(1)).await.unwrap().unwrap();
        Self { database, config, journal, event }
    }

    /// What the tasks of another process share, measured by this recorder.
    pub(super) async fn measured_work(&self, recorder: &PrometheusRecorder) -> Arc<Work> {
        let ledger = ledger(self.database.url()).await;
        let journal = Journal::new(&self.config).unwrap();
        metrics::with_local_recorder(recorder, || Arc::new(Work::new(ledger, journal)))
    }

    /// A task of the partition, as another process has it.
    async fn task(&self, stop: &CancellationToken) -> Partition {
        self.task_at(&self.config, stop).await
    }

    /// The same, of a process with that configuration.
    async fn task_at(&self, config: &KafkaConfig, stop: &CancellationToken) -> Partition {
        let ledger = ledger(self.database.url()).await;
        let journal = Journal::new(config).unwrap();
        Partition::new(Arc::new(Work::new(ledger, journal)), 0, stop.clone())
    }

    /// Appends the wins with these sequences.
    pub(super) async fn append(&self, sequences: std::ops::RangeInclusive<u32>) {
        let win = |sequence: u32| {
            let moment = |more: i64| Timestamp::from_micros(draft_micros() + more);
            JournalRecord::Win(JournalWin {
                event_id: self.event.id,
                epoch: self.event.epoch,
                user_id: UserId::parse(&format!("user-{sequence}")).unwrap(),
                sequence: Sequence::parse(sequence.into()).unwrap(),
                issued_at: moment(0),
                valid_from: moment(0),
                expires_at: moment(1),
            })
        };
        let wins: Vec<_> = sequences.map(win).collect();
        self.journal.append(0, &wins).await.unwrap();
    }

    /// Waits until so many records are applied.
    pub(super) async fn applied(&self, count: i64) {
        let deadline = Instant::now() + WAIT_MAX;
        while self.position().await != count {
            assert!(Instant::now() < deadline, "not applied in time");
            sleep(POLL).await;
        }
    }

    async fn position(&self) -> i64 {
        let sql = "SELECT COALESCE(MAX(next_offset), 0) FROM journal_positions";
        self.database.number(sql).await
    }

    pub(super) async fn end(self, issued: i64) {
        let rows = self.database.number("SELECT COUNT(*) FROM issued_coupons").await;
        let counted = self.database.number("SELECT issued FROM events").await;
        assert_eq!((rows, counted), (issued, issued));
        crate::journal::remove_topic(&self.journal).await;
    }
}

/// What the watchdog has found, each once.
pub(super) fn found(recorder: &PrometheusRecorder) -> Vec<&'static str> {
    let told = recorder.handle().render();
    let is_told = |found: &&str| {
        let line = format!("firstcome_worker_watchdog_total{{found=\"{found}\"}} 1");
        told.lines().any(|told| told == line)
    };
    ["reader", "task", "partition"].into_iter().filter(is_told).collect()
}

fn draft_micros() -> i64 {
    1_800_000_000_000_000
}

async fn ledger(url: &str) -> Ledger {
    let options = LedgerOptions::parse_url(url, Purpose::Serve).unwrap();
    Ledger::open(options, Arc::new(ManualClock::new(draft::OPENS_AT))).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_stopped_without_a_word_is_replaced() {
    let stage = Stage::new(Engine::Postgres).await;
    stage.append(1..=1).await;
    let (stop, recorder) = (CancellationToken::new(), PrometheusBuilder::new().build_recorder());
    let work = stage.measured_work(&recorder).await;
    let mut task = Partition::new(work, 0, stop.clone());
    let mut reader = stage.journal.reader(0, 0).unwrap();
    reader.deafen(Duration::from_millis(50));
    // It is given up though nothing was said: another one is to be made.
    assert_eq!(timeout(WAIT_MAX, task.follow(reader)).await.unwrap(), Some(()));
    assert_eq!(found(&recorder), ["reader"]);
    let task = tokio::spawn(task.run());
    stage.applied(1).await;
    stop.cancel();
    timeout(WAIT_MAX, task).await.unwrap().unwrap();
    stage.end(1).await;
}

/// Counts warnings, which tell people that something is away.
#[derive(Clone, Default)]
struct Warnings(Arc<AtomicU32>);

impl Warnings {
    fn count(&self) -> u32 {
        self.0.load(Relaxed)
    }
}

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::WARN && metadata.target().starts_with("firstcome_issuance")
    }

    fn event(&self, _: &Event<'_>) {
        self.0.fetch_add(1, Relaxed);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[tokio::test]
async fn brokers_are_told_to_be_away_only_while_they_are() {
    let stage = Stage::new(Engine::Postgres).await;
    let warnings = Warnings::default();
    let _guard = tracing::subscriber::set_default(warnings.clone());
    let stop = CancellationToken::new();
    let error = ReadError::Away("it was".to_owned());
    // After an outage a reader tells of it several times, late.
    let task = stage.task(&stop).await;
    for _ in 0..3 {
        assert_eq!(task.wait_for_kafka(&error).await, Some(GOES_ON));
    }
    assert_eq!(warnings.count(), 0);

    let nobody = KafkaConfig { brokers: vec!["127.0.0.1:1".to_owned()], ..stage.config.clone() };
    let task = stage.task_at(&nobody, &stop).await;
    let told = async {
        while warnings.count() == 0 {
            sleep(POLL).await;
        }
        stop.cancel();
    };
    let (went, ()) = timeout(WAIT_MAX, async { tokio::join!(task.wait_for_kafka(&error), told) })
        .await
        .expect("it is told in time");
    assert_eq!((went, warnings.count()), (None, 1));
    stage.end(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_that_was_taken_away_is_not_worked_on() {
    let stage = Stage::new(Engine::Postgres).await;
    stage.append(1..=10).await;
    let stop = CancellationToken::new();
    let task = tokio::spawn(stage.task(&stop).await.run());
    stage.applied(10).await;
    stop.cancel();
    timeout(WAIT_MAX, task).await.unwrap().unwrap();
    stage.append(11..=20).await;
    // One that was never given any leaves at once.
    timeout(WAIT_MAX, stage.task(&stop).await.run()).await.unwrap();
    assert_eq!(stage.position().await, 10);
    stage.end(10).await;
}

/// Both believe that the partition is theirs.
async fn two_workers_on_one_partition_write_everything_once(engine: Engine) {
    let stage = Stage::new(engine).await;
    let stop = CancellationToken::new();
    let one = tokio::spawn(stage.task(&stop).await.run());
    let other = tokio::spawn(stage.task(&stop).await.run());
    let step = 50;
    for first in (1..=WINS).step_by(50) {
        stage.append(first..=first + step - 1).await;
    }
    stage.applied(i64::from(WINS)).await;
    stop.cancel();
    for task in [one, other] {
        timeout(WAIT_MAX, task).await.unwrap().unwrap();
    }
    stage.end(i64::from(WINS)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_workers_on_one_partition_of_postgres() {
    two_workers_on_one_partition_write_everything_once(Engine::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_workers_on_one_partition_of_mariadb() {
    two_workers_on_one_partition_write_everything_once(Engine::MariaDb).await;
}
