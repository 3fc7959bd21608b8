//! What the ledger tells of its work.

use metrics::{Counter, Gauge, Histogram, Unit, counter, gauge, histogram};
use metrics::{describe_counter, describe_gauge, describe_histogram};

const COMMIT: &str = "firstcome_ledger_commit_seconds";
const SETTLE: &str = "firstcome_ledger_settle_seconds";
const UNSETTLED: &str = "firstcome_ledger_unsettled_winners";
const CONNECTIONS: &str = "firstcome_ledger_connections";
const CONNECTIONS_MAX: &str = "firstcome_ledger_connections_max";
const WAITING: &str = "firstcome_ledger_waiting_calls";
const ACQUIRE: &str = "firstcome_ledger_acquire_seconds";
const FAILURES: &str = "firstcome_ledger_acquire_failures_total";

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

/// The handles of one pool of connections, made once.
pub(crate) struct PoolMetrics {
    /// Connections that do something.
    pub(crate) in_use: Gauge,
    /// Connections that wait for a call.
    pub(crate) idle: Gauge,
    /// The most connections there may be.
    pub(crate) max: Gauge,
    /// Calls that wait for a connection.
    pub(crate) waiting: Gauge,
    /// How long those waited that got one.
    pub(crate) acquire: Histogram,
    /// Calls that got none.
    pub(crate) failures: Counter,
}

impl PoolMetrics {
    pub(crate) fn new(pool: &'static str) -> Self {
        Self {
            in_use: gauge!(CONNECTIONS, "pool" => pool, "state" => "in_use"),
            idle: gauge!(CONNECTIONS, "pool" => pool, "state" => "idle"),
            max: gauge!(CONNECTIONS_MAX, "pool" => pool),
            waiting: gauge!(WAITING, "pool" => pool),
            acquire: histogram!(ACQUIRE, "pool" => pool),
            failures: counter!(FAILURES, "pool" => pool),
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
    describe_gauge!(CONNECTIONS, "Connections to the ledger's database, by what they are at.");
    describe_gauge!(CONNECTIONS_MAX, "The most connections that a pool may have.");
    describe_gauge!(WAITING, "Calls that wait for a connection.");
    describe_histogram!(
        ACQUIRE,
        Unit::Seconds,
        "Time that a call waited for a connection, with the making of a new one."
    );
    describe_counter!(FAILURES, "Calls that got no connection, in time or at all.");
}

/// A count as a gauge shows it; exact up to 2^53.
pub(crate) fn as_gauge(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}
