//! What an event is to its journal: its partition, its epochs, and who decides it.

use firstcome_core::{Commit, CouponDraft, EventId, Name, Quantity};
use firstcome_ledger::{
    Applied, ClaimError, CouponRecord, EventRecord, JournalWin, LedgerError, NotRecorded, Recorded,
    Recording, Standing, Told, Tried, Unappliable, Won,
};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::{
    begin_epoch, change, done, event, fence, journalled, next, read, rows, try_apply, win, won,
};
use crate::support::{Store, TestLedger, batch, on_every_server};

on_every_server! {
    the_audit_allows_what_is_still_on_its_way,
    what_a_journal_keeps_the_ledger_does_not_decide,
    an_event_is_pinned_once,
    a_change_of_the_event_is_waited_for,
    no_other_event_is_waited_for,
    the_standing_tells_of_every_change,
    what_was_told_is_recorded_after_a_stop,
}

async fn the_audit_allows_what_is_still_on_its_way(store: Store) {
    let test = TestLedger::new(store).await;
    let event = journalled(&test, 9).await;
    assert_eq!(next(&test, &[win(&event, 2, "b", 2), win(&event, 2, "d", 4)]).await, done(2, 0, 0));
    assert_eq!(rows(&test, &event).await.len(), 2);
    let no = event.no.get();
    test.tamper(&format!("UPDATE events SET commit_to = 'ledger' WHERE no = {no}")).await;
    let audit = test.ledger.audit(event.id).await.expect("an answer").expect("the event");
    assert!(!audit.pass(), "a hole is a loss where nothing is on its way");
}

async fn what_a_journal_keeps_the_ledger_does_not_decide(store: Store) {
    let test = TestLedger::new(store).await;
    for commit in [Commit::Kafka, Commit::RedisStream] {
        let event = event(&test, 9, commit).await;
        assert_eq!((event.commit, event.partition, event.fence), (commit, None, 0));
        let refused = test.ledger.claim(batch(&event, &["a"])).await;
        assert!(
            matches!(refused, Err(ClaimError::Unavailable(LedgerError::DecidedElsewhere))),
            "{refused:?}"
        );
        assert_eq!(rows(&test, &event).await, []);
    }
}

async fn an_event_is_pinned_once(store: Store) {
    let test = TestLedger::new(store).await;
    let event = event(&test, 9, Commit::Kafka).await;
    let begun = async |partitions| {
        let epoch = read(&test, &event).await.epoch;
        let begun = test.ledger.begin_epoch(event.id, epoch, 0, partitions).await;
        let begun = begun.expect("an answer").expect("the event");
        assert_eq!(read(&test, &event).await, begun);
        (begun.epoch, begun.partition)
    };
    let partition = i32::try_from(event.no.get() % 7).expect("small");
    assert_eq!(begun(None).await, (2, None));
    assert_eq!(begun(Some(7)).await, (3, Some(partition)));
    assert_eq!(begun(Some(1_000)).await, (4, Some(partition)));
    assert_eq!(begun(None).await, (5, Some(partition)));
}

/// What is read of an event is read under its lock.
async fn a_change_of_the_event_is_waited_for(store: Store) {
    let test = TestLedger::new(store).await;
    let event = journalled(&test, 5).await;
    assert_eq!(next(&test, &[win(&event, 2, "a", 1), win(&event, 2, "b", 2)]).await, done(2, 0, 0));
    let (is_held, held) = oneshot::channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let lower = move |mut event: EventRecord| {
        is_held.send(()).expect("somebody waits");
        tokio::task::block_in_place(|| released.recv()).expect("it is released");
        event.rule.quantity = Quantity::parse(2).expect("a quantity");
        Ok::<_, ()>(event)
    };
    let (ledger, id) = (test.ledger.clone(), event.id);
    let changing = tokio::spawn(async move { ledger.change_event(id, lower).await });
    held.await.expect("the lock is had");
    let (ledger, record) = (test.ledger.clone(), win(&event, 2, "c", 3));
    let applying = tokio::spawn(async move { try_apply(&ledger, 2, &[record]).await });
    test.somebody_waits().await;
    release.send(()).expect("it is awaited");
    changing.await.expect("it ends").expect("an answer").expect("the event").expect("a change");
    let applied = applying.await.expect("it ends").expect("an answer");
    assert_eq!(applied, Applied::Stopped { offset: 2, why: Unappliable::Quantity });
}

