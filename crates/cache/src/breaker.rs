//! The breaker: when a server has been silent several times in a row, calls fail at once for a
//! short time instead of waiting, then one of them tries again. Redis has one; so has the journal.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;

/// Fails calls at once while a server is silent.
#[derive(Debug)]
pub struct Breaker {
    failures_max: u32,
    open: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// Nobody has called yet: calls pass, and each tries, until one has ended.
    Untried,
    /// Calls pass; so many have failed one after another.
    Closed { failures: u32 },
    /// No call passes before this moment; then one does.
    Open { until: Instant },
    /// One call tries; the others fail until it has ended.
    Probed,
}

/// What a call's end changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    None,
    /// Calls fail at once from here on.
    Opened,
    /// Calls pass again.
    Closed,
}

/// The leave to make one call. Dropped without a word, as by a caller that goes away, it counts
/// neither as success nor as failure.
#[derive(Debug)]
#[must_use]
pub struct Pass<'a> {
    breaker: &'a Breaker,
    is_probe: bool,
    is_told: bool,
}

impl Breaker {
    /// A closed breaker that opens after so many failures in a row, for so long.
    #[must_use]
    pub fn new(failures_max: u32, open: Duration) -> Self {
        Self { failures_max, open, state: Mutex::new(State::Closed { failures: 0 }) }
    }

    /// As [`new`](Self::new), for a server that nobody has called yet: calls try, each by itself,
    /// until the first has ended.
    #[must_use]
    pub fn untried(failures_max: u32, open: Duration) -> Self {
        Self { failures_max, open, state: Mutex::new(State::Untried) }
    }

    /// Leave for a call; none while it is open.
    pub fn pass(&self) -> Option<Pass<'_>> {
        let mut state = self.state();
        let is_probe = match *state {
            State::Closed { .. } => false,
            State::Untried => true,
            State::Open { until } if Instant::now() >= until => {
                *state = State::Probed;
                true
            }
            State::Open { .. } | State::Probed => return None,
        };
        Some(Pass { breaker: self, is_probe, is_told: false })
    }

    /// Whether calls fail at once.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(*self.state(), State::Open { .. } | State::Probed)
    }

    fn succeeded(&self) -> Change {
        let mut state = self.state();
        let was_closed = matches!(*state, State::Closed { .. });
        *state = State::Closed { failures: 0 };
        if was_closed { Change::None } else { Change::Closed }
    }

    fn failed(&self) -> Change {
        let mut state = self.state();
        let until = Instant::now() + self.open;
        match *state {
            State::Closed { failures } if failures + 1 < self.failures_max => {
                *state = State::Closed { failures: failures + 1 };
                Change::None
            }
            State::Closed { .. } | State::Untried => {
                *state = State::Open { until };
                Change::Opened
            }
            State::Probed => {
                *state = State::Open { until };
                Change::None
            }
            // A call that passed before it opened.
            State::Open { .. } => Change::None,
        }
    }

    /// Lets another call try in place of one that went away.
    fn abandoned(&self) {
        let mut state = self.state();
        if matches!(*state, State::Probed) {
            *state = State::Open { until: Instant::now() };
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while held")
    }
}

impl Pass<'_> {
    /// Whether this call tries: nobody knows whether the server answers.
    #[must_use]
    pub const fn is_try(&self) -> bool {
        self.is_probe
    }

    /// The call has ended; the server was silent or was not.
    pub fn ended(mut self, is_silent: bool) -> Change {
        self.is_told = true;
        if is_silent { self.breaker.failed() } else { self.breaker.succeeded() }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if self.is_probe && !self.is_told {
            self.breaker.abandoned();
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const OPEN: Duration = Duration::from_millis(1_000);

    fn fail(breaker: &Breaker) -> Change {
        breaker.pass().expect("it is closed, or may be tried").ended(true)
    }

    #[tokio::test(start_paused = true)]
    async fn it_opens_after_failures_in_a_row_only() {
        let breaker = Breaker::new(3, OPEN);
        for _ in 0..2 {
            assert_eq!(fail(&breaker), Change::None);
            assert_eq!(fail(&breaker), Change::None);
            assert_eq!(breaker.pass().unwrap().ended(false), Change::None);
        }
        assert_eq!(fail(&breaker), Change::None);
        assert_eq!(fail(&breaker), Change::None);
        assert_eq!(fail(&breaker), Change::Opened);
        assert!(breaker.pass().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn one_call_tries_after_a_while() {
        let breaker = Breaker::new(1, OPEN);
        assert_eq!(fail(&breaker), Change::Opened);
        advance(OPEN).await;
        let probe = breaker.pass().expect("one may try");
        assert!(breaker.pass().is_none(), "only one");
        assert_eq!(probe.ended(true), Change::None);
        assert!(breaker.pass().is_none(), "it is open again");
        advance(OPEN).await;
        assert_eq!(breaker.pass().unwrap().ended(false), Change::Closed);
        assert!(breaker.pass().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_calls_to_a_server_that_is_not_known_try() {
        let breaker = Breaker::untried(1, OPEN);
        let [first, second] = [(); 2].map(|()| breaker.pass().expect("it may try"));
        assert!(first.is_try() && second.is_try() && !breaker.is_open());
        assert_eq!(first.ended(false), Change::Closed);
        assert!(!breaker.pass().unwrap().is_try());
        assert_eq!(second.ended(false), Change::None);

        let breaker = Breaker::untried(1, OPEN);
        let [first, second] = [(); 2].map(|()| breaker.pass().expect("it may try"));
        assert_eq!(first.ended(true), Change::Opened);
        assert!(breaker.is_open() && breaker.pass().is_none());
        assert_eq!(second.ended(true), Change::None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_try_that_goes_away_leaves_its_place_to_the_next() {
        let breaker = Breaker::new(1, OPEN);
        assert_eq!(fail(&breaker), Change::Opened);
        advance(OPEN).await;
        drop(breaker.pass().expect("one may try"));
        assert!(breaker.pass().is_some(), "the next one may");
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_failure_does_not_keep_it_open_for_longer() {
        let breaker = Breaker::new(1, OPEN);
        let late = breaker.pass().unwrap();
        assert_eq!(fail(&breaker), Change::Opened);
        advance(OPEN / 2).await;
        assert_eq!(late.ended(true), Change::None);
        advance(OPEN / 2).await;
        assert!(breaker.pass().is_some());
    }
}
