//! Recording what a decider beside the ledger has issued: in any order, once, by the word of the
//! present epoch only. Below it, `several` has wins of several events, and `plans` what that reads.

mod plans;
mod several;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use firstcome_core::{Clock, EventRule, IssuedCouponId, Sequence, Timestamp, UserId};
use firstcome_ledger::{
    ClaimError, EventRecord, IssuedCouponRecord, IssuedQuery, Ledger, LedgerError, LedgerOptions,
    NotRecorded, Purpose, Recorded, Recording, ServerClock, Told, Tried, Won,
};
use firstcome_testkit::proxy::{CommitFault, Proxy};
use tokio::task::JoinSet;

use crate::support::{OPENS_AT, Store, TestLedger};
use several::{
    a_sequence_of_somebody_else_is_refused_to_its_event_alone,
    an_event_that_takes_nothing_hinders_no_other, of_batches_on_the_same_events_all_are_counted,
    of_several_events_a_change_is_waited_for,
    of_several_events_a_lost_commit_is_found_or_done_again,
    who_holds_a_coupon_of_one_of_several_events_keeps_it,
    wins_of_several_events_are_recorded_together,
};

/// Makes tests of each function: looking first, and in one message where a server can do that.
macro_rules! however_recorded {
    ($($test:ident),+ $(,)?) => {
        mod looking_first {
            $(async fn $test(store: crate::support::Store) {
                super::$test(store, firstcome_ledger::Tried::Perhaps).await;
            })+
            crate::support::on_every_server! { $($test),+ }
        }
        mod in_one_message {
            $(async fn $test(store: crate::support::Store) {
                super::$test(store, firstcome_ledger::Tried::Never).await;
            })+
            mod postgres { crate::support::on_store! { Postgres: $($test),+ } }
        }
    };
}

however_recorded! {
    wins_are_recorded_in_any_order,
    to_record_again_changes_nothing,
    of_many_batches_at_once_all_are_counted,
    of_two_processes_that_record_the_same_both_are_told,
    who_holds_a_coupon_already_keeps_it,
    an_erased_user_gets_no_second_coupon,
    the_word_of_another_epoch_is_refused,
    a_stopped_event_takes_no_more,
    more_than_the_quantity_is_refused,
    a_sequence_of_somebody_else_is_refused,
    what_was_listed_before_lower_sequences_came_is_listed_with_them,
    what_is_listed_already_is_found_once_and_counted_once,
    a_commit_whose_reply_is_lost_is_found,
    a_commit_that_was_never_heard_of_is_done_again,
    wins_of_several_events_are_recorded_together,
    an_event_that_takes_nothing_hinders_no_other,
    who_holds_a_coupon_of_one_of_several_events_keeps_it,
    a_sequence_of_somebody_else_is_refused_to_its_event_alone,
    of_several_events_a_change_is_waited_for,
    of_several_events_a_lost_commit_is_found_or_done_again,
    of_batches_on_the_same_events_all_are_counted,
    who_has_nothing_to_record_waits_for_no_connection,
}

/// The embedded ledger decides alone.
#[tokio::test]
async fn an_embedded_ledger_records_nothing() {
    let test = TestLedger::new(Store::Sqlite).await;
    let event = test.event(9).await;
    let refused = try_record(Tried::Never, &test.ledger, &[(&event, &[("a", 1)])]).await.remove(0);
    assert!(matches!(refused, Err(ClaimError::Unavailable(LedgerError::NotShared))), "{refused:?}");
    let refused = test.ledger.begin_epoch(event.id, 0, 0, None).await;
    assert!(matches!(refused, Err(LedgerError::NotShared)), "{refused:?}");
}

fn user(id: &str) -> UserId {
    UserId::parse(id).expect("a user id")
}

fn wins(wins: &[(&str, u32)]) -> Vec<Won> {
    let won = |(user_id, sequence): &(&str, u32)| Won {
        user_id: user(user_id),
        sequence: Sequence::parse((*sequence).into()).expect("a sequence"),
        issued_at: Timestamp::from_micros(OPENS_AT + i64::from(*sequence)),
        validity: None,
    };
    wins.iter().map(won).collect()
}

