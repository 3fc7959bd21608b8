//! The strategy `redis`: a script in Redis decides a batch in one call, and the ledger has made its
//! winners durable before anyone is told.
//!
//! - Redis decides only while all that it knows of an event is of one incarnation and one epoch:
//!   the script looks before it writes. Whatever else it finds, it says that the event is not
//!   loaded, and the event is [rebuilt](sync) from the ledger, under the next epoch.
//! - A win is pending in Redis until the ledger has recorded it. The ledger refuses the word of any
//!   epoch but the present one: who slept through a rebuild tells nobody anything.
//! - A pending win is recorded by whoever meets it: the batch that won it, a retry of its user, or
//!   the [`keeper`].
//! - Refusals are told only after the ledger has confirmed the epoch by which they were decided.
//!
//! In reading order: `claim.lua` (the decision), [`calls`] (what is said to Redis), this module (a
//! batch), [`sync`] (rebuilding), [`changes`] (live changes), [`keeper`] (what is done in the
//! background).

mod calls;
mod changes;
mod keeper;
mod sync;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use firstcome_cache::redis::{Redis, RedisError};
use firstcome_core::{EventId, UserId};
use firstcome_ledger::{
    Claim, ClaimError, Decision, EventRecord, IssuedCouponRecord, Ledger, LedgerError, NotRecorded,
    Recorded, Told, Won,
};
use futures_util::future::join_all;
use tokio::time::Instant;

use super::{OfEvent, Outcome, Strategy, by_event};
use crate::{IssuanceError, Undecided};
use calls::{Answer, Decided, Keys, Said};
pub use sync::Synced;
use sync::Syncs;

/// Longest that a batch waits until an event is loaded.
const LOAD_WAIT_MAX: Duration = Duration::from_millis(400);
/// Events that a process remembers.
const EVENTS_MAX: usize = 10_000;

/// See the module; cheap to clone.
#[derive(Clone)]
pub struct RedisStrategy(Arc<Shared>);

struct Shared {
    redis: Redis,
    ledger: Ledger,
    events: Mutex<HashMap<EventId, EventRecord>>,
    syncs: Syncs,
    failing: AtomicBool,
}

impl RedisStrategy {
    /// The strategy that decides in this Redis, and records in this ledger.
    #[must_use]
    pub fn new(redis: Redis, ledger: Ledger) -> Self {
        Self(Arc::new(Shared {
            redis,
            ledger,
            events: Mutex::default(),
            syncs: Syncs::default(),
            failing: AtomicBool::new(false),
        }))
    }

    /// Decides the claims of different users on one event, in their order.
    async fn decide_users(&self, event: EventId, users: &[UserId]) -> Vec<Outcome> {
        let outcomes = self.try_decide(event, users).await;
        self.report(outcomes.as_ref().err());
        outcomes.unwrap_or_else(|error| vec![Err(error.undecided()); users.len()])
    }

    async fn try_decide(&self, event: EventId, users: &[UserId]) -> Result<Vec<Outcome>, Failed> {
        let Some(known) = self.event(event).await? else {
            return Ok(vec![Ok(Decision::EventNotFound); users.len()]);
        };
        let decided = self.ask(&known, users).await?;
        if decided.version != known.version {
            // An admin has changed it.
            self.forget(event);
        }
        let wins: Vec<Won> = users.iter().zip(&decided.claims).filter_map(won).collect();
        let is_new = decided.claims.iter().any(|said| matches!(said, Said::Won { .. }));
        let held = if wins.is_empty() {
            Vec::new()
        } else {
            match self.record(event, decided.epoch, &wins).await {
                Ok(held) => held,
                Err(failed) => return Ok(failed.outcomes(&decided.claims)),
            }
        };
        // A record of new wins has met the epoch in the ledger already.
        if !is_new {
            self.check_epoch(event, decided.epoch).await?;
        }
        self.outcomes(&known, users, &decided, held).await
    }

