//! The strategy `redis_lock`: the ledger decides, one process at a time, in the order in which they
//! get a lock in Redis. The lock only orders: who loses it while holding it decides all the same,
//! as under the strategy `ledger`.

use std::time::Duration;

use firstcome_cache::redis::Redis;
use firstcome_core::EventId;
use firstcome_ledger::Claim;
use futures_util::future::join_all;
use tokio::time::Instant;

use super::lock::Lock;
use super::{LedgerStrategy, OfEvent, Outcome, Strategy};
use crate::Undecided;

/// Longest that a batch waits for the lock.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// See the module.
#[derive(Clone)]
pub struct RedisLockStrategy {
    redis: Redis,
    ledger: LedgerStrategy,
}

impl RedisLockStrategy {
    /// The strategy that takes its locks there, and asks this ledger.
    #[must_use]
    pub const fn new(redis: Redis, ledger: LedgerStrategy) -> Self {
        Self { redis, ledger }
    }

    async fn decide_event(
        &self,
        event: EventId,
        claims: Vec<Claim>,
        deadline: Instant,
    ) -> Vec<Outcome> {
        let count = claims.len();
        let lock = match Lock::acquire(&self.redis, event, "lock", deadline).await {
            Ok(Some(lock)) => lock,
            Ok(None) => {
                tracing::warn!(
                    firstcome.event.id = %event,
                    "the lock of an event was not to be had in {} ms", WAIT_MAX.as_millis()
                );
                return vec![Err(Undecided::Unavailable); count];
            }
            // Nothing was asked of the ledger.
            Err(_) => return vec![Err(Undecided::Unavailable); count],
        };
        let outcomes = self.ledger.decide(claims).await;
        lock.release().await;
        outcomes
    }
}

impl Strategy for RedisLockStrategy {
    async fn decide(&self, batch: Vec<Claim>) -> Vec<Outcome> {
        let mut outcomes = vec![Err(Undecided::Unavailable); batch.len()];
        let deadline = Instant::now() + WAIT_MAX;
        let decided = super::by_event(batch).into_iter().map(async |of_event| {
            let OfEvent { event, claims, places } = of_event;
            (places, self.decide_event(event, claims, deadline).await)
        });
        // All at once: an event whose lock is another's holds no other up for long.
        for (places, decided) in join_all(decided).await {
            for (place, outcome) in places.into_iter().zip(decided) {
                outcomes[place] = outcome;
            }
        }
        outcomes
    }
}