/// The event in the epoch that follows.
async fn next_epoch(test: &TestLedger, event: &EventRecord) -> EventRecord {
    let begun = test.ledger.begin_epoch(event.id, event.epoch, 0, None).await;
    begun.expect("an answer").expect("nobody else begins one")
}

/// An event in its first epoch.
async fn begun(test: &TestLedger, quantity: u32) -> EventRecord {
    let event = test.event(quantity).await;
    let begun = next_epoch(test, &event).await;
    assert_eq!(begun, EventRecord { epoch: 1, ..event });
    begun
}

/// What becomes of wins of these events.
async fn try_record(
    tried: Tried,
    ledger: &Ledger,
    of: &[(&EventRecord, &[(&str, u32)])],
) -> Vec<Result<Recorded, ClaimError>> {
    let wins: Vec<Vec<Won>> = of.iter().map(|(_, of)| wins(of)).collect();
    let recordings = of.iter().zip(&wins).map(|((event, _), wins)| Recording {
        event: event.id,
        epoch: event.epoch,
        wins,
        told: Told::NotYet,
        tried,
    });
    ledger.record_wins(&recordings.collect::<Vec<_>>()).await
}

async fn record(
    tried: Tried,
    ledger: &Ledger,
    event: &EventRecord,
    of: &[(&str, u32)],
) -> Recorded {
    try_record(tried, ledger, &[(event, of)]).await.remove(0).expect("an answer")
}

async fn recorded(
    tried: Tried,
    ledger: &Ledger,
    event: &EventRecord,
    of: &[(&str, u32)],
) -> Vec<IssuedCouponRecord> {
    match record(tried, ledger, event, of).await {
        Recorded::Held(held) => held,
        Recorded::Refused(refused) => panic!("{refused:?}"),
    }
}

/// Everything that was issued, as the rows have it; the audit passes.
async fn rows(test: &TestLedger, event: &EventRecord) -> Vec<IssuedCouponRecord> {
    let audit = test.ledger.audit(event.id).await.expect("an answer").expect("the event");
    assert!(audit.pass(), "{audit:?}");
    test.ledger.issued_coupons_of_event(event.no, None, 200).await.expect("a page")
}

async fn refused(
    tried: Tried,
    test: &TestLedger,
    event: &EventRecord,
    of: &[(&str, u32)],
) -> NotRecorded {
    let before = rows(test, event).await;
    match record(tried, &test.ledger, event, of).await {
        Recorded::Held(held) => panic!("recorded: {held:?}"),
        Recorded::Refused(refused) => {
            assert_eq!(rows(test, event).await, before, "nothing was written");
            refused
        }
    }
}

async fn wins_are_recorded_in_any_order(store: Store, tried: Tried) {
    let test = TestLedger::new(store).await;
    let event = begun(&test, 5).await;
    let mut all = recorded(tried, &test.ledger, &event, &[("d'\"\\", 4), ("c", 3)]).await;
    all.extend(recorded(tried, &test.ledger, &event, &[("b", 2), ("a", 1), ("e", 5)]).await);
    for (coupon, (user_id, sequence)) in all.iter().zip([("d'\"\\", 4), ("c", 3), ("b", 2)]) {
        assert_eq!(coupon.id, IssuedCouponId::derive(event.id, &user(user_id)));
        assert_eq!((coupon.user_id.as_str(), coupon.sequence.get()), (user_id, sequence));
        assert_eq!(coupon.issued_at.as_micros(), OPENS_AT + i64::from(sequence));
        assert!(coupon.expires_at > coupon.issued_at);
    }
    all.sort_by_key(|coupon| coupon.sequence);
    assert_eq!(rows(&test, &event).await, all);
    let read = test.ledger.event(event.id).await.expect("an answer").expect("the event");
    assert_eq!((read.rule.issued, read.version), (5, event.version));
    let winners = test.ledger.winners_after(event.no, 2, 2).await.expect("a page");
    let winners: Vec<_> =
        winners.iter().map(|it| (it.user_id.as_str(), it.sequence.get())).collect();
    assert_eq!(winners, [("c", 3), ("d'\"\\", 4)]);
}

