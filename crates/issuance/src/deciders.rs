//! Which decider an event's claims go to.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use firstcome_cache::redis::Redis;
use firstcome_core::{Commit, EventId, Strategy as Decider};
use firstcome_ledger::{Ledger, LedgerError};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::IssuanceConfig;
use crate::journal::Journal;
use crate::lane::{self, Lanes, NotDrained};
use crate::metrics::Metrics;
use crate::strategy::{LedgerStrategy, RedisLockStrategy, RedisStrategy};

/// Events whose decider is remembered; with more, all are forgotten.
const EVENTS_MAX: usize = 50_000;

/// What there is beside the ledger.
#[derive(Debug, Clone)]
pub struct Beside {
    /// Where claims are ordered or decided.
    pub redis: Redis,
    /// Where wins are kept until a worker writes them, if that is in Kafka.
    pub journal: Option<Journal>,
    /// Who decides events that do not say.
    pub default: Decider,
    /// What must hold the wins of new events that Redis decides.
    pub commit: Commit,
    /// Whether this process looks after events whose batches have died.
    pub keeps: bool,
}

/// The deciders beside the ledger, each with lanes of its own: what one waits for holds no other
/// up.
pub(crate) struct Deciders {
    locked: Lanes,
    redis: Lanes,
    keeper: Option<JoinHandle<()>>,
}

/// Where the claims on an event go; cheap to clone.
#[derive(Clone)]
pub(crate) struct Ways {
    ledger: Ledger,
    strategy: RedisStrategy,
    default: Decider,
    commit: Commit,
    locked: lane::Handle,
    redis: lane::Handle,
    /// Who decides an event never changes.
    known: Arc<RwLock<HashMap<EventId, Decider>>>,
}

impl Deciders {
    /// Starts the lanes of the deciders that need Redis.
    ///
    /// # Errors
    /// When the system gives no more threads.
    pub(crate) fn start(
        Beside { redis, journal, default, commit, keeps }: Beside,
        ledger: Ledger,
        config: &IssuanceConfig,
        metrics: &Metrics,
    ) -> io::Result<(Self, Ways)> {
        let by_lock = RedisLockStrategy::new(redis.clone(), LedgerStrategy::new(ledger.clone()));
        let locked = Lanes::start("lock", &Arc::new(by_lock), config, metrics)?;
        let strategy = RedisStrategy::new(redis, ledger.clone(), journal);
        let redis = Lanes::start("redis", &Arc::new(strategy.clone()), config, metrics)?;
        let keeper = keeps.then(|| tokio::spawn(strategy.clone().keep()));
        let ways = Ways {
            ledger,
            strategy,
            default,
            commit,
            locked: locked.handle(),
            redis: redis.handle(),
            known: Arc::default(),
        };
        Ok((Self { locked, redis, keeper }, ways))
    }

    /// As [`Lanes::drain`].
    pub(crate) async fn drain(&mut self, deadline: Duration) -> Result<(), NotDrained> {
        if let Some(keeper) = &self.keeper {
            keeper.abort();
        }
        let deadline = Instant::now() + deadline;
        let left = || deadline.saturating_duration_since(Instant::now());
        let locked = self.locked.drain(left()).await;
        let redis = self.redis.drain(left()).await;
        locked.and(redis)
    }
}

impl Ways {
    /// Who decides events that do not say.
    pub(crate) const fn default(&self) -> Decider {
        self.default
    }

    /// What must hold the wins of new events that Redis decides.
    pub(crate) const fn commit(&self) -> Commit {
        self.commit
    }

    /// The lanes of this event; none where the ledger decides.
    ///
    /// # Errors
    /// When it is not known and the ledger does not answer.
    pub(crate) async fn lanes_of(
        &self,
        event: EventId,
    ) -> Result<Option<&lane::Handle>, LedgerError> {
        Ok(match self.decider_of(event).await? {
            Decider::Ledger => None,
            Decider::RedisLock => Some(&self.locked),
            Decider::Redis => Some(&self.redis),
        })
    }

    /// Whether the Redis that there is cannot be used now.
    pub(crate) fn is_refused(&self) -> bool {
        self.strategy.is_refused()
    }

    /// What Redis decides with.
    pub(crate) const fn strategy(&self) -> &RedisStrategy {
        &self.strategy
    }

    /// What Redis decides with, where it decides this event.
    ///
    /// # Errors
    /// When it is not known and the ledger does not answer.
    pub(crate) async fn redis_of(
        &self,
        event: EventId,
    ) -> Result<Option<&RedisStrategy>, LedgerError> {
        let is_redis = self.decider_of(event).await? == Decider::Redis;
        Ok(is_redis.then_some(&self.strategy))
    }

    /// An event that does not exist is the ledger's to deny.
    async fn decider_of(&self, event: EventId) -> Result<Decider, LedgerError> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner).get(&event).copied();
        if let Some(decider) = known {
            return Ok(decider);
        }
        let Some(found) = self.ledger.event(event).await? else { return Ok(Decider::Ledger) };
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= EVENTS_MAX {
            known.clear();
        }
        known.insert(event, found.strategy);
        Ok(found.strategy)
    }
}