/// However few events there are.
async fn no_other_event_is_waited_for(store: Store) {
    let test = TestLedger::new(store).await;
    let (event, other) = (journalled(&test, 5).await, journalled(&test, 5).await);
    let held = test.hold(&other).await;
    assert_eq!(next(&test, &[win(&event, 2, "a", 1), fence(&event, 3)]).await, done(1, 0, 0));
    held.rollback().await.expect("the row is let go");
}

async fn the_standing_tells_of_every_change(store: Store) {
    let test = TestLedger::new(store).await;
    let event = journalled(&test, 9).await;
    let standing = async || {
        let standings = test.ledger.standings(&[event.id]).await;
        standings.expect("an answer")[&event.id]
    };
    let mut now = Standing { epoch: 2, fence: 0, stopped: false, coupon_version: 1 };
    assert_eq!(standing().await, now);
    begin_epoch(&test, &event).await;
    now.epoch = 3;
    assert_eq!(standing().await, now);
    next(&test, &[fence(&event, 3)]).await;
    now.fence = 3;
    assert_eq!(standing().await, now);
    change(&test, &event, |rule| rule.paused = true).await;
    now.stopped = true;
    assert_eq!(standing().await, now);
    change(&test, &event, |rule| (rule.paused, rule.closed) = (false, true)).await;
    assert_eq!(standing().await, now);
    let renamed = Name::parse("다른 이름").expect("a name");
    let change = move |coupon: &CouponRecord| {
        let draft = CouponDraft { name: renamed, ..coupon.draft.clone() };
        Ok::<_, ()>(draft)
    };
    let changed = test.ledger.change_coupon(event.coupon_id, change).await.expect("an answer");
    assert!(changed.is_some_and(|changed| changed.is_ok()));
    now.coupon_version = 2;
    assert_eq!(standing().await, now);
    let nobody = EventId::from_uuid(Uuid::now_v7());
    let other = begin_epoch(&test, &self::event(&test, 9, Commit::Kafka).await).await;
    let standings = test.ledger.standings(&[other.id, nobody, event.id]).await.expect("an answer");
    assert_eq!(standings.len(), 2);
    assert_eq!((standings[&event.id], standings[&other.id].epoch), (now, other.epoch));
    assert!(test.ledger.standings(&[]).await.expect("an answer").is_empty());
}

async fn what_was_told_is_recorded_after_a_stop(store: Store) {
    let test = TestLedger::new(store).await;
    let event = begin_epoch(&test, &event(&test, 9, Commit::RedisStream).await).await;
    let stopped = Recorded::Refused(NotRecorded::Stopped);
    let record = async |user_id: &str, sequence: u32, told| {
        let JournalWin { user_id, sequence, issued_at, .. } = won(&event, 2, user_id, sequence);
        let wins = [Won { user_id, sequence, issued_at, validity: None }];
        let recording =
            Recording { event: event.id, epoch: 2, wins: &wins, told, tried: Tried::Never };
        test.ledger.record_wins(&[recording]).await.remove(0).expect("an answer")
    };
    change(&test, &event, |rule| rule.paused = true).await;
    assert_eq!(record("a", 1, Told::NotYet).await, stopped);
    assert_ne!(record("a", 1, Told::Already).await, stopped);
    change(&test, &event, |rule| rule.closed = true).await;
    assert_ne!(record("b", 2, Told::Already).await, stopped);
    assert_eq!(record("c", 3, Told::NotYet).await, stopped);
    assert_eq!(rows(&test, &event).await.len(), 2);
}
