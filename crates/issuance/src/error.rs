//! Why a claim has no verdict, and a call no answer. Sold out and already claimed are verdicts,
//! not errors.

use axum::response::{IntoResponse, Response};
use firstcome_ledger::{ClaimError, DecidedElsewhere, LedgerError};
use firstcome_web::{Code, Problem};

/// A claim of a batch has no verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Undecided {
    /// Nothing was decided.
    #[error("the decider is unavailable")]
    Unavailable,
    /// Whether anyone won is not known; a retry finds out.
    #[error("it is not known whether the batch was decided")]
    InDoubt,
}

impl From<ClaimError> for Undecided {
    fn from(error: ClaimError) -> Self {
        match error {
            ClaimError::Unavailable(_) => Self::Unavailable,
            ClaimError::InDoubt(_) => Self::InDoubt,
        }
    }
}

impl From<DecidedElsewhere> for Undecided {
    fn from(_: DecidedElsewhere) -> Self {
        Self::Unavailable
    }
}

/// A claim has no verdict; a retry is safe, and may win.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoVerdict {
    /// As many claims wait as may.
    #[error("too many claims are waiting")]
    QueueFull,
    /// The process is stopping.
    #[error("the process is stopping")]
    Closing,
    /// The claim reached the decider, or waits for it, without a verdict.
    #[error(transparent)]
    Undecided(#[from] Undecided),
}

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum IssuanceError {
    /// The sender is told why.
    #[error(transparent)]
    Refused(#[from] Problem),
    /// The claim has no verdict yet. Whoever failed has logged why.
    #[error(transparent)]
    NoVerdict(#[from] NoVerdict),
    /// Redis failed, or what it knows; the log is told why, the sender to come back.
    #[error("{0}")]
    Beside(String),
    /// The ledger failed; the log is told why, the sender to come back.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl IntoResponse for IssuanceError {
    fn into_response(self) -> Response {
        let problem = match self {
            Self::Refused(problem) => problem,
            Self::NoVerdict(NoVerdict::Undecided(Undecided::InDoubt)) => {
                Problem::new(Code::InDoubt, "The verdict did not come in time.")
            }
            Self::NoVerdict(no_verdict) => Problem::new(Code::Unavailable, no_verdict.to_string()),
            Self::Beside(_) => Problem::unavailable("issuance cannot answer", &self),
            Self::Ledger(error @ LedgerError::Corrupt(_)) => Problem::internal(&error),
            Self::Ledger(error) => Problem::unavailable("issuance cannot answer", &error),
        };
        problem.into_response()
    }
}
