//! The strategy `ledger`: the ledger decides and commits in one transaction.

use std::sync::atomic::{AtomicBool, Ordering};

use firstcome_ledger::{Claim, ClaimError, Decision, Ledger};

use super::{Outcome, Strategy};

/// See the module.
#[derive(Clone)]
pub struct LedgerStrategy {
    ledger: Ledger,
    failing: std::sync::Arc<AtomicBool>,
}

impl LedgerStrategy {
    /// The strategy that asks this ledger.
    #[must_use]
    pub fn new(ledger: Ledger) -> Self {
        Self { ledger, failing: std::sync::Arc::default() }
    }

    /// Says once that batches fail, and once that they no longer do.
    fn report(&self, outcome: &Result<Vec<Decision>, ClaimError>) {
        let failing = outcome.is_err();
        if self.failing.load(Ordering::Relaxed) == failing {
            return;
        }
        self.failing.store(failing, Ordering::Relaxed);
        match outcome {
            Ok(_) => tracing::info!("claims are decided again"),
            Err(error) => tracing::error!(error.message = %error, "claims cannot be decided"),
        }
    }
}

impl Strategy for LedgerStrategy {
    async fn decide(&self, batch: Vec<Claim>) -> Vec<Outcome> {
        let claims = batch.len();
        let outcome = self.ledger.claim(batch).await;
        self.report(&outcome);
        match outcome {
            Ok(decisions) => decisions.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error.into()); claims],
        }
    }
}
