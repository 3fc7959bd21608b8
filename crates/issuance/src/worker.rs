//! The worker: applies the journal to the ledger.
//!
//! Each partition of its share has a task, which reads from where the ledger stands and applies
//! what comes, in one transaction for as much as has come. Nothing but the ledger knows how far
//! that is: a worker may end at any moment, and two may work on one partition.
//!
//! Invariants:
//! - every record is applied once and in order, or the partition stands: nothing is passed over but
//!   by an operator's word, and other partitions go on;
//! - what fails by itself is tried again for as long as it fails, and said once;
//! - a task ends only with its partition, and within its batch.
//!
//! Modules in reading order: `share` (a task for each partition), `partition` (its work), `lag`
//! (what waits, and whether somebody works), [`judge`] (why a record cannot be applied), `outage`,
//! `metrics`.

pub mod judge;
mod lag;
mod metrics;
mod outage;
mod partition;
mod share;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use firstcome_ledger::Ledger;
use firstcome_tasks::anew;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::journal::Journal;
use metrics::Metrics;
use outage::Outage;

/// What runs: keep it until the process stops, then [shut it down](Worker::shutdown). Dropping it
/// ends it in the middle of whatever it does, which loses nothing.
#[derive(Debug)]
pub struct Worker {
    stop: CancellationToken,
    running: JoinHandle<()>,
}

/// A batch did not end in time; the next worker finds out what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the worker did not end in time")]
pub struct NotStopped;

/// What all tasks share.
struct Work {
    ledger: Ledger,
    journal: Journal,
    metrics: Metrics,
    kafka_outage: Outage,
    ledger_outage: Outage,
}

impl Worker {
    /// Starts to apply this process's share of the journal, as soon as Kafka and the ledger answer.
    /// Within a tokio runtime, after the metrics' recorder was installed.
    #[must_use]
    pub fn start(ledger: Ledger, journal: Journal) -> Self {
        let stop = CancellationToken::new();
        let work = Arc::new(Work::new(ledger, journal));
        let running = tokio::spawn({
            let stop = stop.clone();
            anew(move || share::keep(Arc::clone(&work), stop.clone()))
        });
        Self { stop, running }
    }

    /// Ends the batches that are under way, then leaves the group, so that others take over.
    ///
    /// # Errors
    /// [`NotStopped`] when that takes longer than the deadline.
    pub async fn shutdown(mut self, deadline: Duration) -> Result<(), NotStopped> {
        self.stop.cancel();
        match timeout(deadline, &mut self.running).await {
            Ok(_) => Ok(()),
            Err(_) => Err(NotStopped),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl Work {
    fn new(ledger: Ledger, journal: Journal) -> Self {
        let kafka_outage = Outage::of("the worker cannot read from Kafka");
        let ledger_outage = Outage::of("the worker cannot write to the ledger");
        Self { ledger, journal, metrics: Metrics::declare(), kafka_outage, ledger_outage }
    }
}
