//! Turns for work of which so much at once is enough.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// So many turns; cheap to clone.
#[derive(Clone)]
pub(crate) struct Turns(Arc<Semaphore>);

impl Turns {
    pub(crate) fn new(at_once: usize) -> Self {
        Self(Arc::new(Semaphore::new(at_once)))
    }

    /// Waits for a turn, which lasts until it is dropped. Whoever came first is first.
    pub(crate) async fn wait(&self) -> OwnedSemaphorePermit {
        let turn = Arc::clone(&self.0).acquire_owned().await;
        turn.expect("the semaphore of turns is never closed")
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn one_too_many_waits_until_a_turn_ends() {
        let turns = Turns::new(2);
        let (one, _other) = (turns.wait().await, turns.clone().wait().await);
        let mut waiting = Box::pin(turns.wait());
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(one);
        assert!(waiting.now_or_never().is_some());
    }
}
