//! Applying journals of won claims: each record once, in the journal's order, or loudly not at all.
//!
//! Below it, `events` has what an event is to its journal, `faults` commits without an answer and
//! two workers on one partition, `histories` random journals against a simple model, `plans` what
//! PostgreSQL reads, `skipping` positions and records that are skipped.

mod events;
mod faults;
mod histories;
mod plans;
mod skipping;

use firstcome_core::{
    Commit, EventId, EventRule, IssuedCouponId, Name, Quantity, Sequence, Strategy, Timestamp,
    UserId, Window,
};
use firstcome_ledger::{
    Applied, ClaimError, EventRecord, IssuedCouponRecord, IssuedQuery, JournalRecord, JournalWin,
    Ledger, LedgerError, NewEvent, Purpose, STRETCH_RECORDS_MAX, Stretch, Unappliable,
};
use uuid::Uuid;

use crate::support::{HOUR, OPENS_AT, Store, TestLedger, draft, on_every_server};

on_every_server! {
    wins_are_written_as_they_were_told,
    a_stretch_that_is_read_again_changes_nothing,
    a_win_that_stands_in_the_journal_twice_is_written_once,
    a_fence_makes_void_what_follows_and_is_older,
    a_fence_holds_for_later_stretches,
    a_ledger_that_was_restored_learns_of_epochs,
    an_event_that_was_stopped_keeps_its_promises,
    many_events_are_applied_at_once,
    a_whole_stretch_is_applied,
    what_cannot_be_applied_stops_the_partition,
    the_first_record_that_cannot_be_applied_is_told,
    an_erased_user_keeps_the_place_and_gets_no_second,
    what_no_look_has_found_is_an_error,
    winners_in_any_order_are_listed,
}

const JOURNAL: &str = "claims";
const PARTITION: i32 = 2;
const PARTITIONS: u32 = 1;

/// The embedded ledger decides alone.
#[tokio::test]
async fn an_embedded_ledger_applies_nothing() {
    let test = TestLedger::new(Store::Sqlite).await;
    let stretch = Stretch { journal: JOURNAL, partition: 0, from: 0, to: 1 };
    let refused = test.ledger.apply(stretch, &[]).await;
    assert!(matches!(refused, Err(ClaimError::Unavailable(LedgerError::NotShared))), "{refused:?}");
    let refused = test.ledger.begin_journal(JOURNAL, 0).await;
    assert!(matches!(refused, Err(LedgerError::NotShared)), "{refused:?}");
    assert_eq!(test.ledger.journal_position(JOURNAL, 0).await.expect("an answer"), None);
}

fn user(id: &str) -> UserId {
    UserId::parse(id).expect("a user id")
}

/// A win with times that no coupon of the event would have by itself.
fn won(event: &EventRecord, epoch: u64, user_id: &str, sequence: u32) -> JournalWin {
    let issued_at = OPENS_AT + i64::from(sequence);
    JournalWin {
        event_id: event.id,
        epoch,
        user_id: user(user_id),
        sequence: Sequence::parse(sequence.into()).expect("a sequence"),
        issued_at: Timestamp::from_micros(issued_at),
        valid_from: Timestamp::from_micros(issued_at + HOUR),
        expires_at: Timestamp::from_micros(issued_at + 7 * HOUR),
    }
}

fn win(event: &EventRecord, epoch: u64, user_id: &str, sequence: u32) -> JournalRecord {
    JournalRecord::Win(won(event, epoch, user_id, sequence))
}

const fn fence(event: &EventRecord, epoch: u64) -> JournalRecord {
    JournalRecord::Fence { event_id: event.id, epoch }
}

const fn done(written: u32, known: u32, void: u32) -> Applied {
    Applied::Done { written, known, void }
}

/// An event of a journal, in its second epoch, pinned to [`PARTITION`].
async fn journalled(test: &TestLedger, quantity: u32) -> EventRecord {
    let event = event(test, quantity, Commit::Kafka).await;
    test.place()
        .execute(&format!("UPDATE events SET journal_partition = 2 WHERE no = {}", event.no.get()))
        .await;
    begin_epoch(test, &event).await
}

