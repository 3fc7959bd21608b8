use std::time::Duration;

use firstcome_testkit::{ManualClock, draft};
use proptest::prelude::{any, prop};
use proptest::{prop_assert_eq, proptest};
use tokio::time::advance;
use uuid::Uuid;

use super::*;

const NOW: Timestamp = draft::OPENS_AT;
const VERSION: u64 = 7;
const ENDED: Timestamp = draft::CLOSES_AT;

fn latches(latches_max: usize, latch_bytes_max: usize) -> Arc<Latches> {
    let config = IssuanceConfig { latches_max, latch_bytes_max, ..IssuanceConfig::default() };
    Arc::new(Latches::new(&config, Metrics::declare()))
}

fn event() -> EventId {
    EventId::from_uuid(Uuid::now_v7())
}

fn user(name: &str) -> UserId {
    UserId::parse(name).expect("a user id")
}

fn sold_out(quantity: u32) -> EventRule {
    EventRule { issued: quantity, ..draft::rule(quantity) }
}

/// The latch of an event that these users sold out.
fn latch(winners: &[&str]) -> Option<Latch> {
    let quantity = u32::try_from(winners.len()).expect("few");
    let mut latch = Latch::new(&sold_out(quantity), VERSION, NOW)?;
    winners.iter().for_each(|winner| latch.add(winner));
    Some(latch)
}

fn look(latches: &Latches, event: EventId, name: &str) -> Lookup {
    latches.lookup(event, &user(name), &ManualClock::new(NOW))
}

#[tokio::test(start_paused = true)]
async fn without_trust_every_latch_is_silent_and_afterwards_as_it_was() {
    let (latches, event) = (latches(10, 1 << 20), event());
    let build = latches.begin(event, NOW).expect("nobody builds");
    assert_eq!(latches.versions(), []);
    latches.finish(build, latch(&["kim"]), NOW);
    assert_eq!(latches.versions(), [(event, VERSION)]);
    let told = |_| look(&latches, event, "park") == Lookup::SoldOut;
    let before = (0..8).map(told).collect::<Vec<_>>();
    latches.trust(None);
    assert_eq!(look(&latches, event, "park"), Lookup::AskDecider);
    latches.trust(Some(Instant::now() + Duration::from_micros(2)));
    assert_eq!((0..8).map(told).collect::<Vec<_>>(), before);
    // Nobody says so, where the whole process sleeps.
    advance(Duration::from_micros(2)).await;
    assert_eq!(look(&latches, event, "park"), Lookup::AskDecider);
}

#[test]
fn who_won_asks_the_decider_and_who_did_not_is_answered() {
    let (latches, event) = (latches(10, 1 << 20), event());
    assert_eq!(look(&latches, event, "park"), Lookup::AskDecider);
    let build = latches.begin(event, NOW).expect("nobody builds");
    assert_eq!(look(&latches, event, "park"), Lookup::AskDecider);
    assert_eq!(latches.begin(event, NOW), None, "one build at a time");
    latches.finish(build, latch(&["kim", "lee"]), NOW);
    assert_eq!(look(&latches, event, "kim"), Lookup::AskDecider);
    assert_eq!(look(&latches, event, "lee"), Lookup::AskDecider);
    // A filter of two may take one stranger for a winner, hardly all of these.
    let strangers = ["park", "choi", "jung", "kang"];
    assert!(strangers.iter().any(|name| look(&latches, event, name) == Lookup::SoldOut));
    assert_eq!(latches.begin(event, NOW), None, "it has its latch");
    latches.forget(event);
    assert!(strangers.iter().all(|name| look(&latches, event, name) == Lookup::AskDecider));
}

#[test]
fn a_latch_answers_within_the_window_only() {
    let before = Timestamp::from_micros(NOW.as_micros() - 1);
    let last = Timestamp::from_micros(ENDED.as_micros() - 1);
    let asked = |latch: &Latch, now| {
        (0..64).all(|index| latch.lookup(&user(&format!("u{index}")), now) == Lookup::AskDecider)
    };
    let by_clock = latch(&["kim"]).expect("sold out");
    assert!(asked(&by_clock, before), "not open yet");
    assert!(!asked(&by_clock, NOW) && !asked(&by_clock, last));
    assert!(asked(&by_clock, ENDED), "closed");
    let early = EventRule { opened_early: true, ..sold_out(1) };
    let by_hand = Latch::new(&early, VERSION, before).expect("sold out before its window");
    assert!(!asked(&by_hand, before));
}

