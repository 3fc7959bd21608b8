//! What was promised and is not in the ledger yet: where wins are kept elsewhere until a worker
//! writes them, who reads the ledger may have to wait.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use firstcome_tasks::Turns;

use crate::LedgerError;

/// Brings the ledger up to what was promised.
pub trait CatchUp: Send + Sync + 'static {
    /// Waits until the ledger has every win that was told before the call, or writes them; why it
    /// cannot, where that takes too long or something is away.
    fn catch_up(&self) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>>;

    /// The same, and of every claim that is in doubt, too: it is written then, or never.
    fn settle(&self) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>> {
        self.catch_up()
    }
}

/// What was promised and may not be in the ledger yet; cheap to clone. By default that is nothing.
#[derive(Clone, Default)]
pub struct Promised(Option<Arc<Shared>>);

struct Shared {
    brought_by: Box<dyn CatchUp>,
    kept: Turns<String>,
    settled: Turns<String>,
}

impl Promised {
    /// What this brings to the ledger.
    #[must_use]
    pub fn by(brought_by: impl CatchUp) -> Self {
        let brought_by = Box::new(brought_by);
        let (kept, settled) = (Turns::default(), Turns::default());
        Self(Some(Arc::new(Shared { brought_by, kept, settled })))
    }

    /// Returns when the ledger has every win that was told before the call.
    ///
    /// # Errors
    /// [`LedgerError::Behind`], where that takes too long, or something that it needs is away.
    pub async fn is_kept(&self) -> Result<(), LedgerError> {
        match &self.0 {
            Some(shared) => shared.kept.share(shared.brought_by.catch_up()).await,
            None => Ok(()),
        }
        .map_err(LedgerError::Behind)
    }

    /// Returns when the ledger has all that was decided before the call, also what nobody was told.
    ///
    /// # Errors
    /// As [`is_kept`](Self::is_kept)'s.
    pub async fn is_settled(&self) -> Result<(), LedgerError> {
        match &self.0 {
            Some(shared) => shared.settled.share(shared.brought_by.settle()).await,
            None => Ok(()),
        }
        .map_err(LedgerError::Behind)
    }
}

impl fmt::Debug for Promised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Promised").field(&self.0.is_some()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use futures_util::future::join_all;
    use tokio::time::sleep;

    use super::*;

    /// Takes two seconds, and counts how often it is asked.
    struct Slow(Arc<AtomicU32>);

    impl CatchUp for Slow {
        fn catch_up(&self) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>> {
            Box::pin(async {
                self.0.fetch_add(1, Ordering::Relaxed);
                sleep(Duration::from_secs(2)).await;
                Ok(())
            })
        }
    }

    fn slow() -> (Promised, Arc<AtomicU32>) {
        let asked = Arc::new(AtomicU32::new(0));
        (Promised::by(Slow(Arc::clone(&asked))), asked)
    }

    #[tokio::test(start_paused = true)]
    async fn many_who_ask_at_once_are_told_by_one_turn() {
        let (promised, turns) = slow();
        let told = join_all((0..20).map(|_| promised.is_kept())).await;
        assert!(told.iter().all(Result::is_ok));
        assert_eq!(turns.load(Ordering::Relaxed), 1);
        let told = join_all((0..20).map(|_| promised.is_settled())).await;
        assert!(told.iter().all(Result::is_ok));
        assert_eq!(turns.load(Ordering::Relaxed), 2);
    }

    /// It may lack what is in doubt.
    #[tokio::test(start_paused = true)]
    async fn what_is_kept_is_not_taken_for_settled() {
        let (promised, turns) = slow();
        let (kept, settled) = tokio::join!(promised.is_kept(), promised.is_settled());
        assert!(kept.is_ok() && settled.is_ok());
        assert_eq!(turns.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn nothing_is_promised_by_default() {
        Promised::default().is_kept().await.expect("there is nothing to wait for");
    }
}