async fn event(test: &TestLedger, quantity: u32, commit: Commit) -> EventRecord {
    let opens_at = Timestamp::from_micros(OPENS_AT);
    let window = Window::new(opens_at, Timestamp::from_micros(OPENS_AT + HOUR));
    let new = NewEvent {
        id: EventId::from_uuid(Uuid::now_v7()),
        coupon_id: test.coupon(draft()).await.id,
        name: Name::parse("선착순").expect("a name"),
        rule: EventRule {
            quantity: Quantity::parse(quantity.into()).expect("a quantity"),
            issued: 0,
            window: window.expect("a window"),
            opened_early: false,
            paused: false,
            closed: false,
        },
        strategy: Strategy::Redis,
        commit,
    };
    test.ledger.create_event(new).await.expect("an answer").expect("the coupon is there")
}

async fn begin_epoch(test: &TestLedger, event: &EventRecord) -> EventRecord {
    let epoch = read(test, event).await.epoch;
    let begun = test.ledger.begin_epoch(event.id, epoch, 0, Some(PARTITIONS)).await;
    begun.expect("an answer").expect("the event")
}

async fn read(test: &TestLedger, event: &EventRecord) -> EventRecord {
    test.ledger.event(event.id).await.expect("an answer").expect("the event")
}

fn stretch(from: i64, to: i64) -> Stretch<'static> {
    Stretch { journal: JOURNAL, partition: PARTITION, from, to }
}

/// Where the partition stands, which is begun if it was not.
async fn position(test: &TestLedger) -> i64 {
    test.ledger.take_journal(JOURNAL, &[(PARTITION, 0)]).await.expect("an answer");
    test.ledger.begin_journal(JOURNAL, PARTITION).await.expect("an answer")
}

async fn apply(test: &TestLedger, from: i64, records: &[JournalRecord]) -> Applied {
    let applied = try_apply(&test.ledger, from, records).await;
    applied.expect("an answer")
}

async fn try_apply(
    ledger: &Ledger,
    from: i64,
    records: &[JournalRecord],
) -> Result<Applied, ClaimError> {
    let records: Vec<_> = (from..).zip(records.iter().cloned()).collect();
    let to = from + i64::try_from(records.len()).expect("few");
    ledger.apply(stretch(from, to), &records).await
}

/// Applies what follows.
async fn next(test: &TestLedger, records: &[JournalRecord]) -> Applied {
    let from = position(test).await;
    let applied = apply(test, from, records).await;
    let moved = if matches!(applied, Applied::Done { .. }) { records.len() } else { 0 };
    assert_eq!(position(test).await, from + i64::try_from(moved).expect("few"));
    applied
}

/// Everything that was issued; the audit passes.
async fn rows(test: &TestLedger, event: &EventRecord) -> Vec<IssuedCouponRecord> {
    let audit = test.ledger.audit(event.id).await.expect("an answer").expect("the event");
    assert!(audit.pass(), "{audit:?}");
    test.ledger.issued_coupons_of_event(event.no, None, 200).await.expect("a page")
}

async fn places(test: &TestLedger, event: &EventRecord) -> Vec<(String, u32)> {
    let rows = rows(test, event).await;
    rows.iter().map(|row| (row.user_id.as_str().to_owned(), row.sequence.get())).collect()
}

fn named(places: &[(&str, u32)]) -> Vec<(String, u32)> {
    places.iter().map(|(user, sequence)| ((*user).to_owned(), *sequence)).collect()
}

