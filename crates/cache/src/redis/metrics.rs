//! What is measured of the calls to Redis, declared once.

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, counter, describe_counter, describe_gauge};
use metrics::{describe_histogram, gauge, histogram};

use super::RedisError;

const CALLS: &str = "firstcome_redis_calls_total";
const SECONDS: &str = "firstcome_redis_call_seconds";
const BREAKER: &str = "firstcome_redis_breaker_open";

/// Handles of the metrics, made once.
pub(super) struct Metrics {
    ok: Counter,
    unavailable: Counter,
    in_doubt: Counter,
    refused: Counter,
    rejected: Counter,
    seconds: Histogram,
    /// 1 while calls fail at once.
    pub(super) breaker: Gauge,
}

impl Metrics {
    /// Declares the metrics of the calls for this use. The recorder must be installed by then.
    pub(super) fn declare(used_for: &'static str) -> Self {
        describe_counter!(
            CALLS,
            "Calls to Redis by what they are for and by outcome: ok, unavailable (not sent), \
             in_doubt (no answer in time), refused (by a setting or state), rejected (other \
             errors)."
        );
        describe_histogram!(
            SECONDS,
            metrics::Unit::Seconds,
            "Time of a call to Redis, the wait for a connection included."
        );
        describe_gauge!(
            BREAKER,
            "1 while calls to Redis, or a node of it, fail at once because it does not answer."
        );
        let metrics = Self {
            ok: calls(used_for, "ok"),
            unavailable: calls(used_for, "unavailable"),
            in_doubt: calls(used_for, "in_doubt"),
            refused: calls(used_for, "refused"),
            rejected: calls(used_for, "rejected"),
            seconds: histogram!(SECONDS, "use" => used_for),
            breaker: gauge!(BREAKER, "use" => used_for),
        };
        metrics.breaker.set(0);
        metrics
    }

    /// A call has ended.
    pub(super) fn ended(&self, failure: Option<&RedisError>, took: Duration) {
        let counter = match failure {
            None => &self.ok,
            Some(RedisError::Unavailable(_)) => &self.unavailable,
            Some(RedisError::InDoubt(_)) => &self.in_doubt,
            Some(RedisError::Refused { .. }) => &self.refused,
            Some(RedisError::Rejected(_)) => &self.rejected,
        };
        counter.increment(1);
        self.seconds.record(took);
    }

    /// A call was not made: the breaker is open.
    pub(super) fn failed_at_once(&self) {
        self.unavailable.increment(1);
    }
}

/// Calls with this outcome.
fn calls(used_for: &'static str, outcome: &'static str) -> Counter {
    counter!(CALLS, "use" => used_for, "outcome" => outcome)
}
