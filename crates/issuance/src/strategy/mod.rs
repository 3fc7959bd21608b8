//! Who decides claims.

mod ledger;

use firstcome_ledger::{Claim, Decision};

use crate::Undecided;

pub use ledger::LedgerStrategy;

/// Decides batches of claims. Its winners are durable when it answers.
pub trait Strategy: Send + Sync + 'static {
    /// Decides a batch, on any number of events; the order of the answer is the order of the
    /// batch.
    ///
    /// # Errors
    /// [`Undecided`] for the whole batch.
    fn decide(
        &self,
        batch: Vec<Claim>,
    ) -> impl Future<Output = Result<Vec<Decision>, Undecided>> + Send;
}