async fn wins_are_written_as_they_were_told(store: Store) {
    let test = TestLedger::new(store).await;
    let event = journalled(&test, 9).await;
    let wins = [won(&event, 2, "a'\"\\", 1), won(&event, 2, "b", 2), won(&event, 2, "c", 3)];
    let records: Vec<_> = wins.iter().cloned().map(JournalRecord::Win).collect();
    assert_eq!(next(&test, &records).await, done(3, 0, 0));
    let told: Vec<_> = wins.iter().map(|win| test.ledger.coupon_of(&event, win)).collect();
    assert_eq!(rows(&test, &event).await, told);
    assert_eq!(told[0].id, IssuedCouponId::derive(event.id, &user("a'\"\\")));
    let now = read(&test, &event).await;
    assert_eq!((now.rule.issued, now.version, now.fence), (3, event.version, 0));
    let (validity, version) = test.ledger.validity_of(&event).await.expect("an answer");
    assert_eq!((validity, version), (draft().validity, 1));
}

async fn a_stretch_that_is_read_again_changes_nothing(store: Store) {
    let test = TestLedger::new(store).await;
    let event = journalled(&test, 9).await;
    let records = [win(&event, 2, "a", 1), win(&event, 2, "b", 2)];
    assert_eq!(apply(&test, 0, &records).await, Applied::Elsewhere { next: None });
    assert_eq!(next(&test, &records).await, done(2, 0, 0));
    let before = rows(&test, &event).await;
    assert_eq!(apply(&test, 0, &records).await, Applied::Elsewhere { next: Some(2) });
    assert_eq!(apply(&test, 1, &records[1..]).await, Applied::Elsewhere { next: Some(2) });
    assert_eq!(apply(&test, 3, &records).await, Applied::Elsewhere { next: Some(2) });
    assert_eq!(rows(&test, &event).await, before);
    // A stretch may have offsets without a record, and no record at all.
    let gaps = test.ledger.apply(stretch(2, 9), &[(5, win(&event, 2, "c", 3))]).await;
    assert_eq!(gaps.expect("an answer"), done(1, 0, 0));
    assert_eq!(test.ledger.apply(stretch(9, 12), &[]).await.expect("an answer"), done(0, 0, 0));
    assert_eq!(position(&test).await, 12);
}

async fn a_win_that_stands_in_the_journal_twice_is_written_once(store: Store) {
    let test = TestLedger::new(store).await;
    let event = journalled(&test, 2).await;
    let (a, b) = (win(&event, 2, "a", 1), win(&event, 2, "b", 2));
    assert_eq!(next(&test, &[a.clone(), a.clone()]).await, done(1, 1, 0));
    assert_eq!(next(&test, &[a.clone(), b.clone(), a.clone()]).await, done(1, 2, 0));
    // Also when its word counts no more.
    let event = begin_epoch(&test, &event).await;
    assert_eq!(next(&test, &[fence(&event, 3), a, b]).await, done(0, 2, 0));
    assert_eq!(places(&test, &event).await, named(&[("a", 1), ("b", 2)]));
}

async fn a_fence_makes_void_what_follows_and_is_older(store: Store) {
    let test = TestLedger::new(store).await;
    let event = journalled(&test, 9).await;
    let event = begin_epoch(&test, &event).await;
    let records = [
        // What precedes the fence counts, although a later epoch has begun.
        win(&event, 2, "a", 1),
        win(&event, 3, "b", 2),
        fence(&event, 3),
        // Nobody was told: the place is free, and so is the user.
        win(&event, 2, "c", 3),
        win(&event, 3, "d", 3),
        win(&event, 3, "c", 4),
        // A fence that was written late takes nothing back.
        fence(&event, 2),
        win(&event, 2, "e", 5),
    ];
    assert_eq!(next(&test, &records).await, done(4, 0, 2));
    assert_eq!(places(&test, &event).await, named(&[("a", 1), ("b", 2), ("d", 3), ("c", 4)]));
    assert_eq!(read(&test, &event).await.fence, 3);
}

