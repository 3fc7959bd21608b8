//! When to settle: the background task, and the calls of readers that must see every winner.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use firstcome_core::{EventNo, IssuedCouponId, UserId};
use firstcome_tasks::anew;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::checkpoint::Copier;
use crate::LedgerError;
use crate::embedded::Embedded;

/// Claims between two looks from which the drop has no time to spare: 5,000 a second.
const BUSY_CLAIMS: u64 = 100;
/// Winners that are settled at once beside a drop, so that no claim waits long for its turn.
const BESIDE_A_DROP: usize = 512;
/// Most winners that are settled at once while nobody claims.
const ALONE: usize = 4_096;
/// How often the task looks. A look at an empty journal costs nothing.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How often the log is copied to the database file while there is time for it.
const COPY_EVERY: Duration = Duration::from_secs(1);
/// Bytes of the log from which it is copied at once.
const COPY_BYTES: u64 = 64 << 20;
/// The same beside a drop, where copying competes with claims for the disk: some million claims.
const COPY_BYTES_BUSY: u64 = 256 << 20;

/// What settles and copies in the background.
struct Settler {
    claims_seen: u64,
    copied_at: Instant,
    /// Bytes of the log that the last copy left, because of a reader who is not done with them.
    left: u64,
    copier: Arc<Mutex<Copier>>,
    /// The log has its space, or cannot have it.
    log_is_long: bool,
}

impl Embedded {
    /// Starts the task that settles and checkpoints until the ledger is closed or forgotten.
    ///
    /// # Errors
    /// When the database cannot be opened once more.
    pub(crate) async fn start_settler(self: &Arc<Self>) -> Result<JoinHandle<()>, LedgerError> {
        let path = self.path.clone();
        let copier = blocking(move || Copier::open(&path)).await?;
        let copier = Arc::new(Mutex::new(copier));
        let embedded = Arc::downgrade(self);
        let settler = move || Settler {
            claims_seen: 0,
            copied_at: Instant::now(),
            left: 0,
            copier: Arc::clone(&copier),
            log_is_long: false,
        };
        Ok(tokio::spawn(anew(move || settler().keep(embedded.clone()))))
    }
}

impl Settler {
    /// Settles and copies until the ledger is gone.
    async fn keep(mut self, embedded: Weak<Embedded>) {
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut failing = false;
        loop {
            look.tick().await;
            let Some(embedded) = embedded.upgrade() else { break };
            let outcome = self.look_after(&embedded).await;
            if let Err(error) = &outcome
                && !failing
            {
                tracing::error!(error.message = %error, "settling the claim journal fails");
            }
            failing = outcome.is_err();
        }
    }

    /// Settles until nothing is left, or until the drop has no time to spare; then looks after the
    /// log.
    async fn look_after(&mut self, embedded: &Embedded) -> Result<(), LedgerError> {
        let mut wins_max = BESIDE_A_DROP;
        let mut uncopied = self.uncopied().await?;
        let busy = loop {
            let mut turn = embedded.turn.clone().lock_owned().await;
            let claims = turn.claims() - self.claims_seen;
            self.claims_seen = turn.claims();
            if claims >= BUSY_CLAIMS {
                break true;
            }
            if turn.unsettled() == 0 || uncopied >= COPY_BYTES {
                break false;
            }
            // A moment without a claim may be a drop that took a breath: grow step by step.
            wins_max = if claims == 0 { ALONE.min(2 * wins_max) } else { BESIDE_A_DROP };
            blocking(move || turn.settle_some(wins_max)).await?;
            uncopied = self.uncopied().await?;
        };
        let is_time = !busy && uncopied > 0 && self.copied_at.elapsed() >= COPY_EVERY;
        if is_time || uncopied >= if busy { COPY_BYTES_BUSY } else { COPY_BYTES } {
            self.copy_log(embedded).await?;
        }
        if !busy && !self.log_is_long {
            self.lengthen_log(embedded).await;
        }
        Ok(())
    }

    /// Copies most of the log beside the claims, and the rest within a turn.
    async fn copy_log(&mut self, embedded: &Embedded) -> Result<(), LedgerError> {
        self.copied_at = Instant::now();
        self.copier(Copier::copy).await?;
        let _turn = embedded.turn.lock().await;
        if self.copier(Copier::copy_and_cut).await? {
            self.log_is_long = false;
        }
        self.left = self.copier(Copier::uncopied).await?;
        Ok(())
    }

    /// Bytes of the log that have come since the last copy.
    async fn uncopied(&self) -> Result<u64, LedgerError> {
        Ok(self.copier(Copier::uncopied).await?.saturating_sub(self.left))
    }

    async fn copier<T: Send + 'static>(
        &self,
        work: fn(&Copier) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        let copier = Arc::clone(&self.copier);
        blocking(move || work(&copier.lock().unwrap_or_else(PoisonError::into_inner))).await
    }

    /// Makes the log longer by a piece.
    async fn lengthen_log(&mut self, embedded: &Embedded) {
        let mut turn = embedded.turn.clone().lock_owned().await;
        let path = embedded.path.clone();
        self.log_is_long = blocking(move || turn.lengthen_log(&path)).await.unwrap_or_else(|error| {
            tracing::warn!(error.message = %error, "the log of the ledger is not given its space");
            true
        });
    }
}

impl Embedded {
    /// Settles what this user has won, so that a read of the tables sees it.
    pub(crate) async fn settle_user(&self, user: &UserId) -> Result<(), LedgerError> {
        let mut turn = self.turn.clone().lock_owned().await;
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
        let mut left = self.turn.lock().await.unsettled_of(event);
        while left > 0 {
            let mut turn = self.turn.clone().lock_owned().await;
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
            let mut turn = self.turn.clone().lock_owned().await;
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
