//! What is measured of rebuilding events, and of wins that Redis alone has, declared once.

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, counter, describe_counter, describe_gauge};
use metrics::{describe_histogram, gauge, histogram};

const SYNCS: &str = "firstcome_syncs_total";
const RUNNING: &str = "firstcome_syncs_running";
const WINNERS: &str = "firstcome_sync_winners_total";
const SYNC: &str = "firstcome_sync_seconds";
const PENDING_WINS: &str = "firstcome_worker_pending_wins";
const PENDING_AGE: &str = "firstcome_worker_pending_age_seconds";

/// Handles of the metrics.
pub(super) struct Metrics {
    rebuilt: Counter,
    failed: Counter,
    /// Events that are being rebuilt.
    pub(super) running: Gauge,
    /// Winners that were copied to Redis.
    pub(super) winners: Counter,
    took: Histogram,
}

impl Metrics {
    /// Declares the metrics. The recorder must be installed by then.
    pub(super) fn declare() -> Self {
        describe_counter!(SYNCS, "Events that Redis was to know again, by what became of them.");
        describe_gauge!(RUNNING, "Events that are being rebuilt in Redis now.");
        describe_counter!(WINNERS, "Winners that were copied from the ledger to Redis.");
        describe_histogram!(
            SYNC,
            metrics::Unit::Seconds,
            "Time from taking an event in Redis until it is decided there again."
        );
        describe_gauge!(
            PENDING_WINS,
            "Wins that Redis alone has, which no worker has written to the ledger yet."
        );
        describe_gauge!(
            PENDING_AGE,
            metrics::Unit::Seconds,
            "Time since the oldest of these wins was decided."
        );
        let syncs = |outcome: &'static str| counter!(SYNCS, "outcome" => outcome);
        Self {
            rebuilt: syncs("rebuilt"),
            failed: syncs("failed"),
            running: gauge!(RUNNING),
            winners: counter!(WINNERS),
            took: histogram!(SYNC),
        }
    }

    pub(super) fn rebuilt(&self, took: Duration) {
        self.rebuilt.increment(1);
        self.took.record(took);
    }

    pub(super) fn failed(&self) {
        self.failed.increment(1);
    }

    /// So many wins wait for a worker, the oldest for so long. Who has not looked tells nothing.
    pub(super) fn pending(wins: usize, age: Duration) {
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
        gauge!(PENDING_WINS).set(wins as f64);
        gauge!(PENDING_AGE).set(age.as_secs_f64());
    }
}
