//! What an event is to its journal: its partition, its epochs, and who decides it.

use firstcome_core::{Commit, CouponDraft, EventId, Name, Quantity, Strategy, Timestamp};
use firstcome_ledger::{
    Applied, CouponRecord, DecidedElsewhere, Decision, EventRecord, JournalWin, NotRecorded,
    Recorded, Recording, Standing, Told, Tried, Unappliable, Won,
};
use firstcome_testkit::proxy::CommitFault;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::{
    begin_epoch, change, done, event, fence, journalled, next, read, rows, try_apply, win, won,
};
use crate::recording::proxied;
use crate::support::{HOUR, OPENS_AT, Store, TestLedger, batch, on_every_server};

on_every_server! {
    the_audit_allows_what_is_still_on_its_way,
    what_a_journal_keeps_the_ledger_does_not_decide,
    what_another_decides_hinders_no_other_claim_of_its_batch,
    what_another_decides_costs_no_connection,
    an_event_is_pinned_once,
    a_change_of_the_event_is_waited_for,
    no_other_event_is_waited_for,
    the_standing_tells_of_every_change,
    what_was_told_is_recorded_after_a_stop,
    an_event_that_was_changed_is_looked_after_though_its_end_is_long_ago,
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
        let refused = test.ledger.claim(batch(&event, &["a"])).await.expect("an answer");
        assert_eq!(refused, [Err(DecidedElsewhere)]);
        assert_eq!(rows(&test, &event).await, []);
    }
}

async fn what_another_decides_hinders_no_other_claim_of_its_batch(store: Store) {
    let test = TestLedger::new(store).await;
    let [one, two] = [test.event(1).await, test.event(9).await];
    let elsewhere = event(&test, 9, Commit::Ledger).await;
    let closed_by_the_clock = test.event(9).await;
    let end = closed_by_the_clock.rule.window.closes_at().as_micros();
    let claims = || {
        let of = [&elsewhere, &one, &elsewhere, &two, &one, &elsewhere];
        let users = ["kim", "kim", "lee", "kim", "lee", "kim"];
        of.iter().zip(users).flat_map(|(event, user)| batch(event, &[user])).collect()
    };
    // The first has winners, the second nothing to write.
    for told in ["issued", "held"] {
        let answers = test.ledger.claim(claims()).await.expect("an answer");
        for place in [0, 2, 5] {
            assert_eq!(answers[place], Err(DecidedElsewhere));
        }
        for place in [1, 3] {
            let told_now = match &answers[place] {
                Ok(Decision::Issued(_)) => "issued",
                Ok(Decision::AlreadyClaimed(_)) => "held",
                other => panic!("{other:?}"),
            };
            assert_eq!(told_now, told);
        }
        assert_eq!(answers[4], Ok(Decision::SoldOut));
    }
    // Nor is it closed, as what is the ledger's is.
    test.clock.set(end);
    let mut last = batch(&closed_by_the_clock, &["kim"]);
    last.extend(batch(&elsewhere, &["kim"]));
    let told = test.ledger.claim(last).await.expect("an answer");
    assert_eq!(told, [Ok(Decision::Closed), Err(DecidedElsewhere)]);
    assert!(!read(&test, &elsewhere).await.rule.closed);
    let winners = async |event| rows(&test, event).await.len();
    assert_eq!([winners(&one).await, winners(&two).await, winners(&elsewhere).await], [1, 1, 0]);
}

async fn what_another_decides_costs_no_connection(store: Store) {
    let test = TestLedger::new(store).await;
    let (ours, elsewhere) = (test.event(9).await, event(&test, 9, Commit::RedisStream).await);
    let (proxy, ledger) = proxied(&test).await;
    let claims =
        |user| [&elsewhere, &ours].iter().flat_map(|event| batch(event, &[user])).collect();
    // The answer to a commit that was lost is found for those who have one.
    proxy.on_commit(CommitFault::LoseReply, 0, 1);
    let told = ledger.claim(claims("kim")).await.expect("an answer");
    assert_eq!(proxy.hits(), 1);
    assert!(matches!(told[..], [Err(DecidedElsewhere), Ok(Decision::Issued(_))]), "{told:?}");
    for batch in [batch(&elsewhere, &["kim"]), claims("lee"), claims("park")] {
        ledger.claim(batch).await.expect("an answer");
        proxy.refuse(true);
    }
    assert_eq!(rows(&test, &ours).await.len(), 3);
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
        let standings = test.ledger.standings(&[event.id], None).await;
        standings.expect("an answer")[&event.id]
    };
    let mut now = Standing {
        epoch: 2,
        fence: 0,
        stopped: false,
        version: 1,
        coupon_version: 1,
        has_journal: false,
    };
    assert_eq!(standing().await, now);
    begin_epoch(&test, &event).await;
    now.epoch = 3;
    assert_eq!(standing().await, now);
    next(&test, &[fence(&event, 3)]).await;
    now.fence = 3;
    assert_eq!(standing().await, now);
    change(&test, &event, |rule| rule.paused = true).await;
    (now.stopped, now.version) = (true, 2);
    assert_eq!(standing().await, now);
    change(&test, &event, |rule| (rule.paused, rule.closed) = (false, true)).await;
    now.version = 3;
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
    let standings =
        test.ledger.standings(&[other.id, nobody, event.id], None).await.expect("an answer");
    assert_eq!(standings.len(), 2);
    assert_eq!((standings[&event.id], standings[&other.id].epoch), (now, other.epoch));
    assert!(test.ledger.standings(&[], None).await.expect("an answer").is_empty());
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

/// It may have been moved there, and wins be left that nobody has written.
async fn an_event_that_was_changed_is_looked_after_though_its_end_is_long_ago(store: Store) {
    let test = TestLedger::new(store).await;
    let over = event(&test, 9, Commit::RedisStream).await;
    let changed_at = OPENS_AT + 9 * HOUR;
    test.clock.set(changed_at);
    change(&test, &over, |rule| rule.paused = true).await;
    for (since, expected) in [(changed_at - 1, 1), (changed_at, 0)] {
        let since = Timestamp::from_micros(since);
        let found = test.ledger.events_decided_by(Strategy::Redis, &Commit::ALL, since, 9).await;
        assert_eq!(found.expect("an answer").len(), expected, "{since:?}");
    }
}
