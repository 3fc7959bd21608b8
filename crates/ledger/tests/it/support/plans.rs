//! How much PostgreSQL reads by the plans that a connection keeps: what is good for few rows is
//! kept for thousands.

use std::time::Duration;

use firstcome_ledger::{EventRecord, Purpose};
use tokio::time::timeout;

use super::{Place, TestLedger};

/// Rows that nobody asks for; a plan that looks at all of them reads so many.
pub(crate) const IDLE: i64 = 3_000;
const WAIT_MAX: Duration = Duration::from_secs(30);

/// Has PostgreSQL look at its tables for the last time, and nothing be done in the background: what
/// it has seen is few.
pub(crate) async fn with_few(test: TestLedger) -> TestLedger {
    let looked_at = "
        ALTER TABLE events SET (autovacuum_enabled = off);
        ALTER TABLE issued_coupons SET (autovacuum_enabled = off);
        ANALYZE events, coupons, issued_coupons";
    test.place().execute(looked_at).await;
    test.reopen(Purpose::Visit).await
}

/// Adds events like this one, which nobody claims.
pub(crate) async fn add_events(test: &TestLedger, like: &EventRecord) {
    let more = format!(
        "INSERT INTO events (id, coupon_id, name, quantity, issued, opens_at, closes_at,
                             opened_early, paused, closed, strategy, epoch, version, created_at,
                             updated_at)
         SELECT gen_random_uuid(), coupon_id, name, quantity, 0, opens_at, closes_at,
                opened_early, paused, closed, strategy, 0, 1, created_at, updated_at
         FROM events, generate_series(1, {IDLE}) WHERE id = '{}'",
        like.id
    );
    test.place().execute(&more).await;
}

/// Adds winners of this event, the highest places of it, whom nobody looks for.
pub(crate) async fn add_winners(test: &TestLedger, event: &EventRecord) {
    let more = format!(
        "INSERT INTO issued_coupons
                (event_no, sequence, id, user_id, issued_at, valid_from, expires_at)
         SELECT no, 1000 + n, gen_random_uuid(), 'idle-' || n, opens_at, opens_at, closes_at
         FROM events, generate_series(1, {IDLE}) AS n WHERE id = '{}'",
        event.id
    );
    test.place().execute(&more).await;
}

/// What the sessions of a ledger have done, which is counted at their end.
pub(crate) struct Done(Place);

impl Done {
    pub(crate) async fn by(test: TestLedger) -> Self {
        let place = test.end();
        let sessions = "SELECT count(*) FROM pg_stat_activity
                        WHERE datname = current_database() AND pid <> pg_backend_pid()
                              AND application_name <> ''";
        let ended = async { while place.database().number(sessions).await > 0 {} };
        timeout(WAIT_MAX, ended).await.expect("the ledger's sessions end");
        Self(place)
    }

    /// The sum of these counters of a table.
    pub(crate) async fn counted(&self, table: &str, counters: &str) -> i64 {
        let count = format!("SELECT {counters} FROM pg_stat_user_tables WHERE relname = '{table}'");
        self.0.database().number(&count).await
    }

    /// How many rows of a table were read.
    pub(crate) async fn read_of(&self, table: &str) -> i64 {
        self.counted(table, "idx_tup_fetch + seq_tup_read").await
    }
}
