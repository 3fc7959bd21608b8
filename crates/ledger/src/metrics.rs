//! What the ledger tells of its work.

use metrics::{Gauge, Histogram, Unit, describe_gauge, describe_histogram, gauge, histogram};

const COMMIT: &str = "firstcome_ledger_commit_seconds";
const SETTLE: &str = "firstcome_ledger_settle_seconds";
const UNSETTLED: &str = "firstcome_ledger_unsettled_winners";

/// The handles, made once.
pub(crate) struct Metrics {
    pub(crate) commit: Histogram,
    pub(crate) settle: Histogram,
    pub(crate) unsettled: Gauge,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        Self {
            commit: histogram!(COMMIT),
            settle: histogram!(SETTLE),
            unsettled: gauge!(UNSETTLED),
        }
    }
}

/// Gives every metric its help text. Call it once, after a recorder is installed.
pub fn describe_metrics() {
    describe_histogram!(
        COMMIT,
        Unit::Seconds,
        "Time that a batch with winners took to become durable, fsync included."
    );
    describe_histogram!(
        SETTLE,
        Unit::Seconds,
        "Time of one step that moved winners from the journal to the tables, or listed them by \
         holder."
    );
    describe_gauge!(
        UNSETTLED,
        "Winners that are durable in the journal and not yet in the tables."
    );
}

/// A count as a gauge shows it; exact up to 2^53.
pub(crate) fn as_gauge(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}
