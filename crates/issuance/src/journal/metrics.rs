//! What is measured of the journal, declared once.

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, counter, describe_counter, describe_gauge};
use metrics::{describe_histogram, gauge, histogram};

use super::AppendError;

const BATCHES: &str = "firstcome_journal_batches_total";
const RECORDS: &str = "firstcome_journal_records_total";
const SECONDS: &str = "firstcome_journal_append_seconds";
const REACHABLE: &str = "firstcome_journal_reachable";

/// Handles of the metrics, made once.
pub(super) struct Metrics {
    written: Outcome,
    not_sent: Outcome,
    in_doubt: Outcome,
    seconds: Histogram,
    /// 0 while no broker is connected.
    pub(super) reachable: Gauge,
}

struct Outcome {
    batches: Counter,
    records: Counter,
}

impl Metrics {
    /// Declares the metrics. The recorder must be installed by then.
    pub(super) fn declare() -> Self {
        describe_counter!(
            BATCHES,
            "Batches of won claims, and fences of rebuilds, by what became of them: written \
             (acknowledged by Kafka), not_sent, or in_doubt (perhaps written)."
        );
        describe_counter!(RECORDS, "Records in these batches: won claims and fences.");
        describe_histogram!(
            SECONDS,
            metrics::Unit::Seconds,
            "Time from handing a batch to Kafka until all of it was acknowledged."
        );
        describe_gauge!(REACHABLE, "0 from when every broker is lost until one answers, 1 else.");
        let reachable = gauge!(REACHABLE);
        // Who never calls meets no failure either.
        reachable.set(1);
        Self {
            written: outcome("written"),
            not_sent: outcome("not_sent"),
            in_doubt: outcome("in_doubt"),
            seconds: histogram!(SECONDS),
            reachable,
        }
    }

    pub(super) fn appended(
        &self,
        records: usize,
        outcome: &Result<Option<i64>, AppendError>,
        took: Duration,
    ) {
        let counted = match outcome {
            Ok(_) => &self.written,
            Err(AppendError::NotSent(_)) => &self.not_sent,
            Err(AppendError::InDoubt(_)) => &self.in_doubt,
        };
        counted.batches.increment(1);
        counted.records.increment(u64::try_from(records).unwrap_or(u64::MAX));
        if outcome.is_ok() {
            self.seconds.record(took);
        }
    }
}

fn outcome(outcome: &'static str) -> Outcome {
    Outcome {
        batches: counter!(BATCHES, "outcome" => outcome),
        records: counter!(RECORDS, "outcome" => outcome),
    }
}
