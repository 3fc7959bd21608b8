//! The strategy `redis`: a script in Redis decides a batch in one call, and its winners are durable
//! before anyone is told, in what the event's commit names.
//!
//! - Redis decides only while all that it knows of an event is of one incarnation and one epoch:
//!   the script looks before it writes. Whatever else it finds, it says that the event is not
//!   loaded, and the event is [rebuilt](sync) from the ledger, under the next epoch.
//! - A win is pending in Redis until it is [durable](commits) elsewhere. Neither the ledger nor the
//!   journal's readers take the word of any epoch but the present one: who slept through a rebuild
//!   tells nobody anything.
//! - A pending win is made durable by whoever meets it: the batch that won it, a retry of its user,
//!   or the [`keeper`].
//! - Refusals are told only after the ledger has confirmed the epoch by which they were decided,
//!   except where the commit is Redis itself.
//!
//! In reading order: `claim.lua` (the decision), [`calls`] (what is said to Redis), [`batch`] (its
//! way), [`commits`] (what makes it durable), [`terms`] (how long that is valid), [`sync`]
//! (rebuilding), [`left`] (where that was left half-way), `over` (claims that need none),
//! [`changes`] (live changes), [`behind`] (waiting for what is not in the ledger), [`keeper`] (what
//! is done in the background), `lag` (what waits meanwhile), `metrics`.

mod batch;
mod behind;
mod calls;
mod changes;
mod commits;
mod keeper;
mod lag;
mod left;
mod metrics;
mod over;
mod sync;
mod terms;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use firstcome_cache::redis::{Redis, RedisError};
use firstcome_core::{CouponId, EventId};
use firstcome_ledger::{ClaimError, EventRecord, Ledger, LedgerError, NotRecorded};
use firstcome_tasks::Turns;
use tokio::time::Instant;

use crate::journal::{AppendError, Journal, TopicError, Unreachable};
use crate::{IssuanceError, Undecided};
pub(crate) use changes::Restriction;
use commits::KnownValidity;
use left::Left;
use metrics::Metrics;
use over::Over;
pub use sync::Synced;
use sync::Syncs;

/// Longest that batches wait until an event is loaded.
const LOAD_WAIT_MAX: Duration = Duration::from_millis(400);
/// How soon they do so again for the same event.
const LOAD_REST: Duration = Duration::from_secs(5);
/// Events that a process remembers; with more, all are forgotten. Some 20 MiB.
const EVENTS_MAX: usize = 50_000;

/// See the module; cheap to clone.
#[derive(Clone)]
pub struct RedisStrategy(Arc<Shared>);

struct Shared {
    redis: Redis,
    ledger: Ledger,
    /// Where there is a Kafka.
    journal: Option<Journal>,
    events: Mutex<HashMap<EventId, EventRecord>>,
    validities: Mutex<HashMap<CouponId, KnownValidity>>,
    /// How far the ledger had applied partitions of the journal, and when that was read.
    positions: Mutex<HashMap<i32, (i64, Instant)>>,
    /// Readers that wait until partitions of the journal are applied.
    journal_turns: Mutex<HashMap<i32, Arc<Turns<String>>>>,
    /// Events that had claims since the keeper last looked.
    claimed: Mutex<HashSet<EventId>>,
    /// Events that are waited for, and since when.
    waited: Mutex<HashMap<EventId, Instant>>,
    /// Events that are long over, by the version that is.
    over: Mutex<HashMap<EventId, (u64, Over)>>,
    syncs: Syncs,
    left: Left,
    metrics: Metrics,
    failing: AtomicBool,
}

impl RedisStrategy {
    /// The strategy that decides in this Redis for this ledger, and commits to this journal what
    /// is committed to one.
    #[must_use]
    pub fn new(redis: Redis, ledger: Ledger, journal: Option<Journal>) -> Self {
        Self(Arc::new(Shared {
            redis,
            ledger,
            journal,
            events: Mutex::default(),
            validities: Mutex::default(),
            positions: Mutex::default(),
            journal_turns: Mutex::default(),
            claimed: Mutex::default(),
            waited: Mutex::default(),
            over: Mutex::default(),
            syncs: Syncs::default(),
            left: Left::default(),
            metrics: Metrics::declare(),
            failing: AtomicBool::new(false),
        }))
    }