    /// Asks Redis, once the event is loaded.
    async fn ask(&self, event: &EventRecord, users: &[UserId]) -> Result<Decided, Failed> {
        let deadline = Instant::now() + LOAD_WAIT_MAX;
        let mut both = event.has_erased;
        loop {
            let pseudonym = |user| both.then(|| self.0.ledger.pseudonym_of(user));
            let users_asked = users.iter().map(|user| (user, pseudonym(user)));
            let call = Keys::of(event.id).claim(users_asked, both);
            let words: Vec<String> = self.0.redis.run(&call).await?;
            match Answer::read(&words, users.len()) {
                Some(Answer::Decided(decided)) => return Ok(decided),
                Some(Answer::NeedsPseudonyms) if !both => {
                    both = true;
                    self.forget(event.id);
                }
                Some(Answer::NotLoaded) if Instant::now() < deadline => {
                    self.sync_soon(event.id, deadline).await;
                }
                Some(Answer::NotLoaded) => return Err(Failed::NotLoaded),
                _ => return Err(Failed::Nonsense),
            }
        }
    }

    /// Records wins, and confirms them behind the answer.
    async fn record(
        &self,
        event: EventId,
        epoch: u64,
        wins: &[Won],
    ) -> Result<Vec<IssuedCouponRecord>, Failed> {
        match self.0.ledger.record_wins(event, epoch, wins, Told::NotYet).await? {
            Recorded::Held(held) => {
                // Another place in line than Redis gave: what it knows is not what the ledger has.
                if wins.iter().zip(&held).any(|(won, held)| won.sequence != held.sequence) {
                    self.sync_now(event);
                }
                self.confirm(event, epoch, wins);
                Ok(held)
            }
            Recorded::Refused(refused) => {
                tracing::warn!(
                    firstcome.event.id = %event,
                    "the ledger does not take what Redis has decided ({refused:?}): it is rebuilt"
                );
                self.sync_now(event);
                Err(Failed::NotRecorded(refused))
            }
        }
    }

    /// Notes in Redis that wins are durable. Where that fails, whoever meets them records them
    /// again, which changes nothing.
    fn confirm(&self, event: EventId, epoch: u64, wins: &[Won]) {
        let wins_noted = wins.iter().map(|won| (&won.user_id, won.sequence));
        let call = Keys::of(event).confirm(epoch, wins_noted);
        let redis = self.0.redis.clone();
        tokio::spawn(async move { redis.run::<i64>(&call).await.map(|_| ()) });
    }

    /// Whether the event still goes by this epoch.
    async fn check_epoch(&self, event: EventId, epoch: u64) -> Result<(), Failed> {
        if self.0.ledger.epoch(event).await? == Some(epoch) {
            return Ok(());
        }
        self.sync_now(event);
        Err(Failed::NotLoaded)
    }

