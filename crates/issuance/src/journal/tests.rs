//! What cannot be seen from outside.

use std::time::Duration;

use firstcome_core::EventId;
use firstcome_testkit::kafka_brokers;
use tokio::time::Instant;
use uuid::Uuid;

use super::{Journal, JournalRecord, KafkaConfig, ReadError};

/// Longest that a test waits.
const WAIT_MAX: Duration = Duration::from_secs(60);

fn journal() -> Journal {
    let config = KafkaConfig {
        brokers: kafka_brokers(),
        topic: format!("firstcome-test-{}", Uuid::new_v4().simple()),
        partitions_min: 1,
        replication_factor_min: 1,
        min_insync_replicas_min: 1,
        create_topic: true,
        ..KafkaConfig::default()
    };
    Journal::new(&config).unwrap()
}

fn fence(epoch: u64) -> JournalRecord {
    JournalRecord::Fence { event_id: EventId::from_uuid(Uuid::from_u128(7)), epoch }
}

#[tokio::test]
async fn a_reader_that_stopped_without_a_word_is_noticed() {
    let journal = journal();
    journal.check_topic().await.unwrap();
    journal.append(0, &[fence(1)]).await.unwrap();
    let mut reader = journal.reader(0, 0).unwrap();
    let deadline = Instant::now() + WAIT_MAX;
    while reader.position() == 0 {
        assert!(Instant::now() < deadline, "nothing came");
        reader.next(10, Duration::from_secs(1)).await.unwrap();
    }
    let turn = Duration::from_millis(50);
    reader.deafen(turn);
    // At the end there is nothing to hear.
    for _ in 0..4 {
        assert_eq!(reader.next(10, turn).await, Ok(vec![]));
    }
    journal.append(0, &[fence(2), fence(3)]).await.unwrap();
    let expected = ReadError::Stalled { partition: 0, wanted: 1, end: 3 };
    let found = loop {
        match reader.next(10, turn).await {
            Ok(entries) => assert!(entries.is_empty()),
            Err(error) => break error,
        }
        assert!(Instant::now() < deadline, "it was not noticed");
    };
    assert_eq!(found, expected);
    assert!(!found.is_retryable(), "another reader must take over");
    assert_eq!(journal.reader(0, 1).unwrap().next(1, WAIT_MAX).await.unwrap().len(), 1);
    super::remove_topic(&journal).await;
}
