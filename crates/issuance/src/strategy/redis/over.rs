//! Claims on events that are long over: the ledger has all that there is to know of them, and Redis
//! is not filled with their winners once more.

use std::collections::HashMap;
use std::sync::{MutexGuard, PoisonError};

use firstcome_core::{Commit, EventId, UserId};
use firstcome_ledger::{Decision, EventRecord};
use tokio::time::{Instant, timeout_at};

use super::super::Outcome;
use super::calls::Keys;
use super::changes::REMEMBERED;
use super::{EVENTS_MAX, Failed, RedisStrategy};

/// What a process knows of an event that is long over, and that Redis has forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    /// The ledger has all that was won, once it has applied the event's partition up to this
    /// offset: what is appended there later is of other events.
    At(i64),
    /// The ledger has all that was won.
    Written,
}

impl RedisStrategy {
    /// What the ledger tells users who claim on an event that is long over, and that Redis has
    /// forgotten; none where it is not so, or not known here.
    pub(super) async fn decide_over(
        &self,
        event: &EventRecord,
        users: &[UserId],
    ) -> Result<Option<Vec<Outcome>>, Failed> {
        if !self.is_long_over(event) {
            return Ok(None);
        }
        if self.over().get(&event.id) != Some(&(event.version, Over::Written)) {
            // The claims on other events wait with these.
            let deadline = self.load_deadline(event.id);
            let written = timeout_at(deadline, self.is_all_written(event.id)).await;
            if !written.unwrap_or(Err(Failed::NotLoaded))? {
                return Ok(None);
            }
        }
        let held = self.0.ledger.held_of(event, users).await?.into_iter();
        let told = held.map(|held| held.map_or(Decision::Closed, Decision::AlreadyClaimed));
        Ok(Some(told.map(Ok).collect()))
    }

    /// Whether an event is long over, Redis has forgotten it, and the ledger has all that was won;
    /// which does not change any more.
    async fn is_all_written(&self, id: EventId) -> Result<bool, Failed> {
        let now = self.0.ledger.event(id).await?;
        let Some(event) = now.filter(|event| self.is_long_over(event)) else { return Ok(false) };
        let version = event.version;
        self.remember(event.clone());
        let (epoch, ..) = self.look(id).await?;
        let pending: u64 = self.0.redis.call(&Keys::of(id).count_pending()).await?;
        if epoch.is_some() || pending > 0 {
            return Ok(false);
        }
        if let (Commit::Kafka, Some(partition)) = (event.commit, event.partition) {
            let known = self.over().get(&id).copied();
            let end = match known {
                Some((of, Over::At(end))) if of == version => end,
                _ => self.journal()?.end_offset(partition).await?,
            };
            self.is_over(id, (version, Over::At(end)));
            // Others claim beside it, and wait for nobody.
            self.applied_up_to(partition, end, Instant::now()).await?;
        }
        self.is_over(id, (version, Over::Written));
        Ok(true)
    }

    fn is_over(&self, id: EventId, known: (u64, Over)) {
        let mut over = self.over();
        if over.len() >= EVENTS_MAX && !over.contains_key(&id) {
            over.clear();
        }
        over.insert(id, known);
    }

    fn over(&self) -> MutexGuard<'_, HashMap<EventId, (u64, Over)>> {
        self.0.over.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For as long as Redis remembers it: who was deciding it then has come to an end. Its end may
    /// have been moved into the past just now.
    pub(super) fn is_long_over(&self, event: &EventRecord) -> bool {
        let (ends, changed) = (event.rule.window.closes_at(), event.updated_at);
        let over_since = if event.rule.closed { changed } else { ends.max(changed) };
        let long = i64::try_from(REMEMBERED.as_micros()).expect("an hour");
        self.0.ledger.clock().now().as_micros() - over_since.as_micros() >= long
    }
}
