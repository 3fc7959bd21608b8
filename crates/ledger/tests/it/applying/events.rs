//! What an event is to its journal: its partition, its epochs, and who decides it.

use firstcome_core::{Commit, CouponDraft, EventId, Name};
use firstcome_ledger::{
    ClaimError, CouponRecord, JournalWin, LedgerError, NotRecorded, Recorded, Standing, Told, Won,
};
use uuid::Uuid;

use super::{begin_epoch, change, done, event, fence, journalled, next, read, rows, win, won};
use crate::support::{Store, TestLedger, batch, on_every_server};

on_every_server! {
    the_audit_allows_what_is_still_on_its_way,
    what_a_journal_keeps_the_ledger_does_not_decide,
    an_event_is_pinned_once,
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
        let begun = test.ledger.begin_epoch(event.id, partitions).await;
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

async fn the_standing_tells_of_every_change(store: Store) {
    let test = TestLedger::new(store).await;
    let event = journalled(&test, 9).await;
    let standing = async || {
        let standing = test.ledger.standing(event.id).await;
        standing.expect("an answer").expect("the event")
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
    assert_eq!(test.ledger.standing(nobody).await.expect("an answer"), None);
}

async fn what_was_told_is_recorded_after_a_stop(store: Store) {
    let test = TestLedger::new(store).await;
    let event = begin_epoch(&test, &event(&test, 9, Commit::RedisStream).await).await;
    let stopped = Recorded::Refused(NotRecorded::Stopped);
    let record = async |user_id: &str, sequence: u32, told| {
        let JournalWin { user_id, sequence, issued_at, .. } = won(&event, 2, user_id, sequence);
        let wins = [Won { user_id, sequence, issued_at }];
        test.ledger.record_wins(event.id, 2, &wins, told).await.expect("an answer")
    };
    change(&test, &event, |rule| rule.paused = true).await;
    assert_eq!(record("a", 1, Told::NotYet).await, stopped);
    assert_ne!(record("a", 1, Told::Already).await, stopped);
    change(&test, &event, |rule| rule.closed = true).await;
    assert_ne!(record("b", 2, Told::Already).await, stopped);
    assert_eq!(record("c", 3, Told::NotYet).await, stopped);
    assert_eq!(rows(&test, &event).await.len(), 2);
}
