//! A record that cannot be read or applied stops its partition, and nothing else.

use firstcome_core::{EventId, Timestamp};
use firstcome_issuance::journal::{JournalRecord, encode};
use firstcome_ledger::{EventRecord, SkippedRecord};
use firstcome_testkit::{Engine, KafkaServer, TestDatabase};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{Offset, TopicPartitionList};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::{Stage, WAIT_MAX, pinned, win, wins};
use crate::journal::{TestTopic, options};
use crate::redis::{POLL, on_every_server};

on_every_server!(poison_stops_its_partition_until_it_is_skipped);

/// Records that no worker of this version applies.
fn poison(event: &EventRecord) -> Vec<(&'static str, Vec<u8>)> {
    let mut newer = encode(&wins(event, 4..=4)[0]);
    newer[3] = 2;
    let event_id = EventId::from_uuid(Uuid::now_v7());
    let unknown = JournalRecord::Fence { event_id, epoch: 1 };
    let mut second_place = win(event, 4);
    second_place.user_id = win(event, 1).user_id;
    vec![
        ("of another program", b"{\"user\": 1}".to_vec()),
        ("of a later version", newer),
        ("of an unknown event", encode(&unknown)),
        ("a second place", encode(&JournalRecord::Win(second_place))),
    ]
}

impl Stage {
    /// Waits until partition 0 stands, which it does at this offset.
    async fn stands(&self, recorder: &PrometheusRecorder, offset: i64) {
        let deadline = Instant::now() + WAIT_MAX;
        let stands = "firstcome_worker_stopped{partition=\"0\"} 1";
        while !recorder.handle().render().contains(stands) {
            // None before a worker has begun it.
            let position = self.position(0).await.unwrap_or(offset);
            assert_eq!(position, offset, "records that are gone were passed over");
            assert!(Instant::now() < deadline, "it does not stand at {offset}");
            sleep(POLL).await;
        }
        assert_eq!(self.position(0).await, Some(offset), "it stands");
    }

    /// As an operator does.
    async fn skip(&self, partition: i32, offset: i64, reason: &str, record: Vec<u8>) {
        let skip = SkippedRecord {
            journal: self.journal.topic().to_owned(),
            partition,
            offset,
            reason: reason.to_owned(),
            record,
            skipped_at: Timestamp::from_micros(0),
        };
        assert!(self.ledger.skip_record(skip).await.expect("an answer"));
    }
}

async fn poison_stops_its_partition_until_it_is_skipped(engine: Engine) {
    let (stage, _database) = Stage::new(engine, 2).await;
    let [one, other] = <[EventRecord; 2]>::try_from(stage.event_of_each_partition(100).await)
        .expect("one of each partition");
    let stranger: FutureProducer = stage.topic.client().create().expect("a client");
    stage.append(&one, &wins(&one, 1..=3)).await;
    let (mut next, mut offset) = (3, 3);
    let mut worker = None;
    for (kind, raw) in poison(&one) {
        let record: FutureRecord<'_, (), [u8]> =
            FutureRecord::to(&stage.topic.name).partition(pinned(&one)).payload(&raw);
        stranger.send(record, WAIT_MAX).await.expect("an acknowledgement");
        stage.append(&one, &wins(&one, next + 1..=next + 2)).await;
        if worker.is_none() {
            // The first meets what precedes and what follows in one read.
            worker = Some(stage.worker().await);
        }
        stage.applied_to(pinned(&one), offset).await;
        // The other partition goes on, and this one does not.
        stage.append(&other, &wins(&other, next - 2..=next - 1)).await;
        let end = stage.journal.end_offset(pinned(&other)).await.expect("an answer");
        stage.applied_to(pinned(&other), end).await;
        assert_eq!(stage.position(pinned(&one)).await, Some(offset), "{kind}");
        stage.has_exactly(&one, next).await;

        stage.skip(pinned(&one), offset, kind, raw).await;
        offset += 3;
        next += 2;
        stage.applied_to(pinned(&one), offset).await;
        stage.has_exactly(&one, next).await;
    }
    stage.drained().await;
    stage.has_exactly(&other, next - 3).await;
}

/// As when they were older than the topic keeps them: nobody applied them, and somebody was told.
/// All on one thread, where its tasks are measured.
#[tokio::test]
async fn records_that_are_gone_stop_their_partition_too() {
    let (stage, database) = Stage::new(Engine::Postgres, 1).await;
    let event = stage.event(10).await;
    stage.append(&event, &wins(&event, 1..=5)).await;
    let mut gone = TopicPartitionList::new();
    gone.add_partition_offset(&stage.topic.name, 0, Offset::Offset(3)).expect("an offset");
    stage.topic.admin().delete_records(&gone, &options()).await.expect("an answer");
    for offset in 0..3 {
        // Each tells by itself where it stands.
        let recorder = PrometheusBuilder::new().build_recorder();
        let _measured = metrics::set_default_local_recorder(&recorder);
        let worker = stage.worker().await;
        stage.stands(&recorder, offset).await;
        stage.skip(0, offset, "gone", Vec::new()).await;
        worker.shutdown(WAIT_MAX).await.expect("it ends");
    }
    let _worker = stage.worker().await;
    stage.drained().await;
    assert_eq!(database.number("SELECT COUNT(*) FROM issued_coupons").await, 2);
}

/// As by a disk that fails: another broker may have it as it was written, and no record is lost.
/// All on one thread, where its tasks are measured.
#[tokio::test]
async fn a_damaged_copy_stops_its_partition_until_a_sound_one_is_read() {
    let (database, broker) =
        (TestDatabase::new(Engine::Postgres).await, KafkaServer::start().await);
    let topic = TestTopic::at(&broker.authority(), 1).await;
    let stage = Stage::of(topic, 1, database.url()).await;
    let event = stage.event(10).await;
    for sequence in 1..=2 {
        stage.append(&event, &wins(&event, [sequence])).await;
    }
    broker.damage(&stage.topic.name, 0);
    let recorder = PrometheusBuilder::new().build_recorder();
    let _measured = metrics::set_default_local_recorder(&recorder);
    let _worker = stage.worker().await;
    stage.applied_to(0, 1).await;
    stage.stands(&recorder, 1).await;
    broker.damage(&stage.topic.name, 0);
    stage.drained().await;
    stage.has_exactly(&event, 2).await;
}
