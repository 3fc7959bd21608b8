//! Deciding claims, whatever the database.

mod batch;
pub(crate) mod server;
pub(crate) mod sqlite;

use std::collections::HashSet;

use firstcome_core::{EventId, EventNo, IssuedCouponId, Timestamp, UserId};
use futures_util::TryStreamExt as _;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QuerySelect};

pub use server::{NotRecorded, Recorded, Recording, Told, Tried, Won};

use crate::entity::issued_coupon;
use crate::records::signed_no;
use crate::{ClaimError, DecidedElsewhere, Engine, IssuedCouponRecord, Ledger, LedgerError};

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

/// What the ledger says to one claim of a batch; an error where the event is not its to decide.
pub type Answer = Result<Decision, DecidedElsewhere>;

impl Ledger {
    /// Decides a batch of claims, on any number of events, in one transaction; the order of the
    /// answer is the order of the batch. Winners are durable when this returns. At most
    /// [`firstcome_core::limits::CLAIM_BATCH_MAX`] claims. Those on events that another decider has
    /// the word on are left undecided, and hinder no other.
    ///
    /// The embedded ledger does this on the caller's thread, which it blocks while the disk writes:
    /// whoever claims in bulk has a thread for it.
    ///
    /// # Errors
    /// [`ClaimError`]: no verdict is known; a retry is safe.
    pub async fn claim(&self, batch: Vec<Claim>) -> Result<Vec<Answer>, ClaimError> {
        assert!(batch.len() <= firstcome_core::limits::CLAIM_BATCH_MAX, "a batch is bounded");
        match &self.inner.engine {
            Engine::Embedded(embedded) => embedded.turn.lock().await.claim(&batch),
            Engine::Server(server) => server.claims.claim(&batch).await,
        }
    }

    /// Records what a decider beside the ledger has issued of different events, at most
    /// [`firstcome_core::limits::CLAIM_BATCH_MAX`] wins, together; what became of each event's, in
    /// their order. It is durable when this returns. To record the same again changes nothing.
    ///
    /// # Errors
    /// [`ClaimError`]: whether an event's wins are recorded is not known, or none of them is; a
    /// retry is safe. An embedded ledger decides alone.
    ///
    /// # Panics
    /// Where two of them are of one event.
    pub async fn record_wins(
        &self,
        recordings: &[Recording<'_>],
    ) -> Vec<Result<Recorded, ClaimError>> {
        let wins: usize = recordings.iter().map(|of| of.wins.len()).sum();
        assert!(wins <= firstcome_core::limits::CLAIM_BATCH_MAX, "a batch is bounded");
        if recordings.is_empty() {
            // Who has nothing to record does not wait for a connection.
            return Vec::new();
        }
        let events: HashSet<EventId> = recordings.iter().map(|of| of.event).collect();
        assert_eq!(events.len(), recordings.len(), "each event once");
        match &self.inner.engine {
            Engine::Embedded(_) => {
                let refused = || Err(ClaimError::Unavailable(LedgerError::NotShared));
                recordings.iter().map(|_| refused()).collect()
            }
            Engine::Server(server) => server.claims.record(recordings).await,
        }
    }

    /// Calls `add` with `start` and the user id of every winner of an event, in no order; a winner
    /// may come twice. Claims go on beside it.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn fold_winners<T, F>(
        &self,
        event: EventNo,
        start: T,
        mut add: F,
    ) -> Result<T, LedgerError>
    where
        T: Send + 'static,
        F: FnMut(&mut T, &str) + Send + 'static,
    {
        let server = match &self.inner.engine {
            Engine::Embedded(embedded) => return embedded.fold_winners(event, start, add).await,
            Engine::Server(server) => server,
        };
        let db = server.long_reader();
        let mut folded = start;
        {
            let mut users = issued_coupon::Entity::find()
                .select_only()
                .column(issued_coupon::Column::UserId)
                .filter(issued_coupon::Column::EventNo.eq(signed_no(event)))
                .into_tuple::<String>()
                .stream(&db)
                .await?;
            while let Some(user) = users.try_next().await? {
                add(&mut folded, &user);
            }
        }
        db.close().await?;
        Ok(folded)
    }

    /// Settles what this user has won, where winners are journalled first, so that a read of the
    /// tables sees it.
    pub(crate) async fn settle_user(&self, user: &UserId) -> Result<(), LedgerError> {
        match &self.inner.engine {
            Engine::Embedded(embedded) => embedded.settle_user(user).await,
            Engine::Server(_) => Ok(()),
        }
    }

    /// Settles until this issued coupon is in the tables, if it is anywhere.
    pub(crate) async fn settle_coupon(&self, id: IssuedCouponId) -> Result<(), LedgerError> {
        match &self.inner.engine {
            Engine::Embedded(embedded) => embedded.settle_coupon(id).await,
            Engine::Server(_) => Ok(()),
        }
    }

    /// Settles until all that this event has issued by now is in the tables.
    pub(crate) async fn settle_event(&self, event: EventNo) -> Result<(), LedgerError> {
        match &self.inner.engine {
            Engine::Embedded(embedded) => embedded.settle_event(event).await,
            Engine::Server(_) => Ok(()),
        }
    }
}
