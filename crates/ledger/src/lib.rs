//! The ledger: the SQL system of record, and the only crate that speaks SQL.
//!
//! Invariants:
//! - what the rules promise the tables enforce once more: one issued coupon for each user of an
//!   event and for each sequence, never more issued than the quantity, one redemption for each
//!   order;
//! - a claim that was answered as won is durable: on the disk before the answer;
//! - a change of an event lies between two batches of claims, never within: in the embedded
//!   ledger writers take turns, on a server they lock the event's row;
//! - a read of issued coupons sees every won claim.
//!
//! Modules in reading order: `records` (what callers see), `open`, `embedded` and `server` (what
//! keeps the rows), `pools` (what their connections tell), `write`, `claim` (the hot path), one
//! module for each resource, `entity` and `migration`, `holders` (what is found over all events),
//! `copy` (from one database to another).

mod accounts;
mod audit;
mod claim;
mod copy;
mod coupons;
mod embedded;
mod entity;
mod error;
mod events;
mod holders;
mod in_time;
mod issued;
mod metrics;
mod migration;
mod open;
mod pools;
mod records;
mod redemptions;
mod secrets;
mod server;
mod write;

use std::sync::Arc;

use firstcome_core::{Clock, CodeKey};
use sea_orm::DatabaseConnection;

use embedded::Embedded;
use in_time::InTime;
use server::Server;

pub use accounts::{
    AccountRecord, EmailTaken, NewAccount, NewSession, PasswordHash, SessionRecord,
};
pub use audit::{AuditCheck, AuditRecord};
pub use claim::{Claim, Decision};
pub use copy::{CopiedTable, CopyProgress, CopyReport};
pub use error::{ClaimError, LedgerError};
pub use events::{EventQuery, NewEvent};
pub use issued::{IssuedPlace, IssuedQuery};
pub use metrics::describe_metrics;
pub use open::{LedgerOptions, Limits, Purpose, ServerClock};
pub use records::{CouponRecord, EventRecord, IssuedCouponRecord};

/// A handle of the ledger; cheap to clone.
#[derive(Clone)]
pub struct Ledger {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Engine,
    code_key: CodeKey,
    /// The decider's clock, as this process knows it.
    clock: Arc<dyn Clock>,
}

/// What keeps the rows.
enum Engine {
    /// SQLite, within the process.
    Embedded(Arc<Embedded>),
    /// PostgreSQL, MySQL or MariaDB.
    Server(Box<Server>),
}

impl Ledger {
    /// Where reads go.
    pub(crate) fn reader(&self) -> &InTime<DatabaseConnection> {
        match &self.inner.engine {
            Engine::Embedded(embedded) => &embedded.reader,
            Engine::Server(server) => server.reader(),
        }
    }

    /// The decider's clock: the database server's as far as this process knows it, or the
    /// process's own.
    #[must_use]
    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.inner.clock)
    }

    /// Whether other processes may decide claims of the same events.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        matches!(self.inner.engine, Engine::Server(_))
    }

    /// Runs a write to its end even if the caller goes away.
    pub(crate) async fn spawn<T: Send + 'static>(
        &self,
        write: impl Future<Output = Result<T, LedgerError>> + Send + 'static,
    ) -> Result<T, LedgerError> {
        tokio::spawn(write).await.unwrap_or(Err(LedgerError::Closing))
    }
}
