//! The strategy `ledger`: the ledger decides and commits in one transaction.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use firstcome_ledger::{Answer, Claim, ClaimError, Ledger};

use super::{Outcome, Strategy};

/// See the module.
#[derive(Clone)]
pub struct LedgerStrategy {
    ledger: Ledger,
    failing: Arc<AtomicBool>,
    /// Whether it was said that claims come that are another's to decide.
    said_elsewhere: Arc<AtomicBool>,
}

impl LedgerStrategy {
    /// The strategy that asks this ledger.
    #[must_use]
    pub fn new(ledger: Ledger) -> Self {
        Self { ledger, failing: Arc::default(), said_elsewhere: Arc::default() }
    }

    /// Says once that batches fail, and once that they no longer do; and once that there are claims
    /// which it may not decide.
    fn report(&self, outcome: &Result<Vec<Answer>, ClaimError>) {
        let elsewhere = outcome.iter().flatten().find_map(|answer| answer.as_ref().err());
        if let Some(error) = elsewhere
            && !self.said_elsewhere.swap(true, Ordering::Relaxed)
        {
            tracing::error!(error.message = %error, "claims cannot be decided here");
        }
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
            Ok(answers) => answers.into_iter().map(|answer| Ok(answer?)).collect(),
            Err(error) => vec![Err(error.into()); claims],
        }
    }
}
