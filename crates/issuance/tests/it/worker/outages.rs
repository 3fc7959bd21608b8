//! Kafka or the ledger is away: nothing is lost, and it goes on by itself.

use std::time::Duration;

use firstcome_core::EventId;
use firstcome_issuance::journal::JournalRecord;
use firstcome_issuance::worker::Worker;
use firstcome_testkit::proxy::CommitFault;
use firstcome_testkit::{DatabaseServer, Engine, KafkaServer, Proxy, TestDatabase};
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::{Stage, WAIT_MAX, ledger_within, wins};
use crate::journal::TestTopic;
use crate::redis::{POLL, on_every_server};

on_every_server!(
    a_ledger_that_is_killed_is_waited_for,
    commits_of_unknown_outcome_are_found_or_done_again,
);

async fn a_ledger_that_is_killed_is_waited_for(engine: Engine) {
    let mut database = DatabaseServer::start(engine).await;
    let stage = Stage::of(TestTopic::new(2).await, 2, database.url()).await;
    let events = stage.event_of_each_partition(900).await;
    for event in &events {
        stage.append(event, &wins(event, 1..=300)).await;
    }
    let _worker = stage.worker().await;
    let deadline = Instant::now() + WAIT_MAX;
    while stage.position(0).await.unwrap_or_default() == 0 {
        assert!(Instant::now() < deadline, "nothing is applied");
        sleep(POLL).await;
    }
    // In the middle of whatever it does.
    for event in &events {
        stage.append(event, &wins(event, 301..=600)).await;
    }
    database.kill9();
    for event in &events {
        stage.append(event, &wins(event, 601..=900)).await;
    }
    database.restart().await;
    stage.drained().await;
    for event in &events {
        stage.has_exactly(event, 900).await;
    }
}

async fn commits_of_unknown_outcome_are_found_or_done_again(engine: Engine) {
    let (stage, database) = Stage::new(engine, 1).await;
    let event = stage.event(20).await;
    let proxy = Proxy::start(database.url()).await;
    let ledger = ledger_within(&proxy.url(database.url()), Duration::from_secs(2)).await;
    let _worker = Worker::start(ledger, stage.topic.journal());
    // One record each: nothing that follows shows where the ledger stands.
    for (fault, sequence) in [(CommitFault::LoseReply, 1), (CommitFault::LoseRequest, 2)] {
        proxy.on_commit(fault, 0, 1);
        stage.append(&event, &wins(&event, [sequence])).await;
        stage.drained().await;
        proxy.wait_for_hits(1).await;
    }
    stage.has_exactly(&event, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brokers_that_are_killed_are_waited_for() {
    let database = TestDatabase::new(Engine::Postgres).await;
    let mut broker = KafkaServer::start().await;
    let topic = TestTopic::at(&broker.authority(), 2).await;
    let stage = Stage::of(topic, 2, database.url()).await;
    let events = stage.event_of_each_partition(600).await;
    for event in &events {
        stage.append(event, &wins(event, 1..=200)).await;
    }
    let early = stage.worker().await;
    stage.drained().await;
    broker.kill9();
    // It begins while there is no Kafka.
    let _late = stage.worker().await;
    broker.restart().await;
    for event in &events {
        stage.append(event, &wins(event, 201..=400)).await;
    }
    stage.drained().await;
    // Whatever became of the other one, somebody works on every partition.
    drop(early);
    for event in &events {
        stage.append(event, &wins(event, 401..=600)).await;
    }
    stage.drained().await;
    for event in &events {
        stage.has_exactly(event, 600).await;
    }
}

/// All on one thread, where its tasks are measured.
#[tokio::test]
async fn a_partition_without_a_leader_hides_no_other() {
    let database = TestDatabase::new(Engine::Postgres).await;
    let broker = KafkaServer::start_soon_back().await;
    let mut other = broker.start_beside().await;
    let topic = TestTopic::led_by(&broker.authority(), &[2, 1]).await;
    let stage = Stage::of(topic, 2, database.url()).await;
    let deadline = Instant::now() + WAIT_MAX;
    other.kill9();
    while stage.journal.end_offset(0).await.is_ok() {
        assert!(Instant::now() < deadline, "it has a leader");
    }
    // No worker can write it: the ledger has no such event.
    let unknown = JournalRecord::Fence { event_id: EventId::from_uuid(Uuid::now_v7()), epoch: 1 };
    stage.journal.append(1, &[unknown]).await.expect("an acknowledgement");
    let recorder = PrometheusBuilder::new().build_recorder();
    let _measured = metrics::set_default_local_recorder(&recorder);
    let _worker = stage.worker().await;
    let waits = "firstcome_worker_lag_records{partition=\"1\"} 1";
    while !recorder.handle().render().contains(waits) {
        assert!(Instant::now() < deadline, "it is not watched");
        sleep(POLL).await;
    }
}
