//! What is done for events in the background: pending wins whose batch has died are recorded, and
//! what another process has changed in the ledger is followed in Redis.

use std::time::Duration;

use firstcome_cache::redis::cmd;
use firstcome_core::{EventId, Strategy, Timestamp};
use tokio::time::{MissedTickBehavior, interval};

use super::calls::{Keys, Pending, pending_win};
use super::{Failed, RedisStrategy};

/// How often the keeper looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Events that it looks after.
const EVENTS_MAX: u64 = 10_000;
/// Pending wins that are recorded in one transaction.
const STEP: usize = 500;
/// How old a pending win is before anyone but its batch records it, in microseconds.
const ORPHANED_MICROS: i64 = 2_000_000;

impl RedisStrategy {
    /// Looks after all events that Redis decides, until it is stopped.
    pub(crate) async fn keep(self) {
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            // Whoever claims is told, and the log with them, what stands in the way.
            let _ = self.look_after_all().await;
        }
    }

    async fn look_after_all(&self) -> Result<(), Failed> {
        let events = self.0.ledger.events_decided_by(Strategy::Redis, EVENTS_MAX).await?;
        if events.is_empty() {
            return Ok(());
        }
        let (seconds, micros): (i64, i64) = self.0.redis.call(&cmd("TIME")).await?;
        let before = seconds * 1_000_000 + micros - ORPHANED_MICROS;
        for event in events {
            let known = self.events().get(&event.id).map(|known| known.version);
            if known != Some(event.version) {
                self.follow(&event).await;
            }
            self.record_pending(event.id, Some(Timestamp::from_micros(before))).await?;
        }
        Ok(())
    }

    /// Records pending wins, of before this moment if one is given: all that there are at once.
    pub(super) async fn record_pending(
        &self,
        event: EventId,
        before: Option<Timestamp>,
    ) -> Result<(), Failed> {
        let keys = Keys::of(event);
        // Read first: what was rebuilt in between is refused by the ledger, or recorded already.
        let epoch: Option<u64> = self.0.redis.call(&keys.epoch()).await?;
        let (_, entries): Pending = self.0.redis.call(&keys.pending(STEP)).await?;
        let mut wins = Vec::new();
        for (sequence, value) in &entries {
            let won = pending_win(sequence, value).ok_or(Failed::Nonsense)?;
            if before.is_none_or(|before| won.issued_at < before) {
                wins.push(won);
            }
        }
        let Some(epoch) = epoch.filter(|_| !wins.is_empty()) else { return Ok(()) };
        for wins in wins.chunks(STEP) {
            self.record(event, epoch, wins).await?;
            let noted = wins.iter().map(|won| (&won.user_id, won.sequence));
            self.0.redis.run::<i64>(&keys.confirm(epoch, noted)).await?;
        }
        Ok(())
    }
}
