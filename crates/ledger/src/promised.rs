//! What was promised and is not in the ledger yet: where wins are kept elsewhere until a worker
//! writes them, who reads the ledger may have to wait.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use crate::LedgerError;

/// Brings the ledger up to what was promised.
pub trait CatchUp: Send + Sync + 'static {
    /// Waits until the ledger has every win that was told before the call, or writes them; why it
    /// cannot, where that takes too long or something is away.
    fn catch_up(&self) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>>;
}

/// What was promised and may not be in the ledger yet; cheap to clone. By default that is nothing.
#[derive(Clone, Default)]
pub struct Promised(Option<Arc<dyn CatchUp>>);

impl Promised {
    /// What this brings to the ledger.
    #[must_use]
    pub fn by(catch_up: Arc<dyn CatchUp>) -> Self {
        Self(Some(catch_up))
    }

    /// Returns when the ledger has every win that was told before the call.
    ///
    /// # Errors
    /// [`LedgerError::Behind`], where that takes too long, or something that it needs is away.
    pub async fn is_kept(&self) -> Result<(), LedgerError> {
        match &self.0 {
            None => Ok(()),
            Some(catch_up) => catch_up.catch_up().await.map_err(LedgerError::Behind),
        }
    }
}

impl fmt::Debug for Promised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Promised").field(&self.0.is_some()).finish()
    }
}
