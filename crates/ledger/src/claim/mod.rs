//! Deciding claims, whatever the database.

pub(crate) mod sqlite;

use firstcome_core::{EventId, Timestamp, UserId};

use crate::{ClaimError, IssuedCouponRecord, Ledger};

/// A shopper's request for one coupon of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The event.
    pub event_id: EventId,
    /// The shopper.
    pub user_id: UserId,
}

/// The ledger's answer to one claim: the verdict beside what the answer shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Won just now, and durable.
    Issued(IssuedCouponRecord),
    /// The user holds this one already; shown as it is at present.
    AlreadyClaimed(IssuedCouponRecord),
    /// Every coupon is issued.
    SoldOut,
    /// The event's window has not begun.
    NotOpen {
        /// When it begins.
        opens_at: Timestamp,
    },
    /// Paused by hand.
    Paused,
    /// The event has ended.
    Closed,
    /// There is no such event.
    EventNotFound,
}

impl Ledger {
    /// Decides a batch of claims, on any number of events, in one transaction; the order of the
    /// answer is the order of the batch. Winners are durable when this returns. At most
    /// [`firstcome_core::limits::CLAIM_BATCH_MAX`] claims.
    ///
    /// The embedded ledger does this on the caller's thread, which it blocks while the disk writes:
    /// whoever claims in bulk has a thread for it.
    ///
    /// # Errors
    /// [`ClaimError`]: no verdict is known; a retry is safe.
    pub async fn claim(&self, batch: Vec<Claim>) -> Result<Vec<Decision>, ClaimError> {
        assert!(batch.len() <= firstcome_core::limits::CLAIM_BATCH_MAX, "a batch is bounded");
        let mut turn = self.inner.turn.lock().await;
        turn.claim(&batch)
    }
}
