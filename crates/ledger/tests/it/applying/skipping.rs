//! How far a journal is applied, and records that somebody has skipped.

use firstcome_core::{Timestamp, UserId};
use firstcome_ledger::{Applied, LedgerError, SkippedRecord, Unappliable};
use firstcome_testkit::proxy::CommitFault;
use tokio::task::JoinSet;

use super::{JOURNAL, PARTITION, done, journalled, next, position, rows, user, win};
use crate::recording::proxied;
use crate::support::{OPENS_AT, Store, TestLedger, on_every_server};

on_every_server! {
    a_partition_is_begun_once,
    a_journal_is_forgotten,
    a_record_is_skipped_once_and_kept,
    a_record_is_skipped_again_when_its_journal_is_taken_again,
    of_many_who_skip_a_record_one_does,
    a_skip_whose_commit_is_lost_is_found_by_the_position,
    an_erasure_empties_the_records_of_a_user,
}

/// As a journal has a user: behind a byte with the length.
fn record(user: &UserId) -> Vec<u8> {
    let id = user.as_str().as_bytes();
    let length = u8::try_from(id.len()).expect("short");
    [b"\0\xff'\\", &[length][..], id].concat()
}

fn skip(offset: i64, name: &str) -> SkippedRecord {
    SkippedRecord {
        journal: JOURNAL.to_owned(),
        partition: PARTITION,
        offset,
        reason: "자리가 이미 있다 '\"\\".to_owned(),
        record: record(&user(name)),
        skipped_at: Timestamp::from_micros(OPENS_AT + offset),
    }
}

async fn skipped(test: &TestLedger) -> Vec<SkippedRecord> {
    test.ledger.skipped_records(JOURNAL).await.expect("an answer")
}

async fn a_partition_is_begun_once(store: Store) {
    let test = TestLedger::new(store).await;
    assert_eq!(test.ledger.journal_position(JOURNAL, 0).await.expect("an answer"), None);
    let none = test.ledger.begin_journal(JOURNAL, PARTITION).await;
    assert!(matches!(&none, Err(LedgerError::NoJournal(name)) if name == JOURNAL), "{none:?}");
    let ledgers = [test.ledger.clone(), test.another().await];
    let mut beginning = JoinSet::new();
    for ledger in ledgers.iter().cycle().take(8) {
        let ledger = ledger.clone();
        beginning.spawn(async move {
            ledger.take_journal(JOURNAL, &[(0, 7), (1, 0)]).await.expect("an answer");
            ledger.begin_journal(JOURNAL, PARTITION).await
        });
    }
    for begun in beginning.join_all().await {
        assert_eq!(begun.expect("an answer"), 0);
    }
    let event = journalled(&test, 9).await;
    next(&test, &[win(&event, 2, "a", 1)]).await;
    assert_eq!(position(&test).await, 1, "it is not begun again");
    let other = test.ledger.begin_journal("other", PARTITION).await;
    assert!(matches!(&other, Err(LedgerError::OtherJournal(name)) if name == JOURNAL), "{other:?}");
    let positions = test.ledger.journal_positions(JOURNAL).await.expect("an answer");
    assert_eq!(positions, [(0, 7), (1, 0), (PARTITION, 1)]);
}

/// What is appended counts while the ledger has this journal, and this one alone.
async fn a_journal_is_forgotten(store: Store) {
    let test = TestLedger::new(store).await;
    let event = journalled(&test, 9).await;
    let is_its = async |journal| {
        let standings = test.ledger.standings(&[event.id], Some(journal)).await;
        standings.expect("an answer")[&event.id].has_journal
    };
    assert!(!is_its(JOURNAL).await);
    assert_eq!(test.ledger.forget_journal(JOURNAL).await.expect("an answer"), []);
    next(&test, &[win(&event, 2, "a", 1)]).await;
    assert!(is_its(JOURNAL).await);
    assert!(!is_its("other").await);
    test.ledger.take_journal("other", &[(0, 5)]).await.expect("an answer");
    assert!(!is_its(JOURNAL).await, "nor while there are two");
    assert_eq!(test.ledger.forget_journal("other").await.expect("an answer"), [(0, 5)]);
    assert!(is_its(JOURNAL).await);
    assert_eq!(test.ledger.forget_journal(JOURNAL).await.expect("an answer"), [(PARTITION, 1)]);
    assert!(!is_its(JOURNAL).await);
    let gone = test.ledger.begin_journal(JOURNAL, PARTITION).await;
    assert!(matches!(gone, Err(LedgerError::NoJournal(_))), "{gone:?}");
}

