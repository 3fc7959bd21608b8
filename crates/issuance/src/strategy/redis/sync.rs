//! Rebuilding what Redis knows of an event from the ledger.
//!
//! The next epoch is begun first: from then on the ledger takes nothing by the word of an older
//! one, so that its rows are all that there is to know. They are copied in pages, and the event is
//! decided again when the last is there. Nothing here is timed for safety: of two who rebuild at
//! once the higher epoch goes on, and a lock only spares the work.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use firstcome_core::EventId;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

use super::super::lock::Lock;
use super::calls::Keys;
use super::{Failed, RedisStrategy};
use crate::IssuanceError;

/// Winners that are copied in one step.
const PAGE: u64 = 1_000;
/// How long nobody begins after a failure.
const REST_AFTER_FAILURE: Duration = Duration::from_millis(100);
/// Longest that a call waits until an event is rebuilt.
const WHOLE_MAX: Duration = Duration::from_secs(20);
/// How often who waits for another process looks again.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The events that this process rebuilds, and who waits for them.
#[derive(Default)]
pub(super) struct Syncs(Arc<Mutex<HashMap<EventId, watch::Receiver<()>>>>);

/// An event is decided in Redis again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Synced {
    /// By whose word.
    pub epoch: u64,
    /// Winners that Redis knows now.
    pub winners: u32,
    /// How long it took.
    pub took: Duration,
}

impl RedisStrategy {
    /// Rebuilds an event in the background, unless that is under way.
    pub(super) fn sync_now(&self, event: EventId) {
        drop(self.begin_sync(event));
    }

    /// Rebuilds an event, and waits for that until the deadline.
    pub(super) async fn sync_soon(&self, event: EventId, deadline: Instant) {
        let mut ended = self.begin_sync(event);
        // The sender is dropped at the end.
        let _ = timeout_at(deadline, async { while ended.changed().await.is_ok() {} }).await;
        // Another process may be at it.
        sleep(LOOK_EVERY).await;
    }

    fn begin_sync(&self, event: EventId) -> watch::Receiver<()> {
        let running = Arc::clone(&self.0.syncs.0);
        let mut syncs = running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ended) = syncs.get(&event) {
            return ended.clone();
        }
        let (end, ended) = watch::channel(());
        syncs.insert(event, ended.clone());
        drop(syncs);
        let strategy = self.clone();
        tokio::spawn(async move {
            if let Err(error) = strategy.sync(event).await {
                tracing::warn!(
                    firstcome.event.id = %event, error.message = %error,
                    "what Redis knows of an event cannot be rebuilt yet"
                );
                sleep(REST_AFTER_FAILURE).await;
            }
            running.lock().unwrap_or_else(PoisonError::into_inner).remove(&event);
            drop(end);
        });
        ended
    }

    /// Rebuilds what Redis knows of an event, to the end; where somebody else is at it, waits for
    /// that.
    ///
    /// # Errors
    /// When Redis or the ledger does not answer, or it takes too long.
    pub async fn sync_event(&self, event: EventId) -> Result<Synced, IssuanceError> {
        let deadline = Instant::now() + WHOLE_MAX;
        loop {
            if let Some(synced) = self.sync(event).await? {
                return Ok(synced);
            }
            if Instant::now() >= deadline {
                return Err(Failed::NotLoaded.into());
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Rebuilds what Redis knows of an event. Claims are answered 503 meanwhile, and go on by
    /// themselves afterwards. None where somebody else is at it.
    async fn sync(&self, event: EventId) -> Result<Option<Synced>, Failed> {
        let redis = &self.0.redis;
        let Some(lock) = Lock::acquire(redis, event, "sync", Instant::now()).await? else {
            return Ok(None);
        };
        let synced = self.rebuild(event).await;
        lock.release().await;
        synced
    }

    async fn rebuild(&self, id: EventId) -> Result<Option<Synced>, Failed> {
        let (redis, ledger) = (&self.0.redis, &self.0.ledger);
        let began = Instant::now();
        let Some(event) = ledger.begin_epoch(id, None).await? else { return Ok(None) };
        let (keys, epoch) = (Keys::of(id), event.epoch);
        if redis.run::<i64>(&keys.begin(epoch)).await? == 0 {
            return Ok(None);
        }
        let (mut winners, mut last) = (0, 0);
        loop {
            let page = ledger.winners_after(event.no, last, PAGE).await?;
            let Some(lowest) = page.last() else { break };
            last = lowest.sequence.get();
            winners += u32::try_from(page.len()).expect("a page is bounded");
            if redis.run::<i64>(&keys.add(epoch, &page)).await? == 0 {
                return Ok(None);
            }
        }
        if redis.run::<i64>(&keys.finish(&event, winners, last)).await? == 0 {
            return Ok(None);
        }
        let took = began.elapsed();
        tracing::info!(
            firstcome.event.id = %id,
            "Redis knows the event again: epoch {epoch}, {winners} winners, in {} ms",
            took.as_millis()
        );
        self.remember(event);
        Ok(Some(Synced { epoch, winners, took }))
    }
}
