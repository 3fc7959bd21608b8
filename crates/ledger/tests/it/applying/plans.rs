//! The plans of PostgreSQL for stretches of a journal.

use firstcome_ledger::EventRecord;

use super::{done, fence, journalled, next, win};
use crate::support::plans::{Done, IDLE, add_events, add_winners, with_few};
use crate::support::{Store, TestLedger};

/// Stretches in which everything is looked up: wins of users with this number who are new, who have
/// the place already, and of whom some may have been erased, and a fence.
async fn apply_each_way(test: &TestLedger, number: u32, events: &[EventRecord; 2]) {
    let (first, user) = (number * 3 + 1, format!("user-{number}"));
    let wins = events.each_ref().map(|event| win(event, 2, &user, first));
    assert_eq!(next(test, &wins).await, done(2, 0, 0));
    let [a, b] = wins;
    let later = win(&events[0], 2, &format!("later-{number}"), first + 1);
    let records = [a, fence(&events[1], 2), later, b];
    assert_eq!(next(test, &records).await, done(1, 2, 0));
}

/// As of a shop that opens its first events, is analyzed, and then opens thousands and has winners.
#[tokio::test]
async fn plans_for_few_rows_read_no_more_of_thousands() {
    let test = TestLedger::new(Store::Postgres).await;
    let events = [journalled(&test, 99).await, journalled(&test, 99).await];
    test.place().execute("UPDATE events SET erased = 1").await;
    let test = with_few(test).await;
    apply_each_way(&test, 0, &events).await;
    add_events(&test, &events[0]).await;
    add_winners(&test, &events[1]).await;
    apply_each_way(&test, 1, &events).await;
    let done = Done::by(test).await;
    assert!(done.counted("events", "n_tup_upd").await >= 6, "stretches are counted");
    for table in ["events", "issued_coupons"] {
        let read = done.read_of(table).await;
        assert!(read < IDLE, "{read} rows of {table} were read");
    }
}
