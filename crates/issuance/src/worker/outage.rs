//! What fails by itself and is tried again: told once when it begins and once when it is over, for
//! all partitions together.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::sleep;

/// How soon something is tried again, at first.
const FIRST_WAIT: Duration = Duration::from_millis(50);
/// How soon at the latest.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// The waits between tries, each twice as long as the one before, up to a bound.
#[derive(Debug)]
pub(super) struct Backoff(Duration);

impl Backoff {
    pub(super) const fn new() -> Self {
        Self(FIRST_WAIT)
    }

    /// Waits before the next try.
    pub(super) async fn wait(&mut self) {
        sleep(self.0).await;
        self.0 = (self.0 * 2).min(WAIT_MAX);
    }
}

/// One kind of failure, and who meets it.
#[derive(Debug)]
pub(super) struct Outage {
    /// What cannot be done, as the beginning of a sentence.
    what: &'static str,
    met_by: Mutex<BTreeSet<i32>>,
}

impl Outage {
    pub(super) const fn of(what: &'static str) -> Self {
        Self { what, met_by: Mutex::new(BTreeSet::new()) }
    }

    /// The task of this partition meets it.
    pub(super) fn met(&self, partition: i32, reason: &dyn Display) {
        let mut met_by = self.met_by();
        if met_by.is_empty() {
            tracing::warn!("{}, and tries until it can: {reason}", self.what);
        }
        met_by.insert(partition);
    }

    /// The task of this partition meets it no more.
    pub(super) fn over(&self, partition: i32) {
        let mut met_by = self.met_by();
        if met_by.remove(&partition) && met_by.is_empty() {
            tracing::info!("{}: that is over", self.what);
        }
    }

    /// The task of this partition ends: whether it is over, nobody knows.
    pub(super) fn left(&self, partition: i32) {
        self.met_by().remove(&partition);
    }

    fn met_by(&self) -> MutexGuard<'_, BTreeSet<i32>> {
        self.met_by.lock().expect("no panic while held")
    }
}
