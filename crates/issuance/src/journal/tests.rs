//! What cannot be seen from outside.

use std::pin::pin;
use std::time::Duration;

use firstcome_core::EventId;
use firstcome_testkit::kafka_brokers;
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use uuid::Uuid;

use super::{Journal, JournalRecord, KafkaConfig, ReadError};

/// Threads that may wait, in a process that has few.
const THREADS: usize = 40;
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

/// Of those log-ins have their threads, too.
#[test]
fn brokers_that_hang_leave_threads_for_others() {
    let runtime =
        Builder::new_current_thread().enable_all().max_blocking_threads(THREADS).build().unwrap();
    runtime.block_on(async {
        let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let brokers = vec![nobody.local_addr().unwrap().to_string()];
        let journal = Journal::new(&KafkaConfig { brokers, ..KafkaConfig::default() }).unwrap();
        let questions = join_all((0..THREADS * 3).map(|_| journal.end_offset(0)));
        let mut questions = pin!(questions);
        assert_eq!(questions.as_mut().now_or_never(), None, "nobody answers");
        tokio::select! {
            biased;
            done = spawn_blocking(|| ()) => done.unwrap(),
            _ = questions => panic!("they have all threads"),
        }
    });
    runtime.shutdown_background();
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
