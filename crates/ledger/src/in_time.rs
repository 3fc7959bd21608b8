//! Statements that end in time, whatever becomes of the database or of the network to it.

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, ExecResult,
    QueryResult, RuntimeErr, Statement, TransactionTrait,
};
use tokio::time::{Instant, timeout};

use crate::pools::PoolMeter;

/// Longest that a statement may take, and what follows when it takes longer.
#[derive(Debug, Clone)]
pub(crate) struct Limit {
    pub(crate) timeout: Duration,
    pub(crate) trouble: Trouble,
}

/// When statements did not end in time: a connection that is given back then may be one that
/// still waits for its answer, or that nobody will answer any more.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trouble(Arc<Mutex<Option<Instant>>>);

/// How long connections are suspect after a statement that did not end in time.
const SUSPECT: Duration = Duration::from_secs(1);

impl Trouble {
    fn arise(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Whether a connection that is given back now must not be used again.
    pub(crate) fn is_near(&self) -> bool {
        let arisen = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        arisen.is_some_and(|arisen| arisen.elapsed() < SUSPECT)
    }
}

impl Limit {
    /// What the work answers, or that it did not in time.
    async fn hold<T>(&self, work: impl Future<Output = Result<T, DbErr>>) -> Result<T, DbErr> {
        // The connection goes back when the work is dropped: trouble must be known by then.
        let mut work = pin!(work);
        match timeout(self.timeout, &mut work).await {
            Ok(outcome) => outcome,
            Err(_) => {
                self.trouble.arise();
                let late = format!("no answer within {} ms", self.timeout.as_millis());
                Err(DbErr::Conn(RuntimeErr::Internal(late)))
            }
        }
    }
}

/// A connection, a pool or a transaction whose statements end in time.
#[derive(Debug, Clone)]
pub(crate) struct InTime<C> {
    inner: C,
    /// None for a database within the process, which no network cuts off.
    limit: Option<Limit>,
    /// Of a pool whose calls are measured.
    meter: Option<PoolMeter>,
}

impl<C> InTime<C> {
    /// Without a limit.
    pub(crate) const fn unbounded(inner: C) -> Self {
        Self { inner, limit: None, meter: None }
    }

    /// With a limit for each statement.
    pub(crate) const fn within(inner: C, limit: Limit) -> Self {
        Self { inner, limit: Some(limit), meter: None }
    }

    pub(crate) const fn inner(&self) -> &C {
        &self.inner
    }

    /// The same, its calls measured.
    pub(crate) fn measured(self, meter: PoolMeter) -> Self {
        Self { meter: Some(meter), ..self }
    }

    async fn hold<T>(&self, work: impl Future<Output = Result<T, DbErr>>) -> Result<T, DbErr> {
        match &self.meter {
            Some(meter) => meter.watch(self.hold_unmeasured(work)).await,
            None => self.hold_unmeasured(work).await,
        }
    }

    async fn hold_unmeasured<T>(
        &self,
        work: impl Future<Output = Result<T, DbErr>>,
    ) -> Result<T, DbErr> {
        match &self.limit {
            Some(limit) => limit.hold(work).await,
            None => work.await,
        }
    }
}

impl InTime<DatabaseConnection> {
    /// Begins a transaction with the same limit.
    pub(crate) async fn begin(&self) -> Result<InTime<DatabaseTransaction>, DbErr> {
        let inner = self.hold(self.inner.begin()).await?;
        Ok(InTime { inner, limit: self.limit.clone(), meter: None })
    }

    /// Tells of the pool's connections, where it is measured.
    pub(crate) fn tell_connections(&self) {
        if let Some(meter) = &self.meter {
            meter.tell(crate::pools::connections(&self.inner));
        }
    }
}

impl InTime<DatabaseTransaction> {
    /// Commits. After an error it is not known whether it took effect.
    pub(crate) async fn commit(self) -> Result<(), DbErr> {
        let Self { inner, limit, meter: _ } = self;
        match limit {
            Some(limit) => limit.hold(inner.commit()).await,
            None => inner.commit().await,
        }
    }
}

#[async_trait::async_trait]
impl<C: ConnectionTrait> ConnectionTrait for InTime<C> {
    fn get_database_backend(&self) -> DbBackend {
        self.inner.get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.hold(self.inner.execute_raw(statement)).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.hold(self.inner.execute_unprepared(sql)).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.hold(self.inner.query_one_raw(statement)).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.hold(self.inner.query_all_raw(statement)).await
    }

    fn support_returning(&self) -> bool {
        self.inner.support_returning()
    }
}
