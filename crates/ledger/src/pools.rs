//! What the pools of connections tell of themselves.
//!
//! sqlx tells how many connections a pool has, but to nobody how long a call waited for one: a call
//! that takes one runs within [`PoolMeter::watch`], and the pool's own hooks call [`acquired`] when
//! it has one.

use std::cell::Cell;
use std::sync::Arc;

use sea_orm::{DatabaseConnection, DbBackend};
use tokio::time::Instant;

use crate::metrics::{PoolMetrics, as_gauge};
use crate::{Engine, Ledger};

tokio::task_local! {
    /// The call of this task that takes a connection.
    static WAIT: Wait;
}

/// Measures the calls that take a connection of one pool; cheap to clone.
#[derive(Clone)]
pub(crate) struct PoolMeter {
    metrics: Arc<PoolMetrics>,
}

/// Connections of a pool at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Connections {
    pub(crate) in_use: usize,
    pub(crate) idle: usize,
    pub(crate) max: usize,
}

impl std::fmt::Debug for PoolMeter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PoolMeter")
    }
}

impl PoolMeter {
    /// The meter of the pool with this name. The metrics' recorder must be installed by then.
    pub(crate) fn new(pool: &'static str) -> Self {
        Self { metrics: Arc::new(PoolMetrics::new(pool)) }
    }

    /// Runs a call that takes a connection.
    pub(crate) async fn watch<T, E>(
        &self,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let wait = Wait::begin(Arc::clone(&self.metrics));
        let watched = async {
            let outcome = call.await;
            (outcome, WAIT.with(|wait| wait.since.get().is_some()))
        };
        let (outcome, still_waits) = WAIT.scope(wait, watched).await;
        if outcome.is_err() && still_waits {
            self.metrics.failures.increment(1);
        }
        outcome
    }

    /// Tells of the pool's connections.
    pub(crate) fn tell(&self, connections: Connections) {
        let Connections { in_use, idle, max } = connections;
        self.metrics.in_use.set(as_gauge(in_use));
        self.metrics.idle.set(as_gauge(idle));
        self.metrics.max.set(as_gauge(max));
    }
}

/// The call of this task, if one is watched, has its connection.
pub(crate) fn acquired() {
    // Connections of no pool that is watched have the same hooks.
    WAIT.try_with(Wait::end).ok();
}

/// A call from its beginning until it has a connection, or has none.
struct Wait {
    metrics: Arc<PoolMetrics>,
    /// None when it has one.
    since: Cell<Option<Instant>>,
}

impl Wait {
    fn begin(metrics: Arc<PoolMetrics>) -> Self {
        metrics.waiting.increment(1.0);
        Self { metrics, since: Cell::new(Some(Instant::now())) }
    }

    fn end(&self) {
        if let Some(since) = self.since.take() {
            self.metrics.waiting.decrement(1.0);
            self.metrics.acquire.record(since.elapsed());
        }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        if self.since.take().is_some() {
            self.metrics.waiting.decrement(1.0);
        }
    }
}

/// Size, idle connections and bound of a pool of whichever driver.
macro_rules! sizes {
    ($pool:expr) => {{
        let pool = $pool;
        (pool.size(), pool.num_idle(), pool.options().get_max_connections())
    }};
}

/// The connections of a pool.
pub(crate) fn connections(db: &DatabaseConnection) -> Connections {
    let (size, idle, max) = match db.get_database_backend() {
        DbBackend::Postgres => sizes!(db.get_postgres_connection_pool()),
        DbBackend::MySql => sizes!(db.get_mysql_connection_pool()),
        _ => sizes!(db.get_sqlite_connection_pool()),
    };
    Connections { in_use: (size as usize).saturating_sub(idle), idle, max: max as usize }
}

impl Ledger {
    /// Sets the gauges of the connections to what is so now: for whoever is about to show them.
    pub fn tell_connections(&self) {
        match &self.inner.engine {
            Engine::Embedded(embedded) => embedded.tell_connections(),
            Engine::Server(server) => server.tell_connections(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    /// What a meter has counted after some work, one a line.
    fn told(work: impl AsyncFnOnce(&PoolMeter)) -> String {
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(work(&PoolMeter::new("read")));
        });
        recorder.handle().render()
    }

    fn check(told: &str, waiting: u32, acquired: u32, failures: u32) {
        for line in [
            format!("firstcome_ledger_waiting_calls{{pool=\"read\"}} {waiting}"),
            format!("firstcome_ledger_acquire_seconds_count{{pool=\"read\"}} {acquired}"),
            format!("firstcome_ledger_acquire_failures_total{{pool=\"read\"}} {failures}"),
        ] {
            assert!(told.lines().any(|found| found == line), "{line} in:\n{told}");
        }
    }

    #[test]
    fn a_call_waits_until_it_has_a_connection() {
        let told = told(async |meter| {
            let call = async {
                acquired();
                // A transaction's later statements take none.
                acquired();
                Err::<(), _>("the statement failed")
            };
            assert!(meter.watch(call).await.is_err());
        });
        check(&told, 0, 1, 0);
    }

    #[test]
    fn a_call_that_never_has_one_has_failed() {
        let told = told(async |meter| {
            assert!(meter.watch(async { Err::<(), _>("timed out") }).await.is_err());
        });
        check(&told, 0, 0, 1);
    }

    #[test]
    fn a_caller_that_goes_away_waits_no_longer() {
        let told = told(async |meter| {
            let begin = || {
                let mut call = Box::pin(meter.watch(std::future::pending::<Result<(), ()>>()));
                assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
                call
            };
            let (gone, waiting) = (begin(), begin());
            drop(gone);
            // Whatever is told is told while it waits.
            std::mem::forget(waiting);
        });
        check(&told, 1, 0, 0);
    }

    #[test]
    fn hooks_of_a_pool_that_nobody_watches_do_nothing() {
        acquired();
    }
}
