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
//! module for each resource, `epochs` and `journal` (what deciders beside the ledger go by, and
//! their wins), `entity` and `migration`, `holders` (what is found over all events),
//! `changes` (the trail of admins' changes), `idempotency` (calls that are made once), `erasure`
//! (of a user), `copy` (from one database to another).

mod accounts;
mod audit;
mod changes;
mod claim;
mod clients;
mod copy;
mod coupons;
mod embedded;
mod entity;
mod epochs;
mod erasure;
mod error;
mod events;
mod holders;
mod idempotency;
mod in_time;
mod issued;
mod journal;
mod metrics;
mod migration;
mod open;
mod pools;
mod promised;
mod records;
mod redemptions;
mod secrets;
mod server;
mod sessions;
mod write;

use std::sync::Arc;

use firstcome_core::Clock;
use sea_orm::DatabaseConnection;

use embedded::Embedded;
use idempotency::KeysAtWork;
use in_time::InTime;
use secrets::Keys;
use server::Server;

pub use accounts::{AccountRecord, EmailTaken, NewAccount, PasswordHash};
pub use audit::{AuditCheck, AuditRecord};
pub use changes::{By, ChangeQuery, ChangeRecord, Resource};
pub use claim::{Answer, Claim, Decision, NotRecorded, Recorded, Recording, Told, Tried, Won};
pub use clients::{ClientRecord, NewClient};
pub use copy::{CopiedTable, CopyProgress, CopyReport};
pub use epochs::{Standing, Winner};
pub use error::{ClaimError, DecidedElsewhere, LedgerError};
pub use events::{EventQuery, NewEvent};
pub use idempotency::{Made, Once, OnceKey};
pub use issued::{IssuedPlace, IssuedQuery};
pub use journal::{
    Applied, JournalRecord, JournalWin, STRETCH_RECORDS_MAX, SkippedRecord, Stretch, Unappliable,
};
pub use metrics::describe_metrics;
pub use open::{LedgerOptions, Limits, Purpose, ServerClock};
pub use promised::{CatchUp, Promised};
pub use records::{CouponRecord, EventRecord, IssuedCouponRecord, SyncProgress};
pub use sessions::{NewSession, Rotation, SessionRecord, ShownToken};

/// A handle of the ledger; cheap to clone.
#[derive(Clone)]
pub struct Ledger {
    inner: Arc<Inner>,
    /// Whose changes the trail tells.
    by: Option<Arc<By>>,
}

struct Inner {
    engine: Engine,
    keys: Keys,
    /// The decider's clock, as this process knows it.
    clock: Arc<dyn Clock>,
    keys_at_work: KeysAtWork,
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