async fn a_fence_holds_for_later_stretches(store: Store) {
    let test = TestLedger::new(store).await;
    let (event, other) = (journalled(&test, 9).await, journalled(&test, 9).await);
    begin_epoch(&test, &event).await;
    assert_eq!(next(&test, &[win(&event, 2, "a", 1)]).await, done(1, 0, 0));
    assert_eq!(next(&test, &[fence(&event, 3)]).await, done(0, 0, 0));
    assert_eq!(read(&test, &event).await.fence, 3);
    assert_eq!(next(&test, &[win(&event, 2, "b", 2)]).await, done(0, 0, 1));
    assert_eq!(next(&test, &[win(&event, 2, "a", 9)]).await, done(0, 0, 1), "void, not a fault");
    assert_eq!(next(&test, &[win(&event, 3, "b", 3), fence(&event, 3)]).await, done(1, 0, 0));
    // It is the event's own.
    assert_eq!(next(&test, &[win(&other, 2, "b", 1)]).await, done(1, 0, 0));
    assert_eq!(places(&test, &event).await, named(&[("a", 1), ("b", 3)]));
    assert_eq!((read(&test, &event).await.fence, read(&test, &other).await.fence), (3, 0));
}

/// The journal has more than the backup had.
async fn a_ledger_that_was_restored_learns_of_epochs(store: Store) {
    let test = TestLedger::new(store).await;
    let event = journalled(&test, 9).await;
    let lost = [win(&event, 2, "a", 1), fence(&event, 5), win(&event, 5, "b", 2)];
    assert_eq!(next(&test, &lost).await, done(2, 0, 0));
    let restored = read(&test, &event).await;
    assert_eq!((restored.epoch, restored.fence), (5, 5));
    let stopped = next(&test, &[win(&event, 6, "c", 3)]).await;
    let unknown =
        matches!(stopped, Applied::Stopped { why: Unappliable::Epoch { current: 5 }, .. });
    assert!(unknown, "{stopped:?}");
    // What a decider knew, and the ledger has forgotten, is no new epoch.
    let begun = test.ledger.begin_epoch(event.id, 5, 8, None).await.expect("an answer");
    assert_eq!(begun.map(|begun| begun.epoch), Some(9));
}

async fn change(test: &TestLedger, event: &EventRecord, change: fn(&mut EventRule)) {
    let change = move |mut event: EventRecord| {
        change(&mut event.rule);
        Ok::<_, ()>(event)
    };
    let changed = test.ledger.change_event(event.id, change).await.expect("an answer");
    assert!(changed.is_some_and(|changed| changed.is_ok()));
}

async fn an_event_that_was_stopped_keeps_its_promises(store: Store) {
    let test = TestLedger::new(store).await;
    let event = journalled(&test, 9).await;
    change(&test, &event, |rule| rule.paused = true).await;
    assert_eq!(next(&test, &[win(&event, 2, "a", 1)]).await, done(1, 0, 0));
    change(&test, &event, |rule| rule.closed = true).await;
    test.clock.set(OPENS_AT + 2 * HOUR);
    assert_eq!(next(&test, &[win(&event, 2, "b", 2)]).await, done(1, 0, 0));
    assert_eq!(places(&test, &event).await, named(&[("a", 1), ("b", 2)]));
}

async fn many_events_are_applied_at_once(store: Store) {
    let test = TestLedger::new(store).await;
    let mut events = Vec::new();
    for _ in 0..7 {
        events.push(journalled(&test, 5).await);
    }
    let fenced = begin_epoch(&test, &events[3]).await;
    let mut records = Vec::new();
    for sequence in 1..=5 {
        // In another order of the events each time.
        for turn in 0..events.len() {
            let event = &events[(turn * 3 + sequence as usize) % events.len()];
            records.push(win(event, 2, &format!("user-{sequence}"), sequence));
        }
        if sequence == 2 {
            records.push(fence(&fenced, 3));
        }
    }
    assert_eq!(next(&test, &records).await, done(6 * 5 + 2, 0, 3));
    for (place, event) in events.iter().enumerate() {
        let expected = if place == 3 { 2 } else { 5 };
        assert_eq!(rows(&test, event).await.len(), expected);
        let now = read(&test, event).await;
        assert_eq!(now.rule.issued as usize, expected);
        assert_eq!(now.fence, if place == 3 { 3 } else { 0 });
    }
}

