//! Whose clock decides on a database server: its own, whatever a process's shows.

use std::sync::Arc;

use firstcome_core::{
    Clock, Commit, EventId, EventRule, Name, Quantity, Strategy, Timestamp, Window,
};
use firstcome_ledger::{Decision, EventRecord, Ledger, NewEvent, Purpose, ServerClock};
use firstcome_testkit::ManualClock;
use uuid::Uuid;

use crate::support::{HOUR, Store, TestLedger, batch, on_every_server, verdicts};

on_every_server! {
    claims_meet_the_databases_clock,
    what_people_see_is_what_claims_meet,
}

const MINUTE: i64 = HOUR / 60;

/// A second process whose clock is so far from the database's, and the database's time.
async fn process(test: &TestLedger, micros_ahead: i64) -> (Ledger, i64) {
    let mut options = test.place().options(Purpose::Serve);
    options.server_clock = ServerClock::Database;
    let own = Arc::new(ManualClock::new(Timestamp::from_micros(0)));
    let first = Ledger::open(options.clone(), Arc::clone(&own) as Arc<dyn Clock>).await;
    let now = first.expect("the ledger opens").clock().now().as_micros();
    let wrong = Arc::new(ManualClock::new(Timestamp::from_micros(now + micros_ahead)));
    (Ledger::open(options, wrong).await.expect("the ledger opens"), now)
}

/// An event of one coupon that is open from here until there, in microseconds.
async fn event(test: &TestLedger, from: i64, until: i64) -> EventRecord {
    let coupon = test.coupon(crate::support::draft()).await;
    let [from, until] = [from, until].map(Timestamp::from_micros);
    let new = NewEvent {
        id: EventId::from_uuid(Uuid::now_v7()),
        coupon_id: coupon.id,
        name: Name::parse("시계").expect("a name"),
        rule: EventRule {
            quantity: Quantity::parse(1).expect("a quantity"),
            issued: 0,
            window: Window::new(from, until).expect("a window"),
            opened_early: false,
            paused: false,
            closed: false,
        },
        strategy: Strategy::Ledger,
        commit: Commit::Ledger,
    };
    let made = test.ledger.create_event(new).await.expect("the ledger answers");
    made.expect("the coupon is there")
}

async fn claim(ledger: &Ledger, event: &EventRecord) -> Decision {
    verdicts(ledger, batch(event, &["kim"])).await.remove(0)
}

async fn claims_meet_the_databases_clock(store: Store) {
    let test = TestLedger::new(store).await;
    for micros_ahead in [-5 * MINUTE, 5 * MINUTE] {
        let (ledger, now) = process(&test, micros_ahead).await;
        let open = event(&test, now - 2 * MINUTE, now + 2 * MINUTE).await;
        let Decision::Issued(won) = claim(&ledger, &open).await else { panic!("it is open") };
        assert!((now..now + MINUTE).contains(&won.issued_at.as_micros()));
        let later = event(&test, now + 2 * MINUTE, now + HOUR).await;
        assert!(matches!(claim(&ledger, &later).await, Decision::NotOpen { .. }));
        let earlier = event(&test, now - HOUR, now - 2 * MINUTE).await;
        assert_eq!(claim(&ledger, &earlier).await, Decision::Closed);
    }
}

async fn what_people_see_is_what_claims_meet(store: Store) {
    let test = TestLedger::new(store).await;
    for micros_ahead in [-5 * MINUTE, 5 * MINUTE] {
        let (ledger, now) = process(&test, micros_ahead).await;
        let seen = ledger.clock().now().as_micros();
        assert!((now - MINUTE / 60..now + MINUTE).contains(&seen), "{}", seen - now);
    }
}
