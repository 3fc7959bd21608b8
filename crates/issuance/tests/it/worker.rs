//! The worker on real Kafka and real databases: what is in the journal comes to be in the ledger,
//! once, whatever fails.

mod churn;
mod judging;
mod outages;
mod poison;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use firstcome_core::{
    Clock as _, Commit, CouponId, EventId, Name, Sequence, Strategy, Timestamp, UserId,
};
use firstcome_issuance::journal::{AppendError, Journal, JournalRecord, JournalWin};
use firstcome_issuance::worker::Worker;
use firstcome_ledger::{EventRecord, Ledger, LedgerOptions, NewEvent, Purpose};
use firstcome_testkit::{Engine, ManualClock, TestDatabase, draft};
use metrics_exporter_prometheus::PrometheusRecorder;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::journal::TestTopic;
use crate::redis::POLL;

/// Longest that a test waits: a group may take its time to settle.
const WAIT_MAX: Duration = Duration::from_secs(120);

/// A topic, a ledger, and the events whose wins go from one to the other.
struct Stage {
    topic: TestTopic,
    partitions: u32,
    url: String,
    ledger: Ledger,
    journal: Journal,
}

impl Stage {
    /// On the brokers that tests share; the database is to be kept as long.
    async fn new(engine: Engine, partitions: u32) -> (Self, TestDatabase) {
        let database = TestDatabase::new(engine).await;
        let topic = TestTopic::new(signed(partitions)).await;
        (Self::of(topic, partitions, database.url()).await, database)
    }

    async fn of(topic: TestTopic, partitions: u32, url: &str) -> Self {
        let (journal, ledger) = (topic.journal(), ledger(url).await);
        journal.bind(&ledger).await.expect("a fresh ledger");
        Self { topic, partitions, url: url.to_owned(), ledger, journal }
    }

    /// A worker of another process.
    async fn worker(&self) -> Worker {
        Worker::start(ledger(&self.url).await, self.topic.journal())
    }

    /// The same, measured by this recorder.
    async fn measured_worker(&self, recorder: &PrometheusRecorder) -> Worker {
        let ledger = ledger(&self.url).await;
        metrics::with_local_recorder(recorder, || Worker::start(ledger, self.topic.journal()))
    }

    /// An event in its first epoch.
    async fn event(&self, quantity: u32) -> EventRecord {
        let coupon_id = CouponId::from_uuid(Uuid::now_v7());
        self.ledger.create_coupon(coupon_id, draft::coupon()).await.expect("an answer");
        let id = EventId::from_uuid(Uuid::now_v7());
        let new = NewEvent {
            id,
            coupon_id,
            name: Name::parse("선착순").expect("a name"),
            rule: draft::rule(quantity),
            strategy: Strategy::Redis,
            commit: Commit::Kafka,
        };
        self.ledger.create_event(new).await.expect("an answer").expect("the coupon");
        self.begin_epoch(id).await
    }

    async fn begin_epoch(&self, id: EventId) -> EventRecord {
        let epoch = self.ledger.epoch(id).await.expect("an answer").expect("the event");
        let begun = self.ledger.begin_epoch(id, epoch, 0, Some(self.partitions)).await;
        begun.expect("an answer").expect("the event")
    }

    /// Events of which each partition has one.
    async fn event_of_each_partition(&self, quantity: u32) -> Vec<EventRecord> {
        let mut events = BTreeMap::new();
        while events.len() < usize::try_from(self.partitions).expect("a small number") {
            let event = self.event(quantity).await;
            events.entry(pinned(&event)).or_insert(event);
        }
        events.into_values().collect()
    }

    /// Makes records durable in the partition of the event.
    async fn append(&self, event: &EventRecord, records: &[JournalRecord]) {
        let deadline = Instant::now() + WAIT_MAX;
        while let Err(error) = self.journal.append(pinned(event), records).await {
            assert!(matches!(error, AppendError::NotSent(_)), "a test of its own: {error}");
            assert!(Instant::now() < deadline, "{error}");
            sleep(POLL).await;
        }
    }

