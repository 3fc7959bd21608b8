//! The plans of PostgreSQL for claims and for wins that another has decided.

use firstcome_ledger::{EventRecord, Recorded, Tried};

use super::{next_epoch, try_record};
use crate::support::plans::{Done, IDLE, add_events, with_few};
use crate::support::{Store, TestLedger, batch, draft};

/// Claims and wins of users with this number, in every way, of one event and of both.
async fn claim_and_record(
    test: &TestLedger,
    number: u32,
    decided: &[EventRecord; 2],
    begun: &[EventRecord; 2],
) {
    let user = |name: &str| format!("{name}-{number}");
    for name in ["kim", "kim", "lee"] {
        test.claim(&decided[0], &[user(name).as_str()]).await;
    }
    let both = decided.iter().flat_map(|event| batch(event, &[user("park")])).collect();
    test.ledger.claim(both).await.expect("verdicts");
    let ([a, b], ledger) = (begun, &test.ledger);
    let first = number * 4 + 1;
    for (tried, sequence) in [(Tried::Never, first), (Tried::Perhaps, first + 2)] {
        let (choi, jung) = (user(&format!("choi-{sequence}")), user(&format!("jung-{sequence}")));
        let mut told = try_record(tried, ledger, &[(a, &[(&choi, sequence)])]).await;
        let of_both = [(jung.as_str(), sequence + 1)];
        told.extend(try_record(tried, ledger, &[(a, &of_both), (b, &of_both)]).await);
        assert!(told.iter().all(|told| matches!(told, Ok(Recorded::Held(_)))), "{told:?}");
    }
    let ids = [a.id, b.id];
    assert_eq!(ledger.standings(&ids, Some("journal")).await.expect("an answer").len(), 2);
}

/// As of a shop that opens its first events, is analyzed, and then opens thousands.
#[tokio::test]
async fn plans_for_few_events_read_no_more_of_thousands() {
    let test = TestLedger::new(Store::Postgres).await;
    let coupon = test.coupon(draft()).await;
    let event = async || test.event_of(&coupon, 99).await;
    let decided = [event().await, event().await];
    let begun = [next_epoch(&test, &event().await).await, next_epoch(&test, &event().await).await];
    let test = with_few(test).await;
    claim_and_record(&test, 0, &decided, &begun).await;
    add_events(&test, &decided[0]).await;
    claim_and_record(&test, 1, &decided, &begun).await;
    let done = Done::by(test).await;
    assert!(done.counted("events", "n_tup_upd").await > 10, "claims are counted");
    let read = done.read_of("events").await;
    assert!(read < IDLE, "{read} rows of events were read");
}
