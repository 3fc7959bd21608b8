//! What is written is read: whole, in order, once.

use std::time::Duration;

use firstcome_issuance::journal::AppendError;
use futures_util::future::join_all;
use tokio::task::JoinSet;

use super::{TestTopic, read, sequences, win, wins};

#[tokio::test]
async fn what_was_acknowledged_is_read_as_it_was_written() {
    let topic = TestTopic::new(3).await;
    let journal = topic.journal();
    assert_eq!(journal.end_offset(1).await.unwrap(), 0);
    journal.append(1, &[]).await.unwrap();
    journal.append(1, &wins(1..=3)).await.unwrap();
    journal.append(2, &wins(9..=9)).await.unwrap();
    journal.append(1, &wins(4..=5)).await.unwrap();
    assert_eq!(journal.end_offset(1).await.unwrap(), 5);
    assert_eq!(journal.end_offset(2).await.unwrap(), 1);

    let mut reader = journal.reader(1, 0).unwrap();
    let entries = read(&mut reader, 5).await;
    assert_eq!(sequences(&entries, 0), [1, 2, 3, 4, 5]);
    assert_eq!(entries[4].record, Ok(win(5)));
    assert_eq!((reader.partition(), reader.position()), (1, 5));
    let mut later = journal.reader(1, 3).unwrap();
    assert_eq!(sequences(&read(&mut later, 2).await, 3), [4, 5]);
}

/// Nobody has asked before whether the partition's leader answers.
#[tokio::test]
async fn the_first_calls_at_the_same_time_are_all_acknowledged() {
    let topic = TestTopic::new(1).await;
    let journal = topic.journal();
    let records: Vec<_> = (1..=8).map(|sequence| [win(sequence)]).collect();
    let outcomes = join_all(records.iter().map(|record| journal.append(0, record))).await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!(journal.end_offset(0).await.unwrap(), 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_at_the_same_time_keep_the_order_of_each() {
    const CALLS: u32 = 40;
    const EACH: u32 = 250;
    let topic = TestTopic::new(1).await;
    let journal = topic.journal();
    journal.check_topic().await.unwrap();
    let mut calls = JoinSet::new();
    for call in 0..CALLS {
        let journal = journal.clone();
        calls.spawn(async move {
            let first = call * EACH + 1;
            journal.append(0, &wins(first..first + EACH)).await.unwrap();
            // Whatever is acknowledged is below the end.
            journal.end_offset(0).await.unwrap()
        });
    }
    let mut ends: Vec<i64> = calls.join_all().await;
    ends.sort_unstable();
    assert!(ends[0] >= i64::from(EACH), "{ends:?}");
    let all = CALLS * EACH;
    assert_eq!(*ends.last().unwrap(), i64::from(all));

    let mut reader = journal.reader(0, 0).unwrap();
    let read = sequences(&read(&mut reader, usize::try_from(all).unwrap()).await, 0);
    for call in 0..CALLS {
        let of_call = call * EACH + 1..call * EACH + EACH + 1;
        let found: Vec<u32> =
            read.iter().copied().filter(|sequence| of_call.contains(sequence)).collect();
        assert_eq!(found, of_call.collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_partition_that_does_not_exist_gets_nothing() {
    let topic = TestTopic::new(1).await;
    let journal = topic.journal();
    let error = journal.append(1, &wins(1..=1)).await.unwrap_err();
    let AppendError::NotSent(reason) = &error else { panic!("{error:?}") };
    assert!(reason.contains("has no partition 1"), "{reason}");
    // Others are none the worse for it.
    journal.append(0, &wins(1..=1)).await.unwrap();
}

#[tokio::test]
async fn more_than_there_is_room_for_is_refused_whole() {
    let topic = TestTopic::new(1).await;
    let journal = topic.journal();
    let error = journal.append(0, &wins(1..=65_537)).await.unwrap_err();
    assert!(matches!(error, AppendError::NotSent(_)), "{error:?}");
    journal.append(0, &wins(1..=65_536)).await.unwrap();
    assert_eq!(journal.end_offset(0).await.unwrap(), 65_536);
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_its_records_and_its_room() {
    let topic = TestTopic::new(1).await;
    let journal = topic.journal();
    journal.check_topic().await.unwrap();
    for round in 0..3 {
        let abandoned = wins(round * 40_000 + 1..=(round + 1) * 40_000);
        let call = journal.append(0, &abandoned);
        assert!(tokio::time::timeout(Duration::ZERO, call).await.is_err(), "it takes a while");
        // A call that follows is behind it, so that its room is free when this has ended.
        while let Err(error) = journal.append(0, &wins(1..=30_000)).await {
            assert!(matches!(error, AppendError::NotSent(_)), "{error:?}");
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(journal.end_offset(0).await.unwrap(), 3 * 70_000);
}
