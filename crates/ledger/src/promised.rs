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
    kept: Turns,
    settled: Turns,
}

/// Catchings up of one kind, one at a time: the last that has ended.
#[derive(Default)]
struct Turns(Mutex<Option<Turn>>);

/// A catching up, which whoever waits for it may share.
struct Turn {
    began: Instant,
    ended: Instant,
    brought: Result<(), String>,
}

impl Turn {
    /// What it tells somebody who asked at this moment; none where they have to look themselves.
    fn tells(&self, asked: Instant) -> Option<Result<(), LedgerError>> {
        match &self.brought {
            // It has all that was told before it began.
            Ok(()) => (self.began >= asked).then_some(Ok(())),
            // Nobody else gets further at once, and nobody waits for one failure after another.
            Err(why) => (self.ended >= asked).then(|| Err(LedgerError::Behind(why.clone()))),
        }
    }
}

impl Turns {
    /// What a turn tells that has begun since the call: another's, or this one.
    async fn share(
        &self,
        bring: impl Future<Output = Result<(), String>>,
    ) -> Result<(), LedgerError> {
        let asked = Instant::now();
        let mut last = self.0.lock().await;
        if let Some(told) = last.as_ref().and_then(|turn| turn.tells(asked)) {
            return told;
        }
        let began = Instant::now();
        let brought = bring.await;
        *last = Some(Turn { began, ended: Instant::now(), brought: brought.clone() });
        brought.map_err(LedgerError::Behind)
    }
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
    use tokio::task::yield_now;
    use tokio::time::{advance, sleep};

    use super::*;

    /// Takes two seconds, and counts how often it is asked.
    struct Slow {
        brings: Result<(), String>,
        asked: Arc<AtomicU32>,
    }

    impl CatchUp for Slow {
        fn catch_up(&self) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>> {
            Box::pin(async {
                self.asked.fetch_add(1, Ordering::Relaxed);
                sleep(Duration::from_secs(2)).await;
                self.brings.clone()
            })
        }
    }

    fn slow(brings: Result<(), String>) -> (Promised, Arc<AtomicU32>) {
        let asked = Arc::new(AtomicU32::new(0));
        (Promised::by(Slow { brings, asked: Arc::clone(&asked) }), asked)
    }

    /// What is asked of what was promised.
    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Asked {
        Kept,
        Settled,
    }

    async fn ask(promised: &Promised, asked: Asked) -> bool {
        let told = match asked {
            Asked::Kept => promised.is_kept().await,
            Asked::Settled => promised.is_settled().await,
        };
        told.is_ok()
    }

    /// What twenty are told who ask within a turn that somebody has begun, and when after that.
    async fn ask_in_a_turn(promised: &Promised, asked: Asked) -> Vec<(bool, Duration)> {
        let began = Instant::now();
        let first = tokio::spawn({
            let promised = promised.clone();
            async move { ask(&promised, asked).await }
        });
        yield_now().await;
        advance(Duration::from_millis(500)).await;
        let later = (0..20).map(|_| async { (ask(promised, asked).await, began.elapsed()) });
        let told = join_all(later).await;
        assert!(told.iter().all(|(is_kept, _)| *is_kept == told[0].0));
        assert_eq!(first.await.ok(), Some(told[0].0));
        told
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_within_a_turn_shares_the_next() {
        for asked in [Asked::Kept, Asked::Settled] {
            let (promised, turns) = slow(Ok(()));
            let told = ask_in_a_turn(&promised, asked).await;
            assert!(told.iter().all(|told| *told == (true, Duration::from_secs(4))), "{told:?}");
            assert_eq!(turns.load(Ordering::Relaxed), 2);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_within_a_turn_shares_its_failure() {
        for asked in [Asked::Kept, Asked::Settled] {
            let (promised, turns) = slow(Err("a partition is stopped".to_owned()));
            let told = ask_in_a_turn(&promised, asked).await;
            assert!(told.iter().all(|told| *told == (false, Duration::from_secs(2))), "{told:?}");
            assert_eq!(turns.load(Ordering::Relaxed), 1);
            // Who asks later looks anew.
            advance(Duration::from_millis(1)).await;
            assert!(!ask(&promised, asked).await);
            assert_eq!(turns.load(Ordering::Relaxed), 2);
        }
    }

    /// It may lack what is in doubt.
    #[tokio::test(start_paused = true)]
    async fn what_is_kept_is_not_taken_for_settled() {
        let (promised, turns) = slow(Ok(()));
        let kept = tokio::spawn({
            let promised = promised.clone();
            async move { ask(&promised, Asked::Kept).await }
        });
        assert!(ask(&promised, Asked::Settled).await);
        assert_eq!(kept.await.ok(), Some(true));
        assert_eq!(turns.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn nothing_is_promised_by_default() {
        Promised::default().is_kept().await.expect("there is nothing to wait for");
    }
}
