//! The claim transaction against the rule, and what survives.

use std::sync::Mutex;

use firstcome_core::{Action, Clock, CouponDraft, Quantity, Timestamp, UserId, Validity, Verdict};
use firstcome_ledger::{Claim, Decision, EventRecord, Purpose};
use firstcome_testkit::history::{self, Change, Reference, Step};
use proptest::prelude::{Just, Strategy, prop_oneof};

use crate::support::{HOUR, OPENS_AT, Store, TestLedger, batch, draft, on_every_store, verdicts};

on_every_store! {
    a_batch_is_decided_in_its_order,
    a_batch_spans_events_and_tells_unknown_ones,
    a_batch_meets_what_is_held_of_each_of_its_events,
    what_was_won_is_there_after_a_crash_before_and_after_settling,
    an_event_closed_by_the_clock_stays_closed_when_the_clock_steps_back,
    events_closed_by_the_clock_in_one_batch_stay_closed,
    a_claim_after_a_change_meets_the_change,
    holders_from_before_a_restart_are_met_in_every_batch,
    batch_after_batch_is_told_as_it_is_written,
    a_drop_ends_at_its_last_moment_and_its_last_coupon,
}

fn sequence(decision: &Decision) -> Option<u32> {
    match decision {
        Decision::Issued(coupon) | Decision::AlreadyClaimed(coupon) => Some(coupon.sequence.get()),
        _ => None,
    }
}

async fn a_batch_is_decided_in_its_order(store: Store) {
    let test = TestLedger::new(store).await;
    let event = test.event(2).await;
    let decisions = test.claim(&event, &["kim", "lee", "kim", "park"]).await;
    assert!(matches!(&decisions[0], Decision::Issued(c) if c.sequence.get() == 1));
    assert!(matches!(&decisions[1], Decision::Issued(c) if c.sequence.get() == 2));
    assert!(matches!(&decisions[2], Decision::AlreadyClaimed(_)));
    assert_eq!(decisions[3], Decision::SoldOut);
    assert_eq!(sequence(&decisions[0]), sequence(&decisions[2]));
}

async fn a_batch_spans_events_and_tells_unknown_ones(store: Store) {
    let test = TestLedger::new(store).await;
    let (one, two) = (test.event(1).await, test.event(1).await);
    let user = UserId::parse("kim").expect("a user id");
    let unknown = firstcome_core::EventId::from_uuid(uuid::Uuid::now_v7());
    let claim = |event_id| Claim { event_id, user_id: user.clone() };
    let batch = vec![claim(one.id), claim(unknown), claim(two.id), claim(one.id)];
    let decisions = verdicts(&test.ledger, batch).await;
    assert!(matches!(decisions[0], Decision::Issued(_)));
    assert_eq!(decisions[1], Decision::EventNotFound);
    assert!(matches!(decisions[2], Decision::Issued(_)));
    assert!(matches!(decisions[3], Decision::AlreadyClaimed(_)));
}

async fn a_batch_meets_what_is_held_of_each_of_its_events(store: Store) {
    let test = TestLedger::new(store).await;
    let events = [test.event(3).await, test.event(3).await, test.event(1).await];
    for (event, user) in events.iter().zip(["kim", "lee", "park"]) {
        assert!(matches!(test.claim(event, &[user]).await[0], Decision::Issued(_)));
    }
    let claim = async || {
        let batch = events.iter().flat_map(|event| batch(event, &["kim", "lee"])).collect();
        verdicts(&test.ledger, batch).await
    };
    let told = claim().await;
    let held = |told: &[Decision]| told.iter().map(sequence).collect::<Vec<_>>();
    let places = [Some(1), Some(2), Some(2), Some(1), None, None];
    assert_eq!(held(&told), places);
    let is_new = |told: &Decision| matches!(told, Decision::Issued(_));
    assert_eq!(
        told.iter().map(is_new).collect::<Vec<_>>(),
        [false, true, true, false, false, false]
    );
    assert_eq!(told[4..], [Decision::SoldOut, Decision::SoldOut]);
    let again = claim().await;
    assert_eq!(held(&again), places);
    assert!(!again.iter().any(is_new));
}

async fn what_was_won_is_there_after_a_crash_before_and_after_settling(store: Store) {
    let test = TestLedger::new(store).await;
    let event = test.event(10).await;
    let test = test.reopen(Purpose::Visit).await;
    let first = test.claim(&event, &["kim", "\"quoted\\", "lee"]).await;
    // Nothing has settled: the journal alone knows.
    let test = test.reopen(Purpose::Visit).await;
    let again = test.claim(&event, &["lee", "\"quoted\\", "kim", "park"]).await;
    assert_eq!(sequence(&again[0]), sequence(&first[2]));
    assert_eq!(sequence(&again[1]), sequence(&first[1]));
    assert_eq!(sequence(&again[3]), Some(4));
    let live = test.ledger.event(event.id).await.expect("an answer").expect("the event");
    assert_eq!(live.rule.issued, 4);
    // Everything has settled: the tables alone know.
    let test = test.settle().await;
    let settled = test.claim(&event, &["kim", "lee", "\"quoted\\", "choi"]).await;
    let Decision::AlreadyClaimed(kim) = &settled[0] else { panic!("kim holds a coupon") };
    let Decision::Issued(won) = &first[0] else { panic!("kim won") };
    assert_eq!(kim, won);
    assert_eq!(sequence(&settled[1]), Some(3));
    assert_eq!(sequence(&settled[3]), Some(5));
}

