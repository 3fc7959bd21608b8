//! A reader gives everything, or says what is missing.

use std::time::Duration;

use firstcome_issuance::journal::{ReadError, Why};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use rdkafka::{Offset, TopicPartitionList};
use tokio::time::{Instant, timeout};

use super::{TestTopic, WAIT_MAX, options, read, sequences, win, wins};
use crate::redis::POLL;

/// Longest that a reader waits in one call.
const TURN: Duration = Duration::from_millis(200);

/// The error that a reader comes to.
async fn fault(reader: &mut firstcome_issuance::journal::Reader) -> ReadError {
    let deadline = Instant::now() + WAIT_MAX;
    loop {
        match reader.next(100, TURN).await {
            Ok(entries) => assert!(entries.is_empty(), "{entries:?}"),
            Err(error) if error.is_retryable() => {}
            Err(error) => return error,
        }
        assert!(Instant::now() < deadline, "no fault");
    }
}

async fn write(producer: &FutureProducer, topic: &TestTopic, payload: &[u8]) {
    let record: FutureRecord<'_, (), [u8]> =
        FutureRecord::to(&topic.name).partition(0).payload(payload);
    producer.send(record, WAIT_MAX).await.expect("an acknowledgement");
}

#[tokio::test]
async fn a_reader_at_the_end_waits_as_long_as_it_is_told() {
    let topic = TestTopic::new(1).await;
    let journal = topic.journal();
    let mut reader = journal.reader(0, 0).unwrap();
    assert_eq!(reader.next(10, TURN).await, Ok(vec![]));
    let waiting = tokio::spawn(async move { (reader.next(10, WAIT_MAX).await, reader) });
    journal.append(0, &wins(1..=1)).await.unwrap();
    let (entries, mut reader) = timeout(WAIT_MAX, waiting).await.unwrap().unwrap();
    assert_eq!(sequences(&entries.unwrap(), 0), [1]);
    // A call that is given up loses nothing.
    assert!(timeout(Duration::ZERO, reader.next(10, WAIT_MAX)).await.is_err());
    journal.append(0, &wins(2..=4)).await.unwrap();
    assert_eq!(sequences(&read(&mut reader, 3).await, 1), [2, 3, 4]);
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_given_as_it_is() {
    let topic = TestTopic::new(1).await;
    let journal = topic.journal();
    journal.append(0, &wins(1..=1)).await.unwrap();
    let stranger: FutureProducer = topic.client().create().unwrap();
    let poison: [(&[u8], Why); 4] = [
        (b"{\"user\": 1}", Why::Foreign),
        (b"", Why::Foreign),
        (b"FCW\x02 of tomorrow", Why::Newer(2)),
        (b"FCW\x01 too short", Why::Damaged("it ends too early")),
    ];
    for (payload, _) in poison {
        write(&stranger, &topic, payload).await;
    }
    journal.append(0, &wins(2..=2)).await.unwrap();
    let entries = read(&mut journal.reader(0, 0).unwrap(), 6).await;
    for (entry, (payload, why)) in entries[1..5].iter().zip(poison) {
        let unreadable = entry.record.clone().unwrap_err();
        assert_eq!((unreadable.raw.as_slice(), unreadable.why), (payload, why));
    }
    let offsets: Vec<i64> = entries.iter().map(|entry| entry.offset).collect();
    assert_eq!(offsets, [0, 1, 2, 3, 4, 5]);
    assert_eq!(entries[5].record, Ok(win(2)));
}

#[tokio::test]
async fn records_that_are_gone_are_missed_and_not_jumped_over() {
    let topic = TestTopic::new(1).await;
    let journal = topic.journal();
    journal.append(0, &wins(1..=10)).await.unwrap();
    let mut gone = TopicPartitionList::new();
    gone.add_partition_offset(&topic.name, 0, Offset::Offset(5)).unwrap();
    topic.admin().delete_records(&gone, &options()).await.unwrap();

    let mut reader = journal.reader(0, 2).unwrap();
    let expected = ReadError::OutOfRange { partition: 0, wanted: 2, first: 5, end: 10 };
    assert_eq!(fault(&mut reader).await, expected);
    assert_eq!(reader.next(1, TURN).await, Err(expected.clone()), "it stays so");
    let sentence = "partition 0 of the journal has no offset 2: it goes from 5 to 10";
    assert_eq!(expected.to_string(), sentence);
    assert_eq!(sequences(&read(&mut journal.reader(0, 5).unwrap(), 5).await, 5), [6, 7, 8, 9, 10]);
}

#[tokio::test]
async fn an_offset_that_does_not_exist_yet_is_missed() {
    let topic = TestTopic::new(1).await;
    let journal = topic.journal();
    journal.append(0, &wins(1..=3)).await.unwrap();
    // As after a topic was made anew, or a broker that lacked records came to lead.
    let mut reader = journal.reader(0, 4).unwrap();
    let expected = ReadError::OutOfRange { partition: 0, wanted: 4, first: 0, end: 3 };
    assert_eq!(fault(&mut reader).await, expected);
    // The end itself is where to wait.
    assert_eq!(journal.reader(0, 3).unwrap().next(1, TURN).await, Ok(vec![]));
}

#[tokio::test]
async fn an_offset_that_gives_no_record_is_missed() {
    let topic = TestTopic::new(1).await;
    let journal = topic.journal();
    journal.append(0, &wins(1..=1)).await.unwrap();
    // What ends a transaction takes an offset, and is no record.
    let mut stranger = topic.client();
    stranger.set("transactional.id", &topic.name);
    let stranger: FutureProducer = stranger.create().unwrap();
    let stranger = tokio::task::spawn_blocking(move || {
        stranger.init_transactions(WAIT_MAX).unwrap();
        stranger.begin_transaction().unwrap();
        stranger
    });
    let stranger = stranger.await.unwrap();
    write(&stranger, &topic, b"FCW\x02").await;
    tokio::task::spawn_blocking(move || stranger.commit_transaction(WAIT_MAX).unwrap())
        .await
        .unwrap();
    // The broker writes it when it comes to it.
    let deadline = Instant::now() + WAIT_MAX;
    while journal.end_offset(0).await.unwrap() < 3 {
        assert!(Instant::now() < deadline, "the transaction does not end");
        tokio::time::sleep(POLL).await;
    }
    journal.append(0, &wins(2..=2)).await.unwrap();

    let mut reader = journal.reader(0, 0).unwrap();
    read(&mut reader, 2).await;
    let expected = ReadError::Missing { partition: 0, wanted: 2, found: 3 };
    assert_eq!(fault(&mut reader).await, expected);
}
