//! Changes of an event while Redis decides it.
//!
//! What allows more is in the ledger first, and Redis follows. What allows less freezes the event
//! in Redis first: nobody new is answered, what is pending is recorded, and then the ledger
//! changes. A freeze ends by itself. None of this is needed for safety: the ledger refuses what it
//! no longer allows, and Redis is rebuilt then; it spares the rebuild.

use std::time::Duration;

use firstcome_core::EventId;
use firstcome_ledger::EventRecord;
use tokio::time::Instant;

use super::calls::Keys;
use super::{Failed, RedisStrategy};
use crate::IssuanceError;

/// Longest that an event stays frozen when the one who froze it has died.
const FREEZE_MAX: Duration = Duration::from_secs(2);
/// Longest that a change waits for what is pending.
const DRAIN_MAX: Duration = Duration::from_secs(1);
/// How long Redis remembers a closed event, in seconds; after that it is asked of the ledger.
const REMEMBERED_SECONDS: u32 = 3_600;

impl RedisStrategy {
    /// Makes ready for a change that allows less. Where Redis does not answer, the ledger's refusal
    /// does instead.
    pub(crate) async fn before_restriction(&self, event: EventId) {
        let micros = i64::try_from(FREEZE_MAX.as_micros()).expect("seconds");
        let frozen = self.0.redis.run::<i64>(&Keys::of(event).freeze(micros)).await;
        if frozen.is_ok_and(|frozen| frozen == 1) {
            // What cannot be recorded in time is refused by the ledger later.
            let _ = self.drain(event, Instant::now() + DRAIN_MAX).await;
        }
    }

    /// Makes Redis follow a change that is in the ledger, or that was refused there.
    pub(crate) async fn follow(&self, event: &EventRecord) {
        let keys = Keys::of(event.id);
        if self.0.redis.run::<i64>(&keys.follow(event)).await.is_err() {
            // The keeper does it when Redis answers again.
            return self.forget(event.id);
        }
        self.remember(event.clone());
        if event.rule.closed {
            for expire in keys.expire(REMEMBERED_SECONDS) {
                // What stays longer than it need be does no harm.
                let _ = self.0.redis.call::<i64>(&expire).await;
            }
        }
    }

    /// What is left pending after all that can be recorded was.
    pub(crate) async fn drain_for_audit(&self, event: EventId) -> Result<u64, IssuanceError> {
        self.drain(event, Instant::now() + DRAIN_MAX).await.map_err(IssuanceError::from)
    }

    /// Records all that is pending; how much is left at the deadline.
    pub(super) async fn drain(&self, event: EventId, deadline: Instant) -> Result<u64, Failed> {
        loop {
            self.record_pending(event, None).await?;
            let left: u64 = self.0.redis.call(&Keys::of(event).count_pending()).await?;
            if left == 0 || Instant::now() >= deadline {
                return Ok(left);
            }
        }
    }
}
