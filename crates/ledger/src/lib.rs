//! The ledger: the SQL system of record, and the only crate that speaks SQL.
//!
//! Invariants:
//! - what the rules promise the tables enforce once more: one issued coupon for each user of an
//!   event and for each sequence, never more issued than the quantity, one redemption for each
//!   order;
//! - a claim that was answered as won is durable: on the disk before the answer;
//! - writers take turns: a change of an event lies between two batches of claims, never within;
//! - a read of issued coupons sees every won claim.
//!
//! Modules in reading order: `records` (what callers see), `open`, `write` (taking turns),
//! `claim` (the hot path), one module for each resource, `entity` and `migration`.

mod accounts;
mod audit;
mod claim;
mod coupons;
mod entity;
mod error;
mod events;
mod issued;
mod metrics;
mod migration;
mod open;
mod records;
mod redemptions;
mod secrets;
mod write;

use std::path::PathBuf;
use std::sync::Arc;

use firstcome_core::{Clock, CodeKey};
use sea_orm::DatabaseConnection;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use claim::sqlite::{ClaimWriter, IssuedLive};

pub use accounts::{
    AccountRecord, EmailTaken, NewAccount, NewSession, PasswordHash, SessionRecord,
};
pub use audit::{AuditCheck, AuditRecord};
pub use claim::{Claim, Decision};
pub use error::{ClaimError, LedgerError};
pub use events::{EventQuery, NewEvent};
pub use issued::{IssuedPlace, IssuedQuery};
pub use metrics::describe_metrics;
pub use open::{LedgerOptions, Purpose};
pub use records::{CouponRecord, EventRecord, IssuedCouponRecord};

/// A handle of the ledger; cheap to clone.
#[derive(Clone)]
pub struct Ledger {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    /// Connections that cannot write.
    reader: DatabaseConnection,
    /// The one connection that writes beside the claims; used within a turn only.
    writer: DatabaseConnection,
    /// The writers' turn, in the order of asking. Who holds it may write; it guards the memory of
    /// the claims as well.
    turn: Arc<Mutex<ClaimWriter>>,
    issued_live: IssuedLive,
    code_key: CodeKey,
    clock: Arc<dyn Clock>,
    /// The task that settles in the background.
    settler: std::sync::Mutex<Option<JoinHandle<()>>>,
    /// The lock of the data, held by the one process that serves.
    lock: Option<std::fs::File>,
}

impl Ledger {
    /// Where reads go.
    pub(crate) fn reader(&self) -> &DatabaseConnection {
        &self.inner.reader
    }

    /// Runs a write to its end even if the caller goes away.
    pub(crate) async fn spawn<T: Send + 'static>(
        &self,
        write: impl Future<Output = Result<T, LedgerError>> + Send + 'static,
    ) -> Result<T, LedgerError> {
        tokio::spawn(write).await.unwrap_or(Err(LedgerError::Closing))
    }
}