async fn an_event_closed_by_the_clock_stays_closed_when_the_clock_steps_back(store: Store) {
    let test = TestLedger::new(store).await;
    let event = test.event(10).await;
    test.clock.set(OPENS_AT + HOUR);
    assert_eq!(test.claim(&event, &["kim"]).await, [Decision::Closed]);
    test.clock.set(OPENS_AT);
    assert_eq!(test.claim(&event, &["kim"]).await, [Decision::Closed]);
    let test = test.reopen(Purpose::Serve).await;
    assert_eq!(test.claim(&event, &["kim"]).await, [Decision::Closed]);
}

async fn events_closed_by_the_clock_in_one_batch_stay_closed(store: Store) {
    let test = TestLedger::new(store).await;
    let events = [test.event(10).await, test.event(10).await];
    let claim = async || {
        let batch = events.iter().flat_map(|event| batch(event, &["kim"])).collect();
        verdicts(&test.ledger, batch).await
    };
    test.clock.set(OPENS_AT + HOUR);
    assert_eq!(claim().await, [Decision::Closed, Decision::Closed]);
    test.clock.set(OPENS_AT);
    assert_eq!(claim().await, [Decision::Closed, Decision::Closed]);
}

async fn a_claim_after_a_change_meets_the_change(store: Store) {
    let test = TestLedger::new(store).await;
    let event = test.event(1).await;
    assert!(matches!(test.claim(&event, &["kim"]).await[0], Decision::Issued(_)));
    assert_eq!(test.claim(&event, &["lee"]).await, [Decision::SoldOut]);
    let two = Quantity::parse(2).expect("a quantity");
    assert!(apply(&test, &event, Change::Quantity(two)).await);
    assert!(apply(&test, &event, Change::Act(Action::Pause)).await);
    assert_eq!(test.claim(&event, &["lee"]).await, [Decision::Paused]);
    assert!(apply(&test, &event, Change::Act(Action::Resume)).await);
    assert!(matches!(test.claim(&event, &["lee"]).await[0], Decision::Issued(_)));
}

async fn holders_from_before_a_restart_are_met_in_every_batch(store: Store) {
    let test = TestLedger::new(store).await;
    let event = test.event(6).await;
    let before = test.claim(&event, &["kim", "lee", "park"]).await;
    let test = test.reopen(Purpose::Serve).await;
    // The first batch looks at the event, and meets none of them.
    assert_eq!(sequence(&test.claim(&event, &["choi"]).await[0]), Some(4));
    for (index, user) in ["kim", "lee", "park"].into_iter().enumerate() {
        let again = test.claim(&event, &[user]).await;
        assert!(matches!(again[0], Decision::AlreadyClaimed(_)), "{again:?}");
        assert_eq!(sequence(&again[0]), sequence(&before[index]));
    }
    // More than are left, among them two who hold one.
    let last = test.claim(&event, &["lee", "a", "b", "a", "c", "kim"]).await;
    assert_eq!(
        last.iter().map(sequence).collect::<Vec<_>>(),
        [2, 5, 6, 5, 0, 1].map(|n| { (n > 0).then_some(n) })
    );
    assert_eq!(last[4], Decision::SoldOut);
    let held = [0, 3, 5].map(|index: usize| matches!(last[index], Decision::AlreadyClaimed(_)));
    assert_eq!(held, [true; 3]);
}

async fn batch_after_batch_is_told_as_it_is_written(store: Store) {
    let test = TestLedger::new(store).await;
    let [from, until] = [OPENS_AT + HOUR, OPENS_AT + 9 * HOUR].map(Timestamp::from_micros);
    let period = CouponDraft { validity: Validity::Period { from, until }, ..draft() };
    for (draft, expires_at) in [(draft(), None), (period, Some(until))] {
        test.clock.set(OPENS_AT);
        let coupon = test.coupon(draft).await;
        let event = test.event_of(&coupon, 100).await;
        let mut told = Vec::new();
        for batch in 0..4 {
            test.clock.set(OPENS_AT + batch);
            let users: Vec<_> = (0..9).map(|user| format!("u-{batch}-{user}")).collect();
            let users: Vec<_> = users.iter().map(String::as_str).collect();
            for decision in test.claim(&event, &users).await {
                let Decision::Issued(coupon) = decision else { panic!("{decision:?}") };
                assert_eq!(coupon.issued_at.as_micros(), OPENS_AT + batch);
                let of_issue = coupon.issued_at.plus_days(30);
                assert_eq!(coupon.expires_at, expires_at.unwrap_or(of_issue));
                told.push(coupon);
            }
        }
        let written = test.ledger.issued_coupons_of_event(event.no, None, 200).await;
        assert_eq!(written.expect("a page"), told);
    }
}

