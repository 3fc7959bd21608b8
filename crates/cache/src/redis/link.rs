//! The connection that all calls share: made by the first that needs one, for all that wait for it,
//! and made anew after it broke.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use tokio::runtime::Handle;

use super::RedisError;
use super::connect::{Connection, Connector};

/// A connection on its way, for whoever waits for it.
type Attempt = Shared<BoxFuture<'static, Result<Live, RedisError>>>;

/// The connection that all calls share.
pub(super) struct Link {
    connector: Arc<Connector>,
    /// What drives the connections: they outlive the caller that asked for one first.
    runtime: Handle,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The last attempt, under way or ended.
    attempt: Option<Attempt>,
    /// Attempts until now.
    attempts: u64,
}

/// A connection that was made.
#[derive(Clone)]
pub(super) struct Live {
    pub(super) connection: Connection,
    is_alive: Arc<AtomicBool>,
    /// The number of its attempt.
    number: u64,
}

impl Link {
    pub(super) fn new(connector: Arc<Connector>, runtime: Handle) -> Self {
        Self { connector, runtime, state: Mutex::default() }
    }

    /// The connection, once there is one. What is under way goes on when the caller goes away.
    pub(super) async fn live(&self) -> Result<Live, RedisError> {
        let attempt = self.attempt();
        attempt.await
    }

    /// Makes the next call connect anew, unless that has happened since.
    pub(super) fn forget(&self, live: &Live) {
        let mut state = self.state();
        if state.attempts == live.number {
            state.attempt = None;
        }
    }

    fn attempt(&self) -> Attempt {
        let mut state = self.state();
        // An attempt that failed is over: who comes now tries again.
        let is_good = |attempt: &Attempt| match attempt.peek() {
            None => true,
            Some(Ok(live)) => live.is_alive.load(Ordering::Acquire),
            Some(Err(_)) => false,
        };
        if let Some(attempt) = state.attempt.as_ref().filter(|attempt| is_good(attempt)) {
            return attempt.clone();
        }
        state.attempts += 1;
        let number = state.attempts;
        let connector = Arc::clone(&self.connector);
        let connecting = self.runtime.spawn(async move {
            let (connection, is_alive) = connector.connect().await?;
            Ok(Live { connection, is_alive, number })
        });
        let attempt = async move {
            let ended = connecting.await;
            ended.unwrap_or_else(|_| Err(RedisError::unavailable("the process is ending")))
        };
        let attempt = attempt.boxed().shared();
        state.attempt = Some(attempt.clone());
        attempt
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while held")
    }
}
