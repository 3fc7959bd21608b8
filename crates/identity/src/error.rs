//! What can go wrong with a call, or with making an admin.

use axum::response::{IntoResponse, Response};
use firstcome_core::Email;
use firstcome_ledger::LedgerError;
use firstcome_web::{Code, Problem};

use crate::oauth::Denied;

/// Why there is no answer, or no admin.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The sender is told why.
    #[error(transparent)]
    Refused(#[from] Problem),
    /// The sender is told why, in the words of OAuth.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The ledger failed; the log is told why, the sender to come back.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Too many passwords wait to be hashed.
    #[error("too many passwords wait to be hashed")]
    Crowded,
    /// A password could not be hashed, or a hash is damaged.
    #[error("a password cannot be hashed or verified: {0}")]
    Hash(#[from] argon2::password_hash::Error),
    /// The system has no random numbers to give.
    #[error("the system gives no random numbers: {0}")]
    Random(#[from] rand::rand_core::OsError),
    /// The process is stopping.
    #[error("the process is stopping")]
    Closing,
    /// The account exists, is no admin's, and has another password.
    #[error(
        "{email} has an account that is no admin's, and the password given is not its password: \
         give that password, or choose another address for the admin"
    )]
    AdminNotProven {
        /// The address.
        email: Email,
    },
}

impl IntoResponse for IdentityError {
    fn into_response(self) -> Response {
        let problem = match self {
            Self::Refused(problem) => problem,
            Self::Denied(denied) => return denied.into_response(),
            Self::Ledger(error @ LedgerError::Corrupt(_)) => Problem::internal(&error),
            Self::Ledger(error) => Problem::unavailable("identity cannot answer", &error),
            Self::Crowded => Problem::new(Code::Unavailable, "Too many passwords wait."),
            Self::Closing => Problem::new(Code::Unavailable, "The process is stopping."),
            error @ (Self::Hash(_) | Self::Random(_) | Self::AdminNotProven { .. }) => {
                Problem::internal(&error)
            }
        };
        problem.into_response()
    }
}
