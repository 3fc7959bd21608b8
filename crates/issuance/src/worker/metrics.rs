//! What is measured of the worker, declared once.

use std::time::Duration;

use firstcome_ledger::Applied;
use metrics::{Counter, Gauge, Histogram, counter, describe_counter, describe_gauge};
use metrics::{describe_histogram, gauge, histogram};

const LAG: &str = "firstcome_worker_lag_records";
const APPLIED: &str = "firstcome_worker_applied_total";
const STOPPED: &str = "firstcome_worker_stopped";
const SECONDS: &str = "firstcome_worker_apply_seconds";
const WATCHDOG: &str = "firstcome_worker_watchdog_total";

/// Handles of the metrics, made once.
#[derive(Debug)]
pub(super) struct Metrics {
    written: Counter,
    known: Counter,
    void: Counter,
    seconds: Histogram,
    /// Readers that were made anew, because they had stopped without a word.
    pub(super) silent_readers: Counter,
    /// Tasks that were made anew, because they had ended by a fault of ours.
    pub(super) ended_tasks: Counter,
    /// Times that a partition was found that nobody works on.
    pub(super) idle_partitions: Counter,
}

/// While it lives, a partition stands.
#[derive(Debug)]
pub(super) struct Stands(Gauge);

impl Metrics {
    /// Declares the metrics. The recorder must be installed by then.
    pub(super) fn declare() -> Self {
        describe_gauge!(
            LAG,
            "Records of a partition that are not applied to the ledger yet, by any worker."
        );
        describe_counter!(
            APPLIED,
            "Wins that were applied, by what became of them: written, known (were in the ledger \
             already), or void (of an older epoch; nobody was told of them)."
        );
        describe_gauge!(
            STOPPED,
            "1 while a record of the partition stops it, until an operator sees to it."
        );
        describe_histogram!(
            SECONDS,
            metrics::Unit::Seconds,
            "Time of one transaction that applied a stretch of a partition."
        );
        describe_counter!(
            WATCHDOG,
            "What had stopped without a word: a reader or a task (made anew), or a partition that \
             no worker works on."
        );
        let applied = |outcome: &'static str| counter!(APPLIED, "outcome" => outcome);
        let watchdog = |found: &'static str| counter!(WATCHDOG, "found" => found);
        Self {
            written: applied("written"),
            known: applied("known"),
            void: applied("void"),
            seconds: histogram!(SECONDS),
            silent_readers: watchdog("reader"),
            ended_tasks: watchdog("task"),
            idle_partitions: watchdog("partition"),
        }
    }

    pub(super) fn applied(&self, applied: &Applied, took: Duration) {
        if let Applied::Done { written, known, void } = applied {
            self.written.increment(u64::from(*written));
            self.known.increment(u64::from(*known));
            self.void.increment(u64::from(*void));
            self.seconds.record(took);
        }
    }

    /// So many records of a partition wait.
    #[expect(clippy::unused_self, reason = "declared before it is used")]
    pub(super) fn lag(&self, partition: i32, records: i64) {
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
        gauge!(LAG, "partition" => partition.to_string()).set(records as f64);
    }

    /// A partition is worked on.
    #[expect(clippy::unused_self, reason = "declared before it is used")]
    pub(super) fn works(&self, partition: i32) {
        gauge!(STOPPED, "partition" => partition.to_string()).set(0);
    }

    /// A partition stands, until the value is dropped.
    #[expect(clippy::unused_self, reason = "declared before it is used")]
    pub(super) fn stands(&self, partition: i32) -> Stands {
        let gauge = gauge!(STOPPED, "partition" => partition.to_string());
        gauge.set(1);
        Stands(gauge)
    }
}

impl Drop for Stands {
    fn drop(&mut self) {
        self.0.set(0);
    }
}
