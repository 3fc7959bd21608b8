//! Two workers on one partition, and commits without an answer.

use std::sync::Arc;

use firstcome_ledger::{Applied, ClaimError};
use firstcome_testkit::proxy::CommitFault;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::{apply, done, journalled, named, next, places, position, rows, try_apply, win};
use crate::recording::proxied;
use crate::support::{Store, TestLedger, on_every_server};

on_every_server! {
    of_two_workers_on_one_partition_one_writes,
    partitions_are_applied_beside_each_other,
    a_commit_whose_reply_is_lost_is_in_doubt_and_found_by_the_position,
    a_commit_that_was_never_heard_of_is_in_doubt_and_done_again,
    a_connection_that_broke_while_it_waited_is_made_anew,
}

async fn of_two_workers_on_one_partition_one_writes(store: Store) {
    const ROUNDS: u32 = 12;
    let test = TestLedger::new(store).await;
    let event = journalled(&test, 100).await;
    assert_eq!(position(&test).await, 0);
    let ledgers = [test.ledger.clone(), test.another().await, test.another().await];
    for round in 0..ROUNDS {
        let from = i64::from(round) * 2;
        let barrier = Arc::new(Barrier::new(ledgers.len()));
        let mut workers = JoinSet::new();
        for ledger in ledgers.clone() {
            let (event, barrier) = (event.clone(), Arc::clone(&barrier));
            workers.spawn(async move {
                let user = |nth: u32| format!("user-{}", round * 2 + nth);
                let records = [1, 2].map(|nth| win(&event, 2, &user(nth), round * 2 + nth));
                barrier.wait().await;
                try_apply(&ledger, from, &records).await.expect("an answer")
            });
        }
        let mut told = workers.join_all().await;
        told.sort_by_key(|applied| matches!(applied, Applied::Elsewhere { .. }));
        let elsewhere = Applied::Elsewhere { next: Some(from + 2) };
        assert_eq!(told, [done(2, 0, 0), elsewhere, elsewhere]);
    }
    assert_eq!(rows(&test, &event).await.len(), ROUNDS as usize * 2);
}

/// Events of one partition are locked by its worker alone; its transactions wait for nobody else.
async fn partitions_are_applied_beside_each_other(store: Store) {
    let test = TestLedger::new(store).await;
    let mut applying = JoinSet::new();
    let mut events = Vec::new();
    for partition in [2, 7] {
        let event = journalled(&test, 100).await;
        let no = event.no.get();
        let pin = format!("UPDATE events SET journal_partition = {partition} WHERE no = {no}");
        test.place().execute(&pin).await;
        test.ledger.take_journal(super::JOURNAL, &[(partition, 0)]).await.expect("an answer");
        let (ledger, of) = (test.ledger.clone(), event.clone());
        applying.spawn(async move {
            for at in 0..10_u32 {
                let (from, to) = (i64::from(at), i64::from(at) + 1);
                let stretch =
                    firstcome_ledger::Stretch { partition, from, to, ..super::stretch(0, 1) };
                let record = win(&of, 2, &format!("user-{at}"), at + 1);
                let applied = ledger.apply(stretch, &[(from, record)]).await;
                assert_eq!(applied.expect("an answer"), done(1, 0, 0));
            }
        });
        events.push(event);
    }
    applying.join_all().await;
    let positions = test.ledger.journal_positions(super::JOURNAL).await.expect("an answer");
    assert_eq!(positions, [(2, 10), (7, 10)]);
    for event in events {
        assert_eq!(rows(&test, &event).await.len(), 10);
    }
}

async fn a_commit_whose_reply_is_lost_is_in_doubt_and_found_by_the_position(store: Store) {
    let test = TestLedger::new(store).await;
    let event = journalled(&test, 9).await;
    let (proxy, ledger) = proxied(&test).await;
    let records = [win(&event, 2, "a", 1), win(&event, 2, "b", 2)];
    assert_eq!(position(&test).await, 0);
    proxy.on_commit(CommitFault::LoseReply, 0, 1);
    let lost = try_apply(&ledger, 0, &records).await;
    assert!(matches!(lost, Err(ClaimError::InDoubt(_))), "{lost:?}");
    assert_eq!((proxy.hits(), position(&test).await), (1, 2), "it was committed");
    let again = try_apply(&ledger, 0, &records).await.expect("an answer");
    assert_eq!(again, Applied::Elsewhere { next: Some(2) });
    assert_eq!(places(&test, &event).await, named(&[("a", 1), ("b", 2)]));
}

async fn a_commit_that_was_never_heard_of_is_in_doubt_and_done_again(store: Store) {
    let test = TestLedger::new(store).await;
    let event = journalled(&test, 9).await;
    let (proxy, ledger) = proxied(&test).await;
    let records = [win(&event, 2, "a", 1), win(&event, 2, "b", 2)];
    assert_eq!(position(&test).await, 0);
    proxy.on_commit(CommitFault::LoseRequest, 0, 1);
    let lost = try_apply(&ledger, 0, &records).await;
    assert!(matches!(lost, Err(ClaimError::InDoubt(_))), "{lost:?}");
    assert_eq!((proxy.hits(), position(&test).await), (1, 0), "it was not committed");
    assert_eq!(rows(&test, &event).await, []);
    assert_eq!(try_apply(&ledger, 0, &records).await.expect("an answer"), done(2, 0, 0));
    assert_eq!(places(&test, &event).await, named(&[("a", 1), ("b", 2)]));
}

async fn a_connection_that_broke_while_it_waited_is_made_anew(store: Store) {
    let test = TestLedger::new(store).await;
    let event = journalled(&test, 9).await;
    let (proxy, ledger) = proxied(&test).await;
    assert_eq!(position(&test).await, 0);
    let first = try_apply(&ledger, 0, &[win(&event, 2, "a", 1)]).await;
    assert_eq!(first.expect("an answer"), done(1, 0, 0));
    proxy.reset().await;
    let second = try_apply(&ledger, 1, &[win(&event, 2, "b", 2)]).await;
    assert_eq!(second.expect("an answer"), done(1, 0, 0));
    assert_eq!(apply(&test, 2, &[win(&event, 2, "b", 2)]).await, done(0, 1, 0));
    assert_eq!(next(&test, &[win(&event, 2, "c", 3)]).await, done(1, 0, 0));
}
