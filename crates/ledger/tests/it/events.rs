//! Events: SQL tells the states as the rule does.

use std::convert::Infallible;

use firstcome_core::{EventRule, EventState, Quantity, Timestamp};
use firstcome_ledger::{EventQuery, EventRecord};

use crate::support::{HOUR, OPENS_AT, Store, TestLedger, on_every_store};

on_every_store! {
    the_filter_of_each_state_is_the_rule,
    versions_are_told_of_what_is_sold_out,
}

async fn listed(test: &TestLedger, query: &EventQuery) -> Vec<EventRecord> {
    test.ledger.events(query).await.expect("a page")
}

async fn change(test: &TestLedger, event: &EventRecord, rule: EventRule) {
    let change = move |found: EventRecord| Ok::<_, Infallible>(EventRecord { rule, ..found });
    test.ledger.change_event(event.id, change).await.expect("the ledger answers");
}

/// An event of one coupon, sold out and settled or not sold out, with these marks.
async fn event(test: &TestLedger, sold_out: bool, [opened_early, paused, closed]: [bool; 3]) {
    let event = test.event(1).await;
    if sold_out {
        test.claim(&event, &["kim"]).await;
        // A read of what an event issued settles it: the tables know it from here on.
        test.ledger.issued_coupons_of_event(event.no, None, 1).await.expect("a page");
    }
    change(test, &event, EventRule { opened_early, paused, closed, ..event.rule }).await;
}

async fn versions_are_told_of_what_is_sold_out(store: Store) {
    let test = TestLedger::new(store).await;
    let [some, all] = [test.event(2).await, test.event(1).await];
    for event in [&some, &all] {
        test.claim(event, &["kim"]).await;
    }
    let told = async || test.ledger.sold_out_versions(&[some.id, all.id]).await.expect("an answer");
    assert_eq!(told().await, [(all.id, all.version)]);
    let quantity = Quantity::parse(2).expect("a quantity");
    change(&test, &all, EventRule { quantity, ..all.rule }).await;
    assert_eq!(told().await, []);
}

async fn the_filter_of_each_state_is_the_rule(store: Store) {
    let test = TestLedger::new(store).await;
    for bits in 0..16_u8 {
        let bit = |place: u8| bits >> place & 1 == 1;
        event(&test, bit(3), [bit(0), bit(1), bit(2)]).await;
    }
    let moments = [OPENS_AT - 1, OPENS_AT, OPENS_AT + HOUR - 1, OPENS_AT + HOUR];
    for now in moments {
        test.clock.set(now);
        let all = listed(&test, &EventQuery { limit: 200, ..EventQuery::default() }).await;
        assert_eq!(all.len(), 16);
        let mut told = 0;
        for state in EventState::ALL {
            let query = EventQuery { state: Some(state), after: None, limit: 200 };
            let by_sql = listed(&test, &query).await;
            let mut by_rule = all.clone();
            by_rule.retain(|event| event.rule.state(Timestamp::from_micros(now)) == state);
            assert_eq!(by_sql, by_rule, "{state:?} at {now}");
            told += by_sql.len();
        }
        assert_eq!(told, all.len(), "every event has one state at {now}");
    }
}