async fn to_record_again_changes_nothing(store: Store, tried: Tried) {
    let test = TestLedger::new(store).await;
    let event = begun(&test, 9).await;
    let first = recorded(tried, &test.ledger, &event, &[("a", 1), ("b", 2)]).await;
    assert_eq!(recorded(tried, &test.ledger, &event, &[("a", 1), ("b", 2)]).await, first);
    let more = recorded(tried, &test.ledger, &event, &[("b", 2), ("c", 3)]).await;
    assert_eq!(more[0], first[1]);
    // Also when the word counts no more: what is there is there.
    next_epoch(&test, &event).await;
    assert_eq!(recorded(tried, &test.ledger, &event, &[("a", 1), ("b", 2)]).await, first);
    assert_eq!(recorded(tried, &test.ledger, &event, &[]).await, []);
    assert_eq!(rows(&test, &event).await, [&first[..], &more[1..]].concat());
}

async fn of_many_batches_at_once_all_are_counted(store: Store, tried: Tried) {
    let test = TestLedger::new(store).await;
    let event = begun(&test, 160).await;
    let ledgers = [test.ledger.clone(), test.another().await];
    let users: Vec<String> = (1..=160).map(|number| format!("user-{number}")).collect();
    let mut recording = JoinSet::new();
    for (turn, ledger) in ledgers.into_iter().cycle().take(8).enumerate() {
        let (event, users) = (event.clone(), users.clone());
        recording.spawn(async move {
            let of = users.iter().zip(1..).skip(turn * 20).take(20);
            let of: Vec<(&str, u32)> = of.map(|(user, number)| (user.as_str(), number)).collect();
            let mut told = Vec::new();
            for batch in of.chunks(2).rev() {
                told.extend(recorded(tried, &ledger, &event, batch).await);
            }
            told
        });
    }
    let mut told: Vec<_> = recording.join_all().await.into_iter().flatten().collect();
    told.sort_by_key(|coupon| coupon.sequence);
    assert_eq!(rows(&test, &event).await, told);
    assert_eq!(refused(tried, &test, &event, &[("one-more", 161)]).await, NotRecorded::Quantity);
}

async fn of_two_processes_that_record_the_same_both_are_told(store: Store, tried: Tried) {
    let test = TestLedger::new(store).await;
    let event = begun(&test, 100).await;
    let ledgers = [test.ledger.clone(), test.another().await];
    let users: Vec<String> = (1..=60).map(|number| format!("user-{number}")).collect();
    let mut recording = JoinSet::new();
    for (turn, ledger) in ledgers.into_iter().cycle().take(8).enumerate() {
        let (event, users) = (event.clone(), users.clone());
        recording.spawn(async move {
            let from = turn / 2 * 10;
            let of = users.iter().zip(1..).skip(from).take(30);
            let of: Vec<(&str, u32)> = of.map(|(user, number)| (user.as_str(), number)).collect();
            recorded(tried, &ledger, &event, &of).await
        });
    }
    let told = recording.join_all().await;
    let rows = rows(&test, &event).await;
    assert_eq!(rows.len(), 60);
    assert!(told.iter().flatten().all(|coupon| rows.contains(coupon)));
}

async fn who_holds_a_coupon_already_keeps_it(store: Store, tried: Tried) {
    let test = TestLedger::new(store).await;
    let event = begun(&test, 9).await;
    let first = recorded(tried, &test.ledger, &event, &[("a", 1)]).await;
    let again = recorded(tried, &test.ledger, &event, &[("b", 2), ("a", 3)]).await;
    assert_eq!(again[1], first[0], "another place in line is not given");
    assert_eq!(rows(&test, &event).await, [first[0].clone(), again[0].clone()]);
}

async fn an_erased_user_gets_no_second_coupon(store: Store, tried: Tried) {
    let test = TestLedger::new(store).await;
    let event = begun(&test, 9).await;
    let first = recorded(tried, &test.ledger, &event, &[("a", 1), ("b", 2)]).await;
    assert!(test.ledger.erase_user(user("a")).await.expect("an answer"));
    let again = recorded(tried, &test.ledger, &event, &[("a", 3), ("c", 3)]).await;
    assert_eq!((again[0].id, again[0].sequence), (first[0].id, first[0].sequence));
    assert_eq!(rows(&test, &event).await.len(), 3);
}

