//! The claim rule as tables: one event, one batch, one moment.

use firstcome_core::{Decided, EventRule, Sequence, UserId, Verdict, decide};

use crate::sample::{CLOSES_AT, OPENS_AT, at, event, quantity, user};

const SOLD_OUT: Verdict = Verdict::SoldOut;

fn sequence(number: u32) -> Sequence {
    Sequence::parse(number.into()).expect("a sequence")
}

fn issued(number: u32) -> Verdict {
    Verdict::Issued(sequence(number))
}

fn already(number: u32) -> Verdict {
    Verdict::AlreadyClaimed(sequence(number))
}

/// Decides for users by name, where `kim` holds the first coupon if one is issued.
fn decided(rule: &EventRule, names: &[&str], now: i64) -> Decided {
    let batch: Vec<UserId> = names.iter().copied().map(user).collect();
    let held = |user: &UserId| (rule.issued > 0 && user.as_str() == "kim").then(|| sequence(1));
    decide(rule, held, &batch, at(now))
}

#[track_caller]
fn check(rule: EventRule, now: i64, names: &[&str], verdicts: &[Verdict]) {
    let decided = decided(&rule, names, now);
    assert_eq!(decided.verdicts, verdicts, "{names:?} on {rule:?}");
    let won = verdicts.iter().filter(|verdict| matches!(verdict, Verdict::Issued(_))).count();
    assert_eq!(decided.rule.issued as usize, rule.issued as usize + won);
}

#[test]
fn winners_stand_in_the_order_of_the_batch() {
    check(event(), OPENS_AT, &[], &[]);
    check(event(), OPENS_AT, &["a"], &[issued(1)]);
    check(event(), OPENS_AT, &["c", "a", "b"], &[issued(1), issued(2), issued(3)]);
    let rule = EventRule { issued: 7, ..event() };
    check(rule, OPENS_AT, &["x", "y"], &[issued(8), issued(9)]);
}

#[test]
fn the_last_coupon_ends_the_batch_for_new_users() {
    let rule = EventRule { issued: 9, ..event() };
    check(
        rule,
        OPENS_AT,
        &["a", "b", "a", "kim"],
        &[issued(10), SOLD_OUT, already(10), already(1)],
    );
    let rule = EventRule { quantity: quantity(1), ..event() };
    check(rule, OPENS_AT, &["a", "a", "b"], &[issued(1), already(1), SOLD_OUT]);
}

#[test]
fn duplicates_in_a_batch_meet_the_first() {
    let verdicts = [issued(1), already(1), issued(2), already(1), already(2)];
    check(event(), OPENS_AT, &["a", "a", "b", "a", "b"], &verdicts);
    check(event(), OPENS_AT, &["kim", "Kim", "kim"], &[issued(1), issued(2), already(1)]);
}

/// Who holds a coupon is told so before any other refusal; new users meet the refusal, in the
/// order closed, paused, not open, sold out.
#[test]
fn refusals_in_their_order() {
    let not_open = Verdict::NotOpen { opens_at: at(OPENS_AT) };
    let held = EventRule { issued: 1, ..event() };
    let full = EventRule { issued: 10, ..event() };
    let paused = EventRule { paused: true, ..full };
    let closed = EventRule { closed: true, ..paused };
    for (rule, now, refusal) in [
        (held, OPENS_AT - 1, not_open),
        (full, OPENS_AT - 1, not_open),
        (full, OPENS_AT, SOLD_OUT),
        (full, CLOSES_AT - 1, SOLD_OUT),
        (full, CLOSES_AT, Verdict::Closed),
        (held, CLOSES_AT, Verdict::Closed),
        (held, i64::MAX, Verdict::Closed),
        (paused, OPENS_AT - 1, Verdict::Paused),
        (paused, OPENS_AT, Verdict::Paused),
        (paused, CLOSES_AT, Verdict::Closed),
        (closed, OPENS_AT - 1, Verdict::Closed),
        (closed, OPENS_AT, Verdict::Closed),
        (EventRule { opened_early: true, ..full }, 0, SOLD_OUT),
        (EventRule { opened_early: true, paused: true, ..held }, 0, Verdict::Paused),
    ] {
        check(rule, now, &["new", "kim", "new"], &[refusal, already(1), refusal]);
    }
}

#[test]
fn the_window_is_half_open_for_claims() {
    check(event(), OPENS_AT - 1, &["a"], &[Verdict::NotOpen { opens_at: at(OPENS_AT) }]);
    check(event(), OPENS_AT, &["a"], &[issued(1)]);
    check(event(), CLOSES_AT - 1, &["a"], &[issued(1)]);
    check(event(), CLOSES_AT, &["a"], &[Verdict::Closed]);
    check(EventRule { opened_early: true, ..event() }, 0, &["a"], &[issued(1)]);
}

#[test]
fn an_event_seen_closed_stays_closed_when_the_clock_steps_back() {
    let seen = decided(&event(), &["late"], CLOSES_AT).rule;
    check(seen, OPENS_AT, &["a"], &[Verdict::Closed]);
    let seen = decided(&event(), &[], CLOSES_AT).rule;
    assert!(seen.closed, "a look without claims closes too");
}

#[test]
fn a_refused_batch_changes_nothing() {
    for rule in [
        EventRule { paused: true, ..event() },
        EventRule { closed: true, ..event() },
        EventRule { issued: 10, ..event() },
    ] {
        assert_eq!(decided(&rule, &["a", "b"], OPENS_AT).rule, rule);
    }
}

#[test]
#[should_panic(expected = "more coupons issued than the event has")]
fn more_issued_than_there_are_is_a_bug() {
    let _ = decided(&EventRule { issued: 11, ..event() }, &[], OPENS_AT);
}