async fn a_drop_ends_at_its_last_moment_and_its_last_coupon(store: Store) {
    let test = TestLedger::new(store).await;
    let event = test.event(3).await;
    assert!(matches!(test.claim(&event, &["a"]).await[0], Decision::Issued(_)));
    test.clock.set(OPENS_AT + HOUR - 1);
    assert!(matches!(test.claim(&event, &["b"]).await[0], Decision::Issued(_)));
    test.clock.set(OPENS_AT + HOUR);
    let late = test.claim(&event, &["c", "a"]).await;
    assert_eq!(late[0], Decision::Closed);
    assert!(matches!(late[1], Decision::AlreadyClaimed(_)));
    test.clock.set(OPENS_AT);
    assert_eq!(test.claim(&event, &["c"]).await, [Decision::Closed], "it stays closed");

    let event = test.event(3).await;
    for (user, sequence) in [("a", 1), ("b", 2), ("c", 3)] {
        let won = test.claim(&event, &[user]).await;
        assert!(matches!(&won[0], Decision::Issued(it) if it.sequence.get() == sequence));
    }
    for _ in 0..3 {
        let late = test.claim(&event, &["d", "c"]).await;
        assert_eq!(late[0], Decision::SoldOut);
        assert!(matches!(late[1], Decision::AlreadyClaimed(_)));
    }
}

/// What befalls a history beside claims and changes.
#[derive(Debug, Clone, Copy)]
enum Turn {
    Clock(i64),
    Crash,
    Settle,
}

fn turn() -> impl Strategy<Value = Turn> + Clone {
    prop_oneof![2 => (-2..HOUR / 8).prop_map(Turn::Clock), 1 => Just(Turn::Crash),
        1 => Just(Turn::Settle)]
}

/// Changes the event where the rule allows it; whether it does.
async fn apply(test: &TestLedger, event: &EventRecord, change: Change) -> bool {
    let now = Clock::now(&*test.clock);
    let changed = test.ledger.change_event(event.id, move |mut record| {
        record.rule = change.of(record.rule, now).ok_or(())?;
        Ok::<_, ()>(record)
    });
    changed.await.expect("an answer").expect("the event is there").is_ok()
}

/// Follows a history on an event of its own.
async fn follow(mut test: TestLedger, steps: Vec<Step<Turn>>) -> (TestLedger, Reference) {
    test.clock.set(OPENS_AT);
    let event = test.event(8).await;
    let mut reference = Reference::new(event.rule);
    for step in steps {
        let now = Clock::now(&*test.clock);
        match step {
            Step::Claim(users) => {
                let names: Vec<&str> = users.iter().map(UserId::as_str).collect();
                let found = test.claim(&event, &names).await;
                for (expected, found) in reference.claim(&users, now).iter().zip(&found) {
                    assert_same(expected, found);
                }
            }
            Step::Change(change) => {
                let is_made = apply(&test, &event, change).await;
                assert_eq!(is_made, reference.change(change, now), "{change:?}");
            }
            Step::Other(Turn::Clock(by)) => test.clock.set(now.as_micros() + by),
            Step::Other(Turn::Settle) => test = test.settle().await,
            Step::Other(Turn::Crash) => test = test.reopen(Purpose::Visit).await,
        }
        let live = test.ledger.event(event.id).await.expect("an answer").expect("the event");
        assert_eq!(live.rule.issued, reference.issued());
    }
    (test, reference)
}

fn assert_same(expected: &Verdict, found: &Decision) {
    let same = match (expected, found) {
        (Verdict::Issued(sequence), Decision::Issued(coupon))
        | (Verdict::AlreadyClaimed(sequence), Decision::AlreadyClaimed(coupon)) => {
            *sequence == coupon.sequence
        }
        (Verdict::NotOpen { opens_at }, Decision::NotOpen { opens_at: found }) => opens_at == found,
        (Verdict::SoldOut, Decision::SoldOut)
        | (Verdict::Paused, Decision::Paused)
        | (Verdict::Closed, Decision::Closed) => true,
        _ => false,
    };
    assert!(same, "the rule says {expected:?}, the ledger {found:?}");
}

/// Random histories, each on an event of its own.
fn check_histories(store: Store) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    // One ledger for all: a history that fails takes it along.
    let ledger = Mutex::new(None);
    history::check(24, turn(), |steps| {
        let left = ledger.lock().expect("nobody panics here").take();
        let (left, reference) = runtime.block_on(async {
            let test = match left {
                Some(test) => test,
                None => TestLedger::new(store).await,
            };
            follow(test, steps).await
        });
        *ledger.lock().expect("nobody panics here") = Some(left);
        reference
    });
    let _in_runtime = runtime.enter();
    drop(ledger);
}

#[test]
fn every_history_is_decided_as_the_rule_decides_it_on_sqlite() {
    check_histories(Store::Sqlite);
}

#[test]
fn every_history_is_decided_as_the_rule_decides_it_on_postgres() {
    check_histories(Store::Postgres);
}

#[test]
fn every_history_is_decided_as_the_rule_decides_it_on_mariadb() {
    check_histories(Store::MariaDb);
}