#[test]
fn only_a_sold_out_event_has_a_latch() {
    let rule = sold_out(1);
    for other in [
        EventRule { issued: 0, ..rule },
        EventRule { paused: true, ..rule },
        EventRule { closed: true, ..rule },
    ] {
        assert!(Latch::new(&other, VERSION, NOW).is_none());
    }
    assert!(Latch::new(&rule, VERSION, Timestamp::from_micros(NOW.as_micros() - 1)).is_none());
    assert!(Latch::new(&rule, VERSION, ENDED).is_none());
}

#[test]
fn a_change_spoils_the_build_that_it_meets() {
    let (latches, event) = (latches(10, 1 << 20), event());
    let met = latches.begin(event, NOW).expect("nobody builds");
    let (one, two) = (latches.hold(event), latches.hold(event));
    assert_eq!(latches.begin(event, NOW), None, "a change is under way");
    drop(one);
    assert_eq!(latches.begin(event, NOW), None, "another change is under way");
    drop(two);
    let after = latches.begin(event, NOW).expect("the changes have ended");
    latches.finish(met, latch(&["kim"]), NOW);
    let strangers: Vec<String> = (0..64).map(|index| format!("u{index}")).collect();
    let answered = |expected| strangers.iter().any(|name| look(&latches, event, name) == expected);
    assert!(!answered(Lookup::SoldOut), "what was read before the change is not installed");
    latches.finish(after, latch(&["kim"]), NOW);
    assert!(answered(Lookup::SoldOut));
    let hold = latches.hold(event);
    assert!(!answered(Lookup::SoldOut), "a change opens the latch before it is made");
    drop(hold);
    assert!(!answered(Lookup::SoldOut));
}

#[test]
fn latches_are_few_and_make_room_when_their_events_end() {
    let latches = latches(2, 1 << 20);
    for _ in 0..2 {
        let build = latches.begin(event(), NOW).expect("there is room");
        latches.finish(build, latch(&["kim"]), NOW);
    }
    assert_eq!(latches.begin(event(), NOW), None, "full");
    assert!(latches.begin(event(), ENDED).is_some(), "the others have ended");
}

#[test]
fn a_latch_that_could_not_be_built_or_is_too_large_is_tried_again_later() {
    let later = Timestamp::from_micros(NOW.as_micros() + REST_MICROS);
    for latch in [None, latch(&["kim"; 100])] {
        let (latches, event) = (latches(10, 8), event());
        let build = latches.begin(event, NOW).expect("nobody builds");
        latches.finish(build, latch, NOW);
        assert_eq!(latches.begin(event, NOW), None, "it rests");
        assert!(latches.begin(event, later).is_some(), "it has rested");
    }
}

#[test]
fn no_more_than_a_few_in_a_thousand_ask_in_vain() {
    let winners: Vec<String> = (0..20_000).map(|index| format!("winner-{index}")).collect();
    let winners: Vec<&str> = winners.iter().map(String::as_str).collect();
    let latch = latch(&winners).expect("sold out");
    let in_vain = (0..20_000)
        .filter(|index| latch.lookup(&user(&format!("u-{index}")), NOW) == Lookup::AskDecider);
    let in_vain = in_vain.count();
    assert!(in_vain < 60, "{in_vain} of 20,000");
    assert!(latch.bytes() <= 20_000 * 2);
}

proptest! {
    #[test]
    fn a_winner_always_asks_the_decider(
        winners in prop::collection::hash_set(any::<u64>(), 1..300),
    ) {
        let winners: Vec<String> = winners.iter().map(u64::to_string).collect();
        let names: Vec<&str> = winners.iter().map(String::as_str).collect();
        let latch = latch(&names).expect("sold out");
        for name in names {
            prop_assert_eq!(latch.lookup(&user(name), NOW), Lookup::AskDecider);
        }
    }
}
