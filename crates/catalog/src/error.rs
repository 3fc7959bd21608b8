//! What can go wrong with a call.

use axum::response::{IntoResponse, Response};
use firstcome_ledger::LedgerError;
use firstcome_web::Problem;

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The sender is told why.
    #[error(transparent)]
    Refused(#[from] Problem),
    /// The ledger failed; the log is told why, the sender to come back.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl IntoResponse for CatalogError {
    fn into_response(self) -> Response {
        let problem = match self {
            Self::Refused(problem) => problem,
            Self::Ledger(error @ LedgerError::Corrupt(_)) => Problem::internal(&error),
            Self::Ledger(error) => Problem::unavailable("the catalog cannot answer", &error),
        };
        problem.into_response()
    }
}