async fn the_word_of_another_epoch_is_refused(store: Store, tried: Tried) {
    let test = TestLedger::new(store).await;
    let old = begun(&test, 9).await;
    recorded(tried, &test.ledger, &old, &[("a", 1)]).await;
    let new = next_epoch(&test, &next_epoch(&test, &old).await).await;
    let late = test.ledger.begin_epoch(old.id, old.epoch, 0, None).await.expect("an answer");
    assert_eq!(late, None, "two epochs have begun since");
    let refusal = refused(tried, &test, &old, &[("b", 2)]).await;
    assert_eq!(refusal, NotRecorded::Epoch { current: 3 });
    let future = EventRecord { epoch: 4, ..new.clone() };
    assert_eq!(
        refused(tried, &test, &future, &[("b", 2)]).await,
        NotRecorded::Epoch { current: 3 }
    );
    // Half of it is new: none of it is recorded.
    assert_eq!(refused(tried, &test, &old, &[("a", 1), ("b", 2)]).await, refusal);
    // A new decider may leave out what the old one had given and never recorded.
    recorded(tried, &test.ledger, &new, &[("c", 5)]).await;
    assert_eq!(rows(&test, &new).await.len(), 2);
    let nobody =
        EventRecord { id: firstcome_core::EventId::from_uuid(uuid::Uuid::now_v7()), ..new };
    assert_eq!(test.ledger.begin_epoch(nobody.id, 3, 0, None).await.expect("an answer"), None);
    let missing = record(tried, &test.ledger, &nobody, &[("a", 1)]).await;
    assert_eq!(missing, Recorded::Refused(NotRecorded::EventNotFound));
}

async fn a_stopped_event_takes_no_more(store: Store, tried: Tried) {
    let test = TestLedger::new(store).await;
    let event = begun(&test, 9).await;
    let first = recorded(tried, &test.ledger, &event, &[("a", 1)]).await;
    let stop = async |change: fn(&mut EventRule)| {
        let change = move |mut event: EventRecord| {
            change(&mut event.rule);
            Ok::<_, ()>(event)
        };
        let _ = test.ledger.change_event(event.id, change).await.expect("an answer");
    };
    stop(|rule| rule.paused = true).await;
    assert_eq!(refused(tried, &test, &event, &[("b", 2)]).await, NotRecorded::Stopped);
    assert_eq!(recorded(tried, &test.ledger, &event, &[("a", 1)]).await, first);
    stop(|rule| rule.paused = false).await;
    recorded(tried, &test.ledger, &event, &[("b", 2)]).await;
    stop(|rule| rule.closed = true).await;
    assert_eq!(refused(tried, &test, &event, &[("c", 3)]).await, NotRecorded::Stopped);
}

async fn more_than_the_quantity_is_refused(store: Store, tried: Tried) {
    let test = TestLedger::new(store).await;
    let event = begun(&test, 2).await;
    assert_eq!(
        refused(tried, &test, &event, &[("a", 1), ("b", 2), ("c", 3)]).await,
        NotRecorded::Quantity
    );
    recorded(tried, &test.ledger, &event, &[("a", 1), ("b", 2)]).await;
    assert_eq!(refused(tried, &test, &event, &[("c", 3)]).await, NotRecorded::Quantity);
    assert_eq!(recorded(tried, &test.ledger, &event, &[("b", 2)]).await.len(), 1);
}

async fn a_sequence_of_somebody_else_is_refused(store: Store, tried: Tried) {
    let test = TestLedger::new(store).await;
    let event = begun(&test, 9).await;
    recorded(tried, &test.ledger, &event, &[("a", 1)]).await;
    assert_eq!(refused(tried, &test, &event, &[("b", 2), ("c", 1)]).await, NotRecorded::Sequence);
    recorded(tried, &test.ledger, &event, &[("b", 2)]).await;
}

async fn what_was_listed_before_lower_sequences_came_is_listed_with_them(
    store: Store,
    tried: Tried,
) {
    let test = TestLedger::new(store).await;
    let event = begun(&test, 9).await;
    for of in [[("e", 5), ("d", 4)], [("b", 2), ("c", 3)], [("f", 6), ("a", 1)]] {
        recorded(tried, &test.ledger, &event, &of).await;
        test.listed().await;
    }
    assert_eq!(rows(&test, &event).await.len(), 6);
    let now = Timestamp::from_micros(OPENS_AT);
    for name in ["a", "b", "c", "d", "e", "f"] {
        let query = IssuedQuery { user_id: user(name), state: None, now, after: None, limit: 9 };
        let held = test.ledger.issued_coupons_of(&query).await.expect("a page");
        assert_eq!(held.len(), 1, "{name}");
    }
}