async fn a_record_is_skipped_once_and_kept(store: Store) {
    let test = TestLedger::new(store).await;
    let event = journalled(&test, 9).await;
    let records = [win(&event, 2, "a", 1), win(&event, 2, "b", 1), win(&event, 2, "c", 2)];
    let stopped = Applied::Stopped { offset: 1, why: Unappliable::Sequence };
    assert_eq!(next(&test, &records).await, stopped);
    let ledger = &test.ledger;
    assert!(!ledger.skip_record(skip(1, "b")).await.expect("an answer"), "0 is not applied");
    assert_eq!(next(&test, &records[..1]).await, done(1, 0, 0));
    assert!(!ledger.skip_record(skip(0, "b")).await.expect("an answer"), "0 is applied");
    assert_eq!(skipped(&test).await, []);
    assert!(ledger.skip_record(skip(1, "b")).await.expect("an answer"));
    assert!(!ledger.skip_record(skip(1, "b")).await.expect("an answer"), "once");
    assert_eq!((position(&test).await, skipped(&test).await), (2, vec![skip(1, "b")]));
    assert_eq!(next(&test, &records[2..]).await, done(1, 0, 0));
    assert_eq!(rows(&test, &event).await.len(), 2);
    let unbegun = SkippedRecord { partition: 9, ..skip(0, "b") };
    assert!(!ledger.skip_record(unbegun).await.expect("an answer"));
    assert_eq!(ledger.skipped_records("other").await.expect("an answer"), []);
}

/// Its partition would stand for good.
async fn a_record_is_skipped_again_when_its_journal_is_taken_again(store: Store) {
    let test = TestLedger::new(store).await;
    assert_eq!(position(&test).await, 0);
    let ledger = &test.ledger;
    assert!(ledger.skip_record(skip(0, "a")).await.expect("an answer"));
    assert!(ledger.skip_record(skip(1, "b")).await.expect("an answer"));
    ledger.forget_journal(JOURNAL).await.expect("an answer");
    ledger.take_journal(JOURNAL, &[(PARTITION, 0)]).await.expect("an answer");
    let again = SkippedRecord {
        reason: "again".to_owned(),
        skipped_at: Timestamp::from_micros(OPENS_AT + 9),
        ..skip(0, "c")
    };
    assert!(ledger.skip_record(again.clone()).await.expect("an answer"));
    assert_eq!((position(&test).await, skipped(&test).await), (1, vec![again, skip(1, "b")]));
}

async fn of_many_who_skip_a_record_one_does(store: Store) {
    let test = TestLedger::new(store).await;
    assert_eq!(position(&test).await, 0);
    let ledgers = [test.ledger.clone(), test.another().await];
    let mut skipping = JoinSet::new();
    for (ledger, name) in ledgers.iter().cycle().cloned().zip(["a", "b", "c", "d"]) {
        skipping.spawn(async move { ledger.skip_record(skip(0, name)).await });
    }
    let told = skipping.join_all().await;
    let did = told.into_iter().filter(|told| *told.as_ref().expect("an answer")).count();
    assert_eq!((did, position(&test).await, skipped(&test).await.len()), (1, 1, 1));
}

async fn a_skip_whose_commit_is_lost_is_found_by_the_position(store: Store) {
    let test = TestLedger::new(store).await;
    let (proxy, ledger) = proxied(&test).await;
    assert_eq!(position(&test).await, 0);
    proxy.on_commit(CommitFault::LoseRequest, 0, 1);
    assert!(ledger.skip_record(skip(0, "a")).await.is_err());
    assert_eq!((position(&test).await, skipped(&test).await), (0, vec![]), "both or neither");
    proxy.on_commit(CommitFault::LoseReply, 0, 1);
    assert!(ledger.skip_record(skip(0, "a")).await.is_err());
    assert_eq!((position(&test).await, skipped(&test).await.len()), (1, 1), "both or neither");
    assert!(!ledger.skip_record(skip(0, "a")).await.expect("an answer"));
}

async fn an_erasure_empties_the_records_of_a_user(store: Store) {
    let test = TestLedger::new(store).await;
    assert_eq!(position(&test).await, 0);
    for (offset, name) in (0..).zip(["kim", "kimberly", "lee", "kim"]) {
        assert!(test.ledger.skip_record(skip(offset, name)).await.expect("an answer"));
    }
    assert!(test.ledger.erase_user(user("kim")).await.expect("an answer"), "there was something");
    let empty = |offset| SkippedRecord { record: Vec::new(), ..skip(offset, "kim") };
    let kept = [empty(0), skip(1, "kimberly"), skip(2, "lee"), empty(3)];
    assert_eq!(skipped(&test).await, kept);
    assert!(!test.ledger.erase_user(user("kim")).await.expect("an answer"), "nothing is left");
    assert_eq!(skipped(&test).await, kept);
}