async fn a_whole_stretch_is_applied(store: Store) {
    let test = TestLedger::new(store).await;
    let most = u32::try_from(STRETCH_RECORDS_MAX).expect("few");
    let (one, two) = (journalled(&test, most).await, journalled(&test, most).await);
    let record = |number: u32| {
        let (event, last) = if number.is_multiple_of(2) { (&one, 0) } else { (&two, 1) };
        win(event, 2, &format!("user-{number}"), 1 + (number - last) / 2)
    };
    let records: Vec<_> = (0..most).map(record).collect();
    assert_eq!(next(&test, &records).await, done(most, 0, 0));
    assert_eq!(next(&test, &records).await, done(0, most, 0));
    assert_eq!(rows(&test, &one).await.len(), 200, "a page, and the audit passes");
    assert_eq!(read(&test, &two).await.rule.issued, most / 2);
}

/// Nothing is written of a stretch that stops at its third record, and the first two can be.
async fn check_stop(
    test: &TestLedger,
    event: &EventRecord,
    third: JournalRecord,
    why: Unappliable,
) {
    let before = (rows(test, event).await, read(test, event).await);
    let (from, last) = (position(test).await, before.1.rule.issued + 1);
    let users = [format!("x-{from}"), format!("y-{from}")];
    let first = win(event, 2, &users[0], last);
    let records = [first.clone(), first, third, win(event, 2, &users[1], last + 1)];
    let stopped = next(test, &records).await;
    assert_eq!(stopped, Applied::Stopped { offset: from + 2, why });
    assert_eq!((rows(test, event).await, read(test, event).await), before, "nothing is written");
    assert_eq!(next(test, &records[..2]).await, done(1, 1, 0));
}

async fn what_cannot_be_applied_stops_the_partition(store: Store) {
    let test = TestLedger::new(store).await;
    let event = journalled(&test, 20).await;
    assert_eq!(next(&test, &[win(&event, 2, "a", 1), win(&event, 2, "b", 2)]).await, done(2, 0, 0));
    let nobody = EventRecord { id: EventId::from_uuid(Uuid::now_v7()), ..event.clone() };
    check_stop(&test, &event, win(&nobody, 2, "c", 3), Unappliable::EventNotFound).await;
    check_stop(&test, &event, fence(&nobody, 2), Unappliable::EventNotFound).await;
    let epoch = Unappliable::Epoch { current: 2 };
    check_stop(&test, &event, win(&event, 3, "c", 9), epoch).await;
    check_stop(&test, &event, win(&event, 2, "c", 1), Unappliable::Sequence).await;
    check_stop(&test, &event, win(&event, 2, "a", 2), Unappliable::User).await;
    check_stop(&test, &event, win(&event, 2, "a", 19), Unappliable::User).await;
    let elsewhere = begin_epoch(&test, &self::event(&test, 9, Commit::Kafka).await).await;
    let pinned = Unappliable::Partition { pinned: Some(0) };
    check_stop(&test, &event, win(&elsewhere, 2, "c", 1), pinned).await;
    check_stop(&test, &event, fence(&elsewhere, 2), pinned).await;
    let nowhere = self::event(&test, 9, Commit::Ledger).await;
    let pinned = Unappliable::Partition { pinned: None };
    check_stop(&test, &event, win(&nowhere, 1, "c", 1), pinned).await;

    let small = journalled(&test, 2).await;
    let records = [win(&small, 2, "a", 1), win(&small, 2, "b", 4), win(&small, 2, "c", 2)];
    let at = position(&test).await;
    let quantity = Unappliable::Quantity;
    assert_eq!(next(&test, &records).await, Applied::Stopped { offset: at + 2, why: quantity });
    assert_eq!(rows(&test, &small).await, []);
    assert_eq!(next(&test, &records[..2]).await, done(2, 0, 0));
    assert_eq!(
        next(&test, &records[2..]).await,
        Applied::Stopped { offset: at + 2, why: quantity }
    );
}

