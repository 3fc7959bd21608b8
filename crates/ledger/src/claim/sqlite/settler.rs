//! When to settle: the background task, and the calls of readers that must see every winner.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use firstcome_core::{EventNo, IssuedCouponId, UserId};
use tokio::time::{MissedTickBehavior, interval};

use super::checkpoint::{CheckpointMode, checkpoint_as};
use crate::{Ledger, LedgerError};

/// Claims between two looks from which the drop has no time to spare: 5,000 a second.
const BUSY_CLAIMS: u64 = 100;
/// Winners that are settled at once beside a drop, so that no claim waits long for its turn.
const BESIDE_A_DROP: usize = 512;
/// Most winners that are settled at once while nobody claims.
const ALONE: usize = 4_096;
/// How often the task looks. A look at an empty journal costs nothing.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Bytes of write-ahead log from which it is copied to the database file, when the drop is calm.
const WAL_BYTES_CALM: u64 = 8 << 20;
/// The same beside a drop, where copying competes with claims for the disk: a million claims.
const WAL_BYTES_BUSY: u64 = 256 << 20;

impl Ledger {
    /// Starts the task that settles and checkpoints until the ledger is closed or forgotten.
    pub(crate) fn start_settler(&self) {
        let inner = Arc::downgrade(&self.inner);
        let task = tokio::spawn(async move {
            let mut look = interval(LOOK_EVERY);
            look.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut failing = false;
            let mut claims_seen = 0;
            loop {
                look.tick().await;
                let Some(inner) = inner.upgrade() else { break };
                let outcome = Self { inner }.look_after(&mut claims_seen).await;
                if let Err(error) = &outcome
                    && !failing
                {
                    tracing::error!(error.message = %error, "settling the claim journal fails");
                }
                failing = outcome.is_err();
            }
        });
        let mut settler = self.inner.settler.lock().unwrap_or_else(PoisonError::into_inner);
        *settler = Some(task);
    }

    /// Settles until nothing is left, or until the drop has no time to spare.
    async fn look_after(&self, claims_seen: &mut u64) -> Result<(), LedgerError> {
        let mut wins_max = BESIDE_A_DROP;
        let wal_bytes_max = loop {
            let mut turn = self.inner.turn.clone().lock_owned().await;
            let claims = turn.claims() - *claims_seen;
            *claims_seen = turn.claims();
            if claims >= BUSY_CLAIMS {
                break WAL_BYTES_BUSY;
            }
            if turn.unsettled() == 0 {
                break WAL_BYTES_CALM;
            }
            // A moment without a claim may be a drop that took a breath: grow step by step.
            wins_max = if claims == 0 { ALONE.min(2 * wins_max) } else { BESIDE_A_DROP };
            blocking(move || turn.settle_some(wins_max)).await?;
        };
        if self.wal_bytes() >= wal_bytes_max { self.empty_wal().await } else { Ok(()) }
    }

    fn wal_bytes(&self) -> u64 {
        let mut wal = self.inner.path.clone().into_os_string();
        wal.push("-wal");
        std::fs::metadata(&wal).map_or(0, |metadata| metadata.len())
    }

    /// Copies most of the log beside the claims, and the rest within a turn.
    async fn empty_wal(&self) -> Result<(), LedgerError> {
        let path = self.inner.path.clone();
        blocking(move || checkpoint_as(&path, CheckpointMode::Passive)).await?;
        let turn = self.inner.turn.clone().lock_owned().await;
        let path = self.inner.path.clone();
        let done = blocking(move || checkpoint_as(&path, CheckpointMode::Truncate)).await;
        drop(turn);
        done
    }

    /// Settles what this user has won, so that a read of the tables sees it.
    pub(crate) async fn settle_user(&self, user: &UserId) -> Result<(), LedgerError> {
        let mut turn = self.inner.turn.clone().lock_owned().await;
        if turn.unsettled() == 0 {
            return Ok(());
        }
        let user = user.clone();
        blocking(move || turn.settle_user(&user)).await
    }

    /// Settles until this issued coupon is in the tables, if it is anywhere.
    pub(crate) async fn settle_coupon(&self, id: IssuedCouponId) -> Result<(), LedgerError> {
        self.settle_while(move |turn| turn.is_unsettled(id)).await
    }

    /// Settles until all that this event has issued by now is in the tables.
    pub(crate) async fn settle_event(&self, event: EventNo) -> Result<(), LedgerError> {
        let mut left = self.inner.turn.lock().await.unsettled_of(event);
        while left > 0 {
            let mut turn = self.inner.turn.clone().lock_owned().await;
            let now = turn.unsettled_of(event);
            if now == 0 {
                break;
            }
            let settled = blocking(move || {
                turn.settle_some(ALONE)?;
                Ok(now.saturating_sub(turn.unsettled_of(event)))
            });
            left = left.saturating_sub(settled.await?);
        }
        Ok(())
    }

    /// Settles until the journal is empty.
    pub(crate) async fn settle_all(&self) -> Result<(), LedgerError> {
        self.settle_while(|turn| turn.unsettled() > 0).await
    }

    async fn settle_while(
        &self,
        needed: impl Fn(&super::ClaimWriter) -> bool,
    ) -> Result<(), LedgerError> {
        loop {
            let mut turn = self.inner.turn.clone().lock_owned().await;
            if !needed(&turn) {
                return Ok(());
            }
            blocking(move || turn.settle_some(ALONE)).await?;
        }
    }
}

/// Runs the embedded database's work where it may block.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LedgerError> + Send + 'static,
) -> Result<T, LedgerError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(LedgerError::Closing))
}
