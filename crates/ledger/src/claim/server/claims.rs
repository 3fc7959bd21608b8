//! What decides claims and applies journals in a process, whatever the protocol of its database.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use firstcome_core::limits::CLAIM_BATCH_MAX;

use super::mysql::MySqlClaims;
use super::postgres::PostgresClaims;
use super::record::{Recorded, Recording};
use super::{Answer, Claim, Claimer};
use crate::secrets::Keys;
use crate::server::{Address, DatabaseClock, Driver};
use crate::{Applied, ClaimError, JournalRecord, Limits, STRETCH_RECORDS_MAX, Stretch};

/// Stretches of a journal that a process applies at once.
const APPLIERS_MAX: u32 = 2;

/// What decides claims on a server.
pub(crate) struct Claims {
    claimer: ByProtocol,
    /// What applies journals, on other connections: claims do not wait for it.
    applier: ByProtocol,
    /// Claims that have come to a verdict.
    decided: Arc<AtomicU64>,
}

/// The protocol of the server.
enum ByProtocol {
    Postgres(Claimer<PostgresClaims>),
    MySql(Claimer<MySqlClaims>),
}

impl Claims {
    pub(crate) fn new(
        address: &Address,
        limits: Limits,
        keys: &Keys,
        clock: &Arc<DatabaseClock>,
    ) -> Self {
        let applying = applying(limits);
        let of = |limits, pool| match &address.driver {
            Driver::Postgres(options) => {
                let options = PostgresClaims::options(options, &limits);
                let (keys, clock) = (keys.clone(), Arc::clone(clock));
                ByProtocol::Postgres(Claimer::new(options, limits, keys, clock, pool))
            }
            Driver::MySql(options) => {
                let options = MySqlClaims::options(options);
                let (keys, clock) = (keys.clone(), Arc::clone(clock));
                ByProtocol::MySql(Claimer::new(options, limits, keys, clock, pool))
            }
        };
        Self {
            claimer: of(limits, "claim"),
            applier: of(applying, "apply"),
            decided: Arc::default(),
        }
    }

    /// The count of claims that have come to a verdict; it grows.
    pub(crate) fn decided(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.decided)
    }

    /// Tells of the connections.
    pub(crate) fn tell_connections(&self) {
        for claimer in [&self.claimer, &self.applier] {
            match claimer {
                ByProtocol::Postgres(claimer) => claimer.tell_connections(),
                ByProtocol::MySql(claimer) => claimer.tell_connections(),
            }
        }
    }

    /// Decides a batch and makes its winners durable.
    pub(crate) async fn claim(&self, batch: &[Claim]) -> Result<Vec<Answer>, ClaimError> {
        let answers = match &self.claimer {
            ByProtocol::Postgres(claimer) => claimer.claim(batch).await,
            ByProtocol::MySql(claimer) => claimer.claim(batch).await,
        }?;
        let decided = answers.iter().filter(|answer| answer.is_ok()).count();
        self.decided.fetch_add(decided as u64, Ordering::Relaxed);
        Ok(answers)
    }
}

impl Claims {
    /// Records what a decider beside the ledger has issued of different events.
    pub(crate) async fn record(
        &self,
        recordings: &[Recording<'_>],
    ) -> Vec<Result<Recorded, ClaimError>> {
        let recorded = match &self.claimer {
            ByProtocol::Postgres(claimer) => claimer.record(recordings).await,
            ByProtocol::MySql(claimer) => claimer.record(recordings).await,
        };
        let of_recorded = recordings.iter().zip(&recorded).filter(|(_, outcome)| outcome.is_ok());
        let wins: usize = of_recorded.map(|(of, _)| of.wins.len()).sum();
        self.decided.fetch_add(wins as u64, Ordering::Relaxed);
        recorded
    }

    /// Applies a stretch of a journal.
    pub(crate) async fn apply(
        &self,
        stretch: &Stretch<'_>,
        records: &[(i64, JournalRecord)],
    ) -> Result<Applied, ClaimError> {
        let applied = match &self.applier {
            ByProtocol::Postgres(applier) => applier.apply(stretch, records).await,
            ByProtocol::MySql(applier) => applier.apply(stretch, records).await,
        }?;
        self.decided.fetch_add(records.len() as u64, Ordering::Relaxed);
        Ok(applied)
    }
}

/// A stretch has so many times the rows of a batch.
fn applying(limits: Limits) -> Limits {
    let batches = u32::try_from(STRETCH_RECORDS_MAX.div_ceil(CLAIM_BATCH_MAX)).expect("few");
    let statement_timeout = limits.statement_timeout * batches;
    Limits { claimers_max: APPLIERS_MAX, statement_timeout, ..limits }
}
