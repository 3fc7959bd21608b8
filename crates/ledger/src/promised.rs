//! What was promised and is not in the ledger yet: where wins are kept elsewhere until a worker
//! writes them, who reads the ledger may have to wait.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::LedgerError;

/// Brings the ledger up to what was promised.
pub trait CatchUp: Send + Sync + 'static {
    /// Waits until the ledger has every win that was told before the call, or writes them; why it
    /// cannot, where that takes too long or something is away.
    fn catch_up(&self) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>>;
}

/// What was promised and may not be in the ledger yet; cheap to clone. By default that is nothing.
#[derive(Clone, Default)]
pub struct Promised(Option<Arc<Shared>>);

struct Shared {
    brought_by: Box<dyn CatchUp>,
    /// When the last catching up began that has ended.
    caught_up: Mutex<Option<Instant>>,
}

impl Promised {
    /// What this brings to the ledger.
    #[must_use]
    pub fn by(brought_by: impl CatchUp) -> Self {
        let brought_by = Box::new(brought_by);
        Self(Some(Arc::new(Shared { brought_by, caught_up: Mutex::default() })))
    }

    /// Returns when the ledger has every win that was told before the call.
    ///
    /// # Errors
    /// [`LedgerError::Behind`], where that takes too long, or something that it needs is away.
    pub async fn is_kept(&self) -> Result<(), LedgerError> {
        let Some(shared) = &self.0 else { return Ok(()) };
        let asked = Instant::now();
        let mut last = shared.caught_up.lock().await;
        // Who waited for another's turn shares it, if that began later than it asked.
        if last.is_none_or(|began| began < asked) {
            let began = Instant::now();
            shared.brought_by.catch_up().await.map_err(LedgerError::Behind)?;
            *last = Some(began);
        }
        Ok(())
    }
}

impl fmt::Debug for Promised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Promised").field(&self.0.is_some()).finish()
    }
}