    /// Where the ledger stands in a partition.
    async fn position(&self, partition: i32) -> Option<i64> {
        let position = self.ledger.journal_position(self.journal.topic(), partition).await;
        position.unwrap_or_default()
    }

    /// Waits until the partition is applied to this offset.
    async fn applied_to(&self, partition: i32, offset: i64) {
        let deadline = Instant::now() + WAIT_MAX;
        loop {
            let position = self.position(partition).await;
            if position == Some(offset) {
                return;
            }
            let late = "is not applied in time";
            assert!(Instant::now() < deadline, "{partition} {late}: {position:?} of {offset}");
            sleep(POLL).await;
        }
    }

    /// Waits until nothing is left to apply.
    async fn drained(&self) {
        for partition in 0..signed(self.partitions) {
            let end = self.journal.end_offset(partition).await.expect("an answer");
            self.applied_to(partition, end).await;
        }
    }

    /// The ledger has exactly the wins with the first sequences of an event, as they were told.
    async fn has_exactly(&self, event: &EventRecord, count: u32) {
        let audit = self.ledger.audit(event.id).await.expect("an answer").expect("the event");
        assert!(audit.pass(), "{audit:?}");
        assert_eq!(audit.issued, u64::from(count));
        let mut rows = Vec::new();
        loop {
            let last = rows.last().map(|row: &firstcome_ledger::IssuedCouponRecord| row.sequence);
            let page = self.ledger.issued_coupons_of_event(event.no, last, 200).await;
            let page = page.expect("a page");
            if page.is_empty() {
                break;
            }
            rows.extend(page);
        }
        let expected: Vec<_> = (1..=count)
            .map(|sequence| self.ledger.coupon_of(event, &win(event, sequence)))
            .collect();
        assert_eq!(rows, expected);
    }
}

/// Waits until so many wins were applied that are new, known and void.
async fn measured(recorder: &PrometheusRecorder, [written, known, void]: [u32; 3]) {
    let line = |(outcome, count)| {
        format!("firstcome_worker_applied_total{{outcome=\"{outcome}\"}} {count}")
    };
    let lines = [("written", written), ("known", known), ("void", void)].map(line);
    let deadline = Instant::now() + WAIT_MAX;
    loop {
        let told = recorder.handle().render();
        if lines.iter().all(|line| told.lines().any(|found| found == line)) {
            return;
        }
        assert!(Instant::now() < deadline, "{lines:?} are not in {told}");
        sleep(POLL).await;
    }
}

async fn ledger(url: &str) -> Ledger {
    // A busy machine is no dead one.
    ledger_within(url, Duration::from_secs(20)).await
}

async fn ledger_within(url: &str, statement_timeout: Duration) -> Ledger {
    let mut options = LedgerOptions::parse_url(url, Purpose::Serve).expect("a URL");
    options.limits.acquire_timeout = Duration::from_secs(5);
    options.limits.statement_timeout = statement_timeout;
    let clock = Arc::new(ManualClock::new(draft::OPENS_AT));
    Ledger::open(options, clock).await.expect("the database is a ledger")
}

fn signed(partitions: u32) -> i32 {
    i32::try_from(partitions).expect("a small number")
}

fn pinned(event: &EventRecord) -> i32 {
    event.partition.expect("it was begun")
}

/// The win with this sequence, of a user and at a moment that follow from it.
fn win(event: &EventRecord, sequence: u32) -> JournalWin {
    let opened = ManualClock::new(draft::OPENS_AT).now().as_micros();
    let issued_at = opened + i64::from(sequence);
    JournalWin {
        event_id: event.id,
        epoch: event.epoch,
        user_id: UserId::parse(&format!("user-{sequence}")).expect("a user id"),
        sequence: Sequence::parse(sequence.into()).expect("a sequence"),
        issued_at: Timestamp::from_micros(issued_at),
        valid_from: Timestamp::from_micros(issued_at),
        expires_at: Timestamp::from_micros(issued_at + 86_400_000_000),
    }
}

fn wins(event: &EventRecord, sequences: impl IntoIterator<Item = u32>) -> Vec<JournalRecord> {
    sequences.into_iter().map(|sequence| JournalRecord::Win(win(event, sequence))).collect()
}