    async fn outcomes(
        &self,
        event: &EventRecord,
        users: &[UserId],
        decided: &Decided,
        held: Vec<IssuedCouponRecord>,
    ) -> Result<Vec<Outcome>, Failed> {
        let of_before =
            |(user, said): (&UserId, &Said)| (*said == Said::Confirmed).then(|| user.clone());
        let before: Vec<UserId> = users.iter().zip(&decided.claims).filter_map(of_before).collect();
        let mut before = match before.is_empty() {
            true => Vec::new(),
            false => self.0.ledger.held_of(event, &before).await?,
        }
        .into_iter();
        let mut recorded = held.into_iter();
        let outcomes = decided.claims.iter().map(|said| match said {
            Said::Won { sequence, .. } => match recorded.next() {
                Some(coupon) if coupon.sequence == *sequence => Ok(Decision::Issued(coupon)),
                Some(coupon) => Ok(Decision::AlreadyClaimed(coupon)),
                None => Err(Undecided::InDoubt),
            },
            Said::Pending { .. } => {
                recorded.next().map(Decision::AlreadyClaimed).ok_or(Undecided::InDoubt)
            }
            Said::Confirmed => match before.next().flatten() {
                Some(coupon) => Ok(Decision::AlreadyClaimed(coupon)),
                None => {
                    // The ledger has never heard of it.
                    self.sync_now(event.id);
                    Err(Undecided::Unavailable)
                }
            },
            Said::SoldOut => Ok(Decision::SoldOut),
            Said::NotOpen => Ok(Decision::NotOpen { opens_at: decided.opens_at }),
            Said::Paused => Ok(Decision::Paused),
            Said::Closed => Ok(Decision::Closed),
            Said::Frozen => Err(Undecided::Unavailable),
        });
        Ok(outcomes.collect())
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

    fn events(&self) -> std::sync::MutexGuard<'_, HashMap<EventId, EventRecord>> {
        self.0.events.lock().unwrap_or_else(PoisonError::into_inner)
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

impl Strategy for RedisStrategy {
    async fn decide(&self, batch: Vec<Claim>) -> Vec<Outcome> {
        let mut outcomes = vec![Err(Undecided::Unavailable); batch.len()];
        let groups = by_event(batch).into_iter().map(async |group| {
            let (users, user_of) = distinct(&group);
            (self.decide_users(group.event, &users).await, user_of, group.places)
        });
        for (of_users, user_of, places) in join_all(groups).await {
            let mut told = vec![false; of_users.len()];
            for (place, user) in places.into_iter().zip(user_of) {
                let outcome = of_users[user].clone();
                // The first claim of a user has won; their others meet what it won.
                outcomes[place] = match outcome {
                    Ok(Decision::Issued(coupon)) if told[user] => {
                        Ok(Decision::AlreadyClaimed(coupon))
                    }
                    outcome => outcome,
                };
                told[user] = true;
            }
        }
        outcomes
    }
}

/// Every user once, in the order of their first claims, and which of them each claim is of.
fn distinct(group: &OfEvent) -> (Vec<UserId>, Vec<usize>) {
    let mut users = Vec::with_capacity(group.claims.len());
    let mut index_of: HashMap<&UserId, usize> = HashMap::with_capacity(group.claims.len());
    let user_of = group.claims.iter().map(|claim| {
        *index_of.entry(&claim.user_id).or_insert_with(|| {
            users.push(claim.user_id.clone());
            users.len() - 1
        })
    });
    let user_of = user_of.collect();
    (users, user_of)
}

/// A win that is not known to be durable.
fn won((user_id, said): (&UserId, &Said)) -> Option<Won> {
    match *said {
        Said::Won { sequence, issued_at } | Said::Pending { sequence, issued_at } => {
            Some(Won { user_id: user_id.clone(), sequence, issued_at })
        }
        _ => None,
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
    #[error("what Redis knows of an event is being rebuilt")]
    NotLoaded,
    #[error("Redis answered what no script of ours says: is its data changed by another program?")]
    Nonsense,
}

impl From<Failed> for IssuanceError {
    fn from(failed: Failed) -> Self {
        Self::Beside(failed.to_string())
    }
}

impl Failed {
    fn undecided(&self) -> Undecided {
        match self {
            Self::Redis(RedisError::InDoubt(_) | RedisError::Rejected(_))
            | Self::Record(ClaimError::InDoubt(_))
            | Self::Nonsense => Undecided::InDoubt,
            _ => Undecided::Unavailable,
        }
    }

    /// What is told when wins of a batch could not be recorded: of them nothing is known, and the
    /// rest was decided by a word that may no longer count.
    fn outcomes(&self, claims: &[Said]) -> Vec<Outcome> {
        let outcome = |said: &Said| match said {
            Said::Won { .. } | Said::Pending { .. } => Err(Undecided::InDoubt),
            _ => Err(Undecided::Unavailable),
        };
        claims.iter().map(outcome).collect()
    }
}
