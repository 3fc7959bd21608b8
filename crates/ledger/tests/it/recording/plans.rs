//! The plans of PostgreSQL, which a connection keeps: what is good for few events is for thousands.

use std::time::Duration;

use firstcome_ledger::{EventRecord, Purpose, Recorded, Tried};
use tokio::time::timeout;

use super::{next_epoch, try_record};
use crate::support::{Store, TestLedger, batch, draft};

/// Events that nobody claims; a plan that looks at all of them reads so many rows.
const IDLE: i64 = 3_000;
const WAIT_MAX: Duration = Duration::from_secs(30);

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
    assert_eq!(ledger.standings(&ids).await.expect("an answer").len(), 2);
}

/// As of a shop that opens its first events, is analyzed, and then opens thousands.
#[tokio::test]
async fn plans_for_few_events_read_no_more_of_thousands() {
    let test = TestLedger::new(Store::Postgres).await;
    let coupon = test.coupon(draft()).await;
    let event = async || test.event_of(&coupon, 99).await;
    let decided = [event().await, event().await];
    let begun = [next_epoch(&test, &event().await).await, next_epoch(&test, &event().await).await];
    let looked_at = "ALTER TABLE events SET (autovacuum_enabled = off); ANALYZE events, coupons";
    test.place().execute(looked_at).await;
    // A visitor does nothing in the background.
    let test = test.reopen(Purpose::Visit).await;
    claim_and_record(&test, 0, &decided, &begun).await;
    let more = format!(
        "INSERT INTO events (id, coupon_id, name, quantity, issued, opens_at, closes_at,
                             opened_early, paused, closed, strategy, epoch, version, created_at,
                             updated_at)
         SELECT gen_random_uuid(), coupon_id, name, quantity, 0, opens_at, closes_at,
                opened_early, paused, closed, strategy, 0, 1, created_at, updated_at
         FROM events, generate_series(1, {IDLE}) WHERE id = '{}'",
        decided[0].id
    );
    test.place().execute(&more).await;
    claim_and_record(&test, 1, &decided, &begun).await;
    let place = test.end();
    let database = place.database();
    // What a session has read is counted at its end.
    let sessions = "SELECT count(*) FROM pg_stat_activity
                    WHERE datname = current_database() AND pid <> pg_backend_pid()
                          AND application_name <> ''";
    let ended = async { while database.number(sessions).await > 0 {} };
    timeout(WAIT_MAX, ended).await.expect("the ledger's sessions end");
    let counted = |column: &str| {
        let count = format!("SELECT {column} FROM pg_stat_user_tables WHERE relname = 'events'");
        async move { database.number(&count).await }
    };
    assert!(counted("n_tup_upd").await > 10, "claims are counted");
    let read = counted("idx_tup_fetch + seq_tup_read").await;
    assert!(read < IDLE, "{read} rows of events were read");
}
