//! The section `issuance` of the configuration.

use firstcome_core::Invalid;
use serde::{Deserialize, Serialize};

/// How claims are queued, decided and answered from memory. Every key may be left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IssuanceConfig {
    /// Threads that hand claims to the decider. The embedded ledger has one writer: one lane.
    pub lanes: usize,
    /// Claims that wait for their batch, over all lanes; more are refused at once.
    pub queue_claims_max: usize,
    /// How long a claim waits for its verdict before it is answered `in_doubt`, in milliseconds.
    pub claim_timeout_ms: u64,
    /// Sold-out events that are answered from memory; the decider answers the others.
    pub latches_max: usize,
    /// Memory of the filters of winners of all latches, in bytes: about 2 for each winner.
    pub latch_bytes_max: usize,
}

impl Default for IssuanceConfig {
    fn default() -> Self {
        Self {
            lanes: 1,
            queue_claims_max: 65_536,
            claim_timeout_ms: 5_000,
            latches_max: 1_000,
            latch_bytes_max: 64 << 20,
        }
    }
}

impl IssuanceConfig {
    /// Checks the values against their bounds.
    ///
    /// # Errors
    /// A sentence that names the key and its range.
    pub fn check(&self) -> Result<(), Invalid> {
        within("lanes", self.lanes, 1, 64)?;
        within("queue_claims_max", self.queue_claims_max, self.lanes, 1 << 20)?;
        within("claim_timeout_ms", self.claim_timeout_ms, 1, 60_000)?;
        within("latches_max", self.latches_max, 0, 100_000)?;
        within("latch_bytes_max", self.latch_bytes_max, 0, 1 << 30)
    }
}

fn within<N: Copy + PartialOrd + std::fmt::Display>(
    key: &str,
    number: N,
    min: N,
    max: N,
) -> Result<(), Invalid> {
    if (&min..=&max).contains(&&number) {
        Ok(())
    } else {
        Err(Invalid::new(format!("issuance.{key} is {number}; it must be from {min} to {max}")))
    }
}
