//! Where a client is stopped, of whatever servers it asks.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::timeout;

use super::FAULT_TIMEOUT;

/// Lets so many requests pass, through all proxies that have it, and holds the next and all others:
/// a client that waits for each answer has done what those do by then, and nothing more.
///
/// What comes from a client at once is one request.
#[derive(Debug, Clone)]
pub struct Fuse(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    since: Vec<u8>,
    requests: usize,
    state: watch::Sender<State>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing counts yet.
    Unlit,
    /// So many more may pass.
    Burning(usize),
    Blown,
    Mended,
}

impl Fuse {
    /// A fuse that counts from the first request on that has this in it, and blows after so many.
    #[must_use]
    pub fn new(since: &str, requests: usize) -> Self {
        let state = watch::Sender::new(State::Unlit);
        Self(Arc::new(Inner { since: since.as_bytes().to_vec(), requests, state }))
    }

    /// Waits until a request is held.
    ///
    /// # Panics
    /// When none is, in time.
    pub async fn blown(&self) {
        let mut state = self.0.state.subscribe();
        let waited = timeout(FAULT_TIMEOUT, state.wait_for(|state| *state == State::Blown)).await;
        assert!(waited.is_ok(), "the fuse has not blown");
    }

    /// Lets go of what is held, and holds nothing any more.
    pub fn mend(&self) {
        self.0.state.send_replace(State::Mended);
    }

    /// Waits until a request of these bytes may pass.
    pub(super) async fn pass(&self, request: &[u8]) {
        self.0.state.send_if_modified(|state| self.burn(state, request));
        let mut state = self.0.state.subscribe();
        // The sender is here, too.
        let _ = state.wait_for(|state| *state != State::Blown).await;
    }

    /// Whether it has blown by this request.
    fn burn(&self, state: &mut State, request: &[u8]) -> bool {
        let Inner { since, requests, .. } = &*self.0;
        if *state == State::Unlit && request.windows(since.len()).any(|part| part == since) {
            *state = State::Burning(*requests);
        }
        let State::Burning(left) = *state else { return false };
        *state = left.checked_sub(1).map_or(State::Blown, State::Burning);
        *state == State::Blown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_counts_from_the_first_that_it_waits_for() {
        let fuse = Fuse::new("take", 2);
        let mut state = State::Unlit;
        let blown = ["else", "to take it", "then", "else", "more"]
            .map(|request| fuse.burn(&mut state, request.as_bytes()));
        assert_eq!((blown, state), ([false, false, false, true, false], State::Blown));
    }
}