    pub(crate) fn is_refused(&self) -> bool {
        self.0.redis.is_refused()
    }

    /// What this process remembers of the event, or reads now.
    async fn event(&self, id: EventId) -> Result<Option<EventRecord>, LedgerError> {
        let known = self.events().get(&id).cloned();
        if known.is_some() {
            return Ok(known);
        }
        let found = self.0.ledger.event(id).await?;
        if let Some(found) = &found {
            self.remember(found.clone());
        }
        Ok(found)
    }

    fn remember(&self, event: EventRecord) {
        let mut events = self.events();
        if events.len() >= EVENTS_MAX && !events.contains_key(&event.id) {
            events.clear();
        }
        events.insert(event.id, event);
    }

    fn forget(&self, id: EventId) {
        self.events().remove(&id);
    }

    fn events(&self) -> MutexGuard<'_, HashMap<EventId, EventRecord>> {
        self.0.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn validities(&self) -> MutexGuard<'_, HashMap<CouponId, KnownValidity>> {
        self.0.validities.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn positions(&self) -> MutexGuard<'_, HashMap<i32, (i64, Instant)>> {
        self.0.positions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn journal_turns(&self) -> MutexGuard<'_, HashMap<i32, Arc<Turns<String>>>> {
        self.0.journal_turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn claimed(&self) -> MutexGuard<'_, HashSet<EventId>> {
        self.0.claimed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says once that batches fail, and once that they no longer do.
    fn report(&self, failed: Option<&Failed>) {
        if self.0.failing.swap(failed.is_some(), Ordering::Relaxed) == failed.is_some() {
            return;
        }
        match failed {
            None => tracing::info!("claims are decided in Redis again"),
            Some(error) => {
                tracing::error!(error.message = %error, "claims cannot be decided in Redis");
            }
        }
    }
}

/// Why a batch has no verdicts.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Redis(#[from] RedisError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Record(#[from] ClaimError),
    #[error("the ledger does not take what Redis has decided: {0:?}")]
    NotRecorded(NotRecorded),
    #[error(transparent)]
    Journal(#[from] AppendError),
    #[error(transparent)]
    Kafka(#[from] Unreachable),
    #[error(transparent)]
    Topic(#[from] TopicError),
    #[error("the event commits its wins to Kafka, and this process has none configured")]
    NoJournal,
    #[error("the ledger lacks wins that Redis has, and takes too long to write them")]
    NotSettled,
    #[error("another call is lowering the quantity of the event")]
    Lowering,
    #[error("the event was paused or closed meanwhile")]
    Stopped,
    #[error("what Redis knows of an event is being rebuilt")]
    NotLoaded,
    #[error("another epoch of the event has begun")]
    AnotherEpoch,
    #[error(
        "the ledger lacks {lacks} records of the journal's partition {partition}: see whether a \
         worker runs, and what `firstcome journal inspect` tells"
    )]
    NotApplied { partition: i32, lacks: u64 },
    #[error(
        "the ledger has applied the journal's partition {partition} to offset {position}, and it \
         ends at {end}: is this another topic, or another Kafka?"
    )]
    AnotherJournal { partition: i32, position: i64, end: i64 },
    #[error("the topic of this process is not the ledger's (any more): start it anew")]
    NotItsJournal,
    #[error("Redis answered what no script of ours says: is its data changed by another program?")]
    Nonsense,
}

impl From<Failed> for IssuanceError {
    fn from(failed: Failed) -> Self {
        Self::Beside(failed.to_string())
    }
}

impl Failed {
    /// Whether the ledger has given somebody else what was to be recorded.
    const fn is_lost_place(&self) -> bool {
        matches!(self, Self::NotRecorded(NotRecorded::Quantity | NotRecorded::Sequence))
    }

    fn undecided(&self) -> Undecided {
        match self {
            Self::Redis(RedisError::InDoubt(_) | RedisError::Rejected(_))
            | Self::Record(ClaimError::InDoubt(_))
            | Self::Journal(AppendError::InDoubt(_))
            | Self::AnotherJournal { .. }
            | Self::NotItsJournal
            | Self::Nonsense => Undecided::InDoubt,
            _ => Undecided::Unavailable,
        }
    }
}
