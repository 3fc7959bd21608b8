//! The lifecycle of an event: states and actions.

use firstcome_core::{Action, EventRule, EventState, Window, WrongState};

use crate::sample::{CLOSES_AT, OPENS_AT, at, event};

const BEFORE: i64 = OPENS_AT - 1;
const DURING: i64 = OPENS_AT;
const LAST: i64 = CLOSES_AT - 1;
const AFTER: i64 = CLOSES_AT;

#[test]
fn the_window_is_half_open() {
    for (now, state) in [
        (0, EventState::Scheduled),
        (BEFORE, EventState::Scheduled),
        (DURING, EventState::Open),
        (LAST, EventState::Open),
        (AFTER, EventState::Closed),
        (i64::MAX, EventState::Closed),
    ] {
        assert_eq!(event().state(at(now)), state, "at {now}");
    }
}

#[test]
fn an_empty_window_is_refused() {
    assert!(Window::new(at(5), at(6)).is_ok());
    for (opens_at, closes_at) in [(5, 5), (6, 5)] {
        let refused = Window::new(at(opens_at), at(closes_at)).expect_err("an empty window");
        assert_eq!(refused.to_string(), "must be later than opens_at");
    }
}

/// What is stored, all combinations, at each side of the window: closed before paused before
/// scheduled before sold out.
#[test]
fn the_state_of_all_that_is_stored() {
    for bits in 0..16_u32 {
        let [opened_early, paused, closed, full] = [1, 2, 4, 8].map(|bit| bits & bit != 0);
        let issued = if full { 10 } else { 9 };
        let rule = EventRule { issued, opened_early, paused, closed, ..event() };
        for now in [BEFORE, DURING, AFTER] {
            let expected = match (closed || now == AFTER, paused, opened_early || now == DURING) {
                (true, _, _) => EventState::Closed,
                (_, true, _) => EventState::Paused,
                (_, _, false) => EventState::Scheduled,
                _ if full => EventState::SoldOut,
                _ => EventState::Open,
            };
            assert_eq!(rule.state(at(now)), expected, "{rule:?} at {now}");
        }
    }
}

#[track_caller]
fn check(rule: EventRule, now: i64, action: Action, expected: Result<EventState, EventState>) {
    let applied = rule.apply(action, at(now));
    let state = applied.map(|after| after.state(at(now))).map_err(|WrongState { state }| state);
    assert_eq!(state, expected, "{action:?} on {rule:?}");
}

#[test]
fn each_action_in_each_state() {
    use EventState::{Closed, Open, Paused, Scheduled, SoldOut};
    let scheduled = (event(), BEFORE);
    let early = (EventRule { opened_early: true, ..event() }, BEFORE);
    let open = (event(), DURING);
    let sold_out = (EventRule { issued: 10, ..event() }, DURING);
    let paused = (EventRule { paused: true, ..event() }, DURING);
    let by_hand = (EventRule { closed: true, ..event() }, DURING);
    let by_clock = (event(), AFTER);
    for ((rule, now), answers) in [
        // In the order open, pause, resume, close.
        (scheduled, [Ok(Open), Err(Scheduled), Err(Scheduled), Ok(Closed)]),
        (early, [Err(Open), Ok(Paused), Err(Open), Ok(Closed)]),
        (open, [Err(Open), Ok(Paused), Err(Open), Ok(Closed)]),
        (sold_out, [Err(SoldOut), Ok(Paused), Err(SoldOut), Ok(Closed)]),
        (paused, [Err(Paused), Err(Paused), Ok(Open), Ok(Closed)]),
        (by_hand, [Err(Closed); 4]),
        (by_clock, [Err(Closed); 4]),
    ] {
        let actions = [Action::Open, Action::Pause, Action::Resume, Action::Close];
        for (action, expected) in actions.into_iter().zip(answers) {
            check(rule, now, action, expected);
        }
    }
}

#[test]
fn a_resumed_event_is_where_its_pause_found_it() {
    let sold_out = EventRule { issued: 10, ..event() };
    let paused = sold_out.apply(Action::Pause, at(DURING)).expect("sold out can pause");
    check(paused, DURING, Action::Resume, Ok(EventState::SoldOut));

    let early = EventRule { opened_early: true, paused: true, ..event() };
    check(early, BEFORE, Action::Resume, Ok(EventState::Open));
}

#[test]
fn an_event_closed_by_hand_stays_closed_at_every_time() {
    let closed = event().apply(Action::Close, at(DURING)).expect("open can close");
    for now in [0, BEFORE, DURING, LAST, AFTER] {
        assert_eq!(closed.state(at(now)), EventState::Closed);
    }
}

#[test]
fn an_action_changes_nothing_else() {
    let rule = EventRule { issued: 3, ..event() };
    let paused = rule.apply(Action::Pause, at(DURING)).expect("open can pause");
    assert_eq!(paused, EventRule { paused: true, ..rule });
    let resumed = paused.apply(Action::Resume, at(DURING)).expect("paused can resume");
    assert_eq!(resumed, rule);
    let opened = rule.apply(Action::Open, at(BEFORE)).expect("scheduled can open");
    assert_eq!(opened, EventRule { opened_early: true, ..rule });
    let closed = rule.apply(Action::Close, at(DURING)).expect("open can close");
    assert_eq!(closed, EventRule { closed: true, ..rule });
}

#[test]
fn what_remains() {
    assert_eq!(event().remaining(), 10);
    assert_eq!(EventRule { issued: 10, ..event() }.remaining(), 0);
}

#[test]
#[should_panic(expected = "more coupons issued than the event has")]
fn more_issued_than_there_are_is_a_bug() {
    let _ = EventRule { issued: 11, ..event() }.remaining();
}

#[test]
fn every_word_of_a_state_is_read_back() {
    for state in EventState::ALL {
        assert_eq!(EventState::parse(state.as_str()), Some(state));
    }
    for word in ["", "OPEN", "soldout", "open ", "열림"] {
        assert_eq!(EventState::parse(word), None);
    }
}