/// A list that was moved back has some of the winners that it is about to list again.
async fn what_is_listed_already_is_found_once_and_counted_once(store: Store, tried: Tried) {
    let test = TestLedger::new(store).await;
    let event = begun(&test, 9).await;
    recorded(tried, &test.ledger, &event, &[("c", 3), ("d", 4)]).await;
    test.listed().await;
    // A visitor lists nothing.
    let test = test.reopen(Purpose::Visit).await;
    recorded(tried, &test.ledger, &event, &[("a", 1), ("b", 2)]).await;
    let all = rows(&test, &event).await;
    assert_eq!(all.len(), 4);
    let now = Timestamp::from_micros(OPENS_AT);
    for coupon in all {
        let user_id = coupon.user_id.clone();
        let query = IssuedQuery { user_id, state: None, now, after: None, limit: 9 };
        let held = test.ledger.issued_coupons_of(&query).await.expect("a page");
        assert_eq!(held, [coupon]);
    }
}

/// A second way to the same rows, on which commits go wrong. A visitor lists no holders: commits of
/// that would go wrong in the place of these.
pub(crate) async fn proxied(test: &TestLedger) -> (Proxy, Ledger) {
    let url = test.place().database().url();
    let authority = url.split_once('@').and_then(|(_, rest)| rest.split_once('/'));
    let proxy = Proxy::start(authority.expect("an address").0).await;
    let options = LedgerOptions::parse_url(&proxy.url(url), Purpose::Visit);
    let mut options = options.expect("a URL");
    options.server_clock = ServerClock::Process;
    // A busy machine is no dead one.
    options.limits.acquire_timeout = Duration::from_secs(10);
    options.limits.statement_timeout = Duration::from_secs(10);
    let clock = Arc::clone(&test.clock) as Arc<dyn Clock>;
    (proxy, Ledger::open(options, clock).await.expect("the proxy leads there"))
}

async fn a_commit_whose_reply_is_lost_is_found(store: Store, tried: Tried) {
    let test = TestLedger::new(store).await;
    let event = begun(&test, 9).await;
    let (proxy, ledger) = proxied(&test).await;
    proxy.on_commit(CommitFault::LoseReply, 0, 1);
    let told = recorded(tried, &ledger, &event, &[("a", 1), ("b", 2)]).await;
    assert_eq!(proxy.hits(), 1);
    assert_eq!(rows(&test, &event).await, told);
}

async fn a_commit_that_was_never_heard_of_is_done_again(store: Store, tried: Tried) {
    let test = TestLedger::new(store).await;
    let event = begun(&test, 9).await;
    let (proxy, ledger) = proxied(&test).await;
    proxy.on_commit(CommitFault::LoseRequest, 0, 1);
    let told = recorded(tried, &ledger, &event, &[("a", 1), ("b", 2)]).await;
    assert_eq!(proxy.hits(), 1);
    assert_eq!(rows(&test, &event).await, told);
    proxy.on_commit(CommitFault::LoseRequest, 0, 2);
    let lost = try_record(tried, &ledger, &[(&event, &[("c", 3)])]).await.remove(0);
    assert!(matches!(lost, Err(ClaimError::InDoubt(_))), "{lost:?}");
    assert_eq!(rows(&test, &event).await.len(), 2);
}

/// There is one connection that records, and it waits for the row of an event.
async fn who_has_nothing_to_record_waits_for_no_connection(store: Store, tried: Tried) {
    let test = TestLedger::new(store).await;
    let event = begun(&test, 1).await;
    let held = test.hold(&event).await;
    let wins: [(&EventRecord, &[(&str, u32)]); 1] = [(&event, &[("kim", 1)])];
    let mut recording = pin!(try_record(tried, &test.ledger, &wins));
    tokio::select! {
        biased;
        recorded = &mut recording => panic!("the row is held: {recorded:?}"),
        nothing = test.ledger.record_wins(&[]) => assert_eq!(nothing.len(), 0),
    }
    held.rollback().await.expect("the row is let go");
    let recorded = recording.await.remove(0).expect("an answer");
    assert!(matches!(recorded, Recorded::Held(_)), "{recorded:?}");
}
