//! What can go wrong with a call.

use std::sync::Arc;

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
    Ledger(Arc<LedgerError>),
}

impl From<LedgerError> for CatalogError {
    fn from(error: LedgerError) -> Self {
        Self::Ledger(Arc::new(error))
    }
}

impl From<Arc<LedgerError>> for CatalogError {
    /// A failure that several who asked at once share.
    fn from(error: Arc<LedgerError>) -> Self {
        Self::Ledger(error)
    }
}

impl IntoResponse for CatalogError {
    fn into_response(self) -> Response {
        let problem = match self {
            Self::Refused(problem) => problem,
            Self::Ledger(error) => match &*error {
                error @ LedgerError::Corrupt(_) => Problem::internal(error),
                error => Problem::unavailable("the catalog cannot answer", error),
            },
        };
        problem.into_response()
    }
}