/// Whoever is looked up only when it is needed stops the partition at the right record.
async fn the_first_record_that_cannot_be_applied_is_told(store: Store) {
    let test = TestLedger::new(store).await;
    let event = journalled(&test, 9).await;
    assert_eq!(next(&test, &[win(&event, 2, "a", 1), win(&event, 2, "b", 2)]).await, done(2, 0, 0));
    let records = [win(&event, 2, "c", 3), win(&event, 2, "a", 4), win(&event, 2, "d", 2)];
    let stopped = Applied::Stopped { offset: 3, why: Unappliable::User };
    assert_eq!(next(&test, &records).await, stopped);
    let records = [records[0].clone(), fence(&event, 1), records[2].clone()];
    let stopped = Applied::Stopped { offset: 4, why: Unappliable::Sequence };
    assert_eq!(next(&test, &records).await, stopped);
}

async fn an_erased_user_keeps_the_place_and_gets_no_second(store: Store) {
    let test = TestLedger::new(store).await;
    let event = journalled(&test, 9).await;
    let (a, b) = (win(&event, 2, "a", 1), win(&event, 2, "b", 2));
    assert_eq!(next(&test, &[a.clone(), b.clone()]).await, done(2, 0, 0));
    assert!(test.ledger.erase_user(user("a")).await.expect("an answer"));
    assert_eq!(next(&test, &[b, a]).await, done(0, 2, 0));
    for sequence in [3, 2] {
        let at = position(&test).await + 1;
        let stopped = next(&test, &[win(&event, 2, "c", 4), win(&event, 2, "a", sequence)]).await;
        assert_eq!(stopped, Applied::Stopped { offset: at, why: Unappliable::User });
    }
    assert_eq!(rows(&test, &event).await.len(), 2);
}

/// A row that breaks the rules: its user holds it under an id that is another's.
async fn what_no_look_has_found_is_an_error(store: Store) {
    let test = TestLedger::new(store).await;
    let event = journalled(&test, 9).await;
    assert_eq!(next(&test, &[win(&event, 2, "a", 1)]).await, done(1, 0, 0));
    let strange = Uuid::now_v7().simple();
    let id = if store == Store::Postgres { format!("'{strange}'") } else { format!("0x{strange}") };
    let no = event.no.get();
    test.place()
        .execute(&format!("UPDATE issued_coupons SET id = {id} WHERE event_no = {no}"))
        .await;
    let records = [win(&event, 2, "b", 2), win(&event, 2, "a", 3)];
    let failed = try_apply(&test.ledger, 1, &records).await;
    assert!(matches!(failed, Err(ClaimError::Unavailable(_))), "{failed:?}");
    assert_eq!((position(&test).await, read(&test, &event).await.rule.issued), (1, 1));
}

async fn winners_in_any_order_are_listed(store: Store) {
    let test = TestLedger::new(store).await;
    let event = journalled(&test, 9).await;
    for of in [[("e", 5), ("d", 4)], [("b", 2), ("c", 3)], [("f", 6), ("a", 1)]] {
        let records = of.map(|(user, sequence)| win(&event, 2, user, sequence));
        assert_eq!(next(&test, &records).await, done(2, 0, 0));
        test.listed().await;
    }
    // A visitor lists nothing: what is not listed yet is found all the same.
    let test = test.reopen(Purpose::Visit).await;
    let records = [win(&event, 2, "h", 8), win(&event, 2, "g", 7)];
    assert_eq!(next(&test, &records).await, done(2, 0, 0));
    assert_eq!(rows(&test, &event).await.len(), 8);
    let now = Timestamp::from_micros(OPENS_AT);
    for name in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        let query = IssuedQuery { user_id: user(name), state: None, now, after: None, limit: 9 };
        assert_eq!(test.ledger.issued_coupons_of(&query).await.expect("a page").len(), 1, "{name}");
    }
}
