//! The journal on real brokers: what was acknowledged is there, whole and in order, whatever fails.

mod appending;
mod faults;
mod reading;
mod security;
mod sharing;
mod topics;

use std::time::Duration;

use firstcome_core::{EventId, Sequence, Timestamp, UserId};
use firstcome_issuance::journal::{Entry, Journal, JournalRecord, JournalWin, KafkaConfig, Reader};
use firstcome_testkit::kafka_brokers;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use tokio::time::Instant;
use uuid::Uuid;

use crate::redis::POLL;

/// Longest that a test waits.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// What a topic has so that the journal takes it.
const GOOD: [(&str, &str); 1] = [("message.timestamp.type", "LogAppendTime")];

/// A topic of a test's own; dropping it removes it.
pub(crate) struct TestTopic {
    pub(crate) name: String,
    brokers: Vec<String>,
    /// Whether the brokers live on after the test.
    is_shared: bool,
}

impl TestTopic {
    /// One on the brokers that tests share.
    pub(crate) async fn new(partitions: i32) -> Self {
        Self::with(partitions, &GOOD).await
    }

    async fn with(partitions: i32, settings: &[(&str, &str)]) -> Self {
        let topic = Self::named(kafka_brokers(), true);
        topic.make(partitions, settings).await;
        topic
    }

    /// One on a broker of the test's own.
    pub(crate) async fn at(broker: &str, partitions: i32) -> Self {
        let topic = Self::named(vec![broker.to_owned()], false);
        topic.make(partitions, &GOOD).await;
        topic
    }

    /// A name that no topic has.
    fn named(brokers: Vec<String>, is_shared: bool) -> Self {
        let name = format!("firstcome-test-{}", Uuid::new_v4().simple());
        Self { name, brokers, is_shared }
    }

    /// One whose partitions are each on the broker with this id, and nowhere else.
    pub(crate) async fn led_by(broker: &str, leaders: &[i32]) -> Self {
        let topic = Self::named(vec![broker.to_owned()], false);
        let copies: Vec<&[i32]> = leaders.chunks(1).collect();
        let partitions = i32::try_from(leaders.len()).expect("a small number");
        topic.make_as(partitions, TopicReplication::Variable(&copies), &GOOD).await;
        topic
    }

    async fn make(&self, partitions: i32, settings: &[(&str, &str)]) {
        self.make_as(partitions, TopicReplication::Fixed(1), settings).await;
    }

    async fn make_as(
        &self,
        partitions: i32,
        copies: TopicReplication<'_>,
        settings: &[(&str, &str)],
    ) {
        let mut topic = NewTopic::new(&self.name, partitions, copies);
        for (key, value) in settings {
            topic = topic.set(key, value);
        }
        let admin = self.admin();
        let made = admin.create_topics([&topic], &options()).await.expect("an answer");
        assert!(made[0].is_ok(), "{made:?}");
        // The broker answers before it has heard of all of it itself.
        let deadline = Instant::now() + WAIT_MAX;
        let is_there = || {
            let found = admin.inner().fetch_metadata(Some(&self.name), WAIT_MAX);
            let found = found.expect("an answer");
            let led = found.topics()[0].partitions().iter();
            let led = led.filter(|partition| partition.leader() >= 0).count();
            i32::try_from(led) == Ok(partitions)
        };
        while !is_there() {
            assert!(Instant::now() < deadline, "the topic {} does not come up", self.name);
            tokio::time::sleep(POLL).await;
        }
    }

    pub(crate) fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", self.brokers.join(","));
        client
    }

    pub(crate) fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.client().create().expect("a client")
    }

    /// A configuration that the topic satisfies.
    pub(crate) fn config(&self) -> KafkaConfig {
        KafkaConfig {
            brokers: self.brokers.clone(),
            topic: self.name.clone(),
            partitions_min: 1,
            replication_factor_min: 1,
            min_insync_replicas_min: 1,
            ..KafkaConfig::default()
        }
    }

    pub(crate) fn journal(&self) -> Journal {
        Journal::new(&self.config()).expect("a good configuration")
    }
}

impl Drop for TestTopic {
    fn drop(&mut self) {
        if !self.is_shared {
            return;
        }
        // A thread of its own, since a runtime that drops this value cannot wait for another.
        let remove = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            // A topic that stays harms no other test.
            let _ = runtime
                .expect("a runtime")
                .block_on(self.admin().delete_topics(&[&self.name], &options()));
        };
        std::thread::scope(|scope| scope.spawn(remove).join()).expect("removing does not panic");
    }
}

pub(crate) fn options() -> AdminOptions {
    let limit = Some(Duration::from_secs(20));
    AdminOptions::new().request_timeout(limit).operation_timeout(limit)
}

/// The win with this sequence, of a user and at a moment that follow from it.
fn win(sequence: u32) -> JournalRecord {
    let issued_at = 1_800_000_000_000_000 + i64::from(sequence);
    JournalRecord::Win(JournalWin {
        event_id: EventId::from_uuid(Uuid::from_u128(7)),
        epoch: 1,
        sequence: Sequence::parse(sequence.into()).expect("a sequence"),
        user_id: UserId::parse(&format!("user-{sequence}")).expect("a user id"),
        issued_at: Timestamp::from_micros(issued_at),
        valid_from: Timestamp::from_micros(issued_at),
        expires_at: Timestamp::from_micros(issued_at + 86_400_000_000),
    })
}

fn wins(sequences: impl IntoIterator<Item = u32>) -> Vec<JournalRecord> {
    sequences.into_iter().map(win).collect()
}

/// Reads so many entries.
async fn read(reader: &mut Reader, count: usize) -> Vec<Entry> {
    let deadline = Instant::now() + WAIT_MAX;
    let mut read = Vec::new();
    while read.len() < count {
        assert!(Instant::now() < deadline, "only {} of {count} entries came", read.len());
        match reader.next(count - read.len(), Duration::from_secs(1)).await {
            Ok(entries) => read.extend(entries),
            Err(error) => assert!(error.is_retryable(), "{error}"),
        }
    }
    read
}

/// The sequences of entries that can all be read and that follow each other from this offset on.
fn sequences(entries: &[Entry], first: i64) -> Vec<u32> {
    let offsets: Vec<i64> = entries.iter().map(|entry| entry.offset).collect();
    let expected: Vec<i64> = (first..).take(entries.len()).collect();
    assert_eq!(offsets, expected);
    let sequence = |entry: &Entry| match entry.record.as_ref().expect("a record that can be read") {
        JournalRecord::Win(win) => win.sequence.get(),
        JournalRecord::Fence { .. } => panic!("a fence"),
    };
    entries.iter().map(sequence).collect()
}
