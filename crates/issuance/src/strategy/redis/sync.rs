//! Rebuilding what Redis knows of an event from the ledger.
//!
//! 1. Redis is *taken*: nobody is decided any more, and nobody who took it before goes on.
//! 2. Where Redis is the commit, what is pending was promised: it is written to the ledger.
//! 3. The next epoch begins. From then on neither the ledger nor a journal's readers take anything
//!    by the word of an older one. It begins only after the very epoch that was there before
//!    step 1: who slept since then begins nothing.
//! 4. Where Kafka is the commit, the epoch's *fence* is appended to the event's partition, and a
//!    worker applies the partition up to it: what was promised lies before it, and of what comes
//!    after it by an older word nothing counts.
//! 5. The ledger's rows are now all that there is to know. They are copied in pages, and the event
//!    is decided again when the last is there.
//!
//! Nothing here is timed for safety, a lock only spares work, and it can end after any step: the
//! next to rebuild goes on with the same epoch where Redis still has what was copied, and else
//! begins another.

use std::collections::HashMap;
use std::convert::Infallible;
use std::slice;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use firstcome_core::{Commit, EventId, EventState, IssuedCouponId};
use firstcome_ledger::{EventRecord, JournalRecord, LedgerError, NotRecorded, Won};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep, timeout_at};
use uuid::Uuid;

use super::super::lock::Lock;
use super::calls::{Keys, PendingBatch};
use super::keeper::{Scope, Settled};
use super::{Failed, RedisStrategy};
use crate::IssuanceError;
use crate::journal::{AppendError, Journal};

/// Winners that are copied in one step.
const PAGE: u64 = 1_000;
/// How long nobody begins after a failure.
const REST_AFTER_FAILURE: Duration = Duration::from_millis(100);
/// Longest that a call waits until an event is rebuilt.
const WHOLE_MAX: Duration = Duration::from_secs(20);
/// Longest that it waits for a worker.
const APPLY_WAIT_MAX: Duration = Duration::from_secs(10);
/// Longest that the making of an event waits until it is loaded.
const PREPARE_MAX: Duration = Duration::from_secs(1);
/// How often who waits for another process looks again.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What Redis answers to who would finish, of an event that was changed since they have read it.
const CHANGED: i64 = -1;
/// How often the ledger is told how far a rebuilding is, from this long after its beginning on.
const TELL_EVERY: Duration = Duration::from_millis(500);
/// Rebuildings that tell the ledger at once: when Redis was lost with all events, the ledger has
/// better to do.
const TELLERS: usize = 8;

/// The events that this process rebuilds, and who waits for them.
pub(super) struct Syncs {
    running: Arc<Mutex<HashMap<EventId, watch::Receiver<()>>>>,
    tellers: Semaphore,
}

impl Default for Syncs {
    fn default() -> Self {
        Self { running: Arc::default(), tellers: Semaphore::new(TELLERS) }
    }
}

/// Ends what a process has begun to rebuild.
struct Ended {
    running: Arc<Mutex<HashMap<EventId, watch::Receiver<()>>>>,
    event: EventId,
}

impl Drop for Ended {
    fn drop(&mut self) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.event);
    }
}

/// How far a rebuilding is.
#[derive(Default)]
struct Progress {
    /// Winners that Redis knows again.
    copied: AtomicU32,
    /// Whether the ledger was told.
    is_told: AtomicBool,
}

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
    /// Makes a new event ready for its first claim, which need not wait then.
    pub(crate) async fn prepare(&self, event: EventId) {
        self.sync_soon(event, Instant::now() + PREPARE_MAX).await;
    }

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

    /// The same; what is returned changes no more, and ends with it.
    pub(super) fn begin_sync(&self, event: EventId) -> watch::Receiver<()> {
        let running = Arc::clone(&self.0.syncs.running);
        let mut syncs = running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ended) = syncs.get(&event) {
            return ended.clone();
        }
        let (end, ended) = watch::channel(());
        syncs.insert(event, ended.clone());
        drop(syncs);
        let strategy = self.clone();
        tokio::spawn(async move {
            // Also where it ends by a fault.
            let _ended = Ended { running, event };
            match strategy.sync(event, None).await {
                Ok(Some(_)) => strategy.0.left.is_rebuilt(event),
                Ok(None) => {}
                Err(error) => {
                    if strategy.0.left.has_failed(event, Instant::now()) {
                        tracing::warn!(
                            firstcome.event.id = %event, error.message = %error,
                            "what Redis knows of an event cannot be rebuilt yet"
                        );
                    }
                    sleep(REST_AFTER_FAILURE).await;
                }
            }
            drop(end);
        });
        ended
    }

    /// Rebuilds what Redis knows of an event, to the end even if the caller goes away; where
    /// somebody else is at it, waits for that, and rebuilds nothing that was rebuilt meanwhile.
    ///
    /// # Errors
    /// When Redis or the ledger does not answer, or it takes too long.
    pub async fn sync_event(&self, event: EventId) -> Result<Synced, IssuanceError> {
        let strategy = self.clone();
        let synced = tokio::spawn(async move { strategy.sync_or_wait(event).await });
        synced.await.unwrap_or(Err(LedgerError::Closing.into()))
    }

    async fn sync_or_wait(&self, event: EventId) -> Result<Synced, IssuanceError> {
        let began = Instant::now();
        let mut others = None;
        loop {
            if let Some(synced) = self.sync(event, others).await? {
                return Ok(synced);
            }
            if began.elapsed() >= WHOLE_MAX {
                return Err(Failed::NotLoaded.into());
            }
            let (_, _, _, loading, _) = self.look(event).await?;
            others = others.or(loading.map(|_| began));
            sleep(LOOK_EVERY).await;
        }
    }

    /// Rebuilds what Redis knows of an event. Claims are answered 503 meanwhile, and go on by
    /// themselves afterwards. None where somebody else is at it. Whoever has waited for `others`
    /// since they were seen to rebuild it leaves it as they did.
    async fn sync(
        &self,
        event: EventId,
        others: Option<Instant>,
    ) -> Result<Option<Synced>, Failed> {
        let redis = &self.0.redis;
        let Some(lock) = Lock::acquire(redis, event, "sync", Instant::now()).await? else {
            return Ok(None);
        };
        if let Some(since) = others
            && let Ok((Some(epoch), _, _, None, _)) = self.look(event).await
        {
            lock.release().await;
            let winners = redis.call(&Keys::of(event).count()).await?;
            return Ok(Some(Synced { epoch, winners, took: since.elapsed() }));
        }
        let metrics = &self.0.metrics;
        metrics.running.increment(1);
        let progress = Progress::default();
        let synced = tokio::select! {
            synced = Box::pin(self.rebuild(event, &progress)) => synced,
            never = self.tell(event, &progress) => match never {},
        };
        metrics.running.decrement(1);
        if matches!(synced, Ok(Some(_)) if progress.is_told.load(Ordering::Relaxed)) {
            // Else it is shown for a while longer.
            let _ = self.0.ledger.tell_sync(event, None).await;
        }
        match &synced {
            Ok(Some(synced)) => metrics.rebuilt(synced.took),
            Ok(None) => {}
            Err(_) => metrics.failed(),
        }
        lock.release().await;
        synced
    }

    /// Tells the ledger from time to time how far a rebuilding is.
    async fn tell(&self, event: EventId, progress: &Progress) -> Infallible {
        sleep(TELL_EVERY).await;
        let _permit = self.0.syncs.tellers.acquire().await.expect("it is never closed");
        loop {
            progress.is_told.store(true, Ordering::Relaxed);
            let copied = progress.copied.load(Ordering::Relaxed);
            // For people to see; a ledger that fails ends the rebuilding.
            let _ = self.0.ledger.tell_sync(event, Some(copied)).await;
            sleep(TELL_EVERY).await;
        }
    }

    async fn rebuild(&self, id: EventId, progress: &Progress) -> Result<Option<Synced>, Failed> {
        let began = Instant::now();
        let hand = Uuid::new_v4().simple().to_string();
        let Some(begun) = self.begin_rebuild(id, &hand).await? else { return Ok(None) };
        let Begun { event, winners, last } = begun;
        progress.copied.store(winners, Ordering::Relaxed);
        progress.is_told.fetch_or(event.sync.is_some(), Ordering::Relaxed);
        let applied = match event.commit {
            Commit::Kafka => Some(self.fence(&event).await?),
            Commit::Ledger | Commit::RedisStream => None,
        };
        let copied = Copied { hand: &hand, winners, last };
        let Some(winners) = self.copy_winners(&event, copied, applied, progress).await? else {
            return Ok(None);
        };
        let (epoch, took) = (event.epoch, began.elapsed());
        tracing::info!(
            firstcome.event.id = %id,
            "Redis knows the event again: epoch {epoch}, {winners} winners, in {} ms",
            took.as_millis()
        );
        self.remember(event);
        Ok(Some(Synced { epoch, winners, took }))
    }

    /// Steps 1 to 3: takes Redis, and begins an epoch or goes on with one. None where somebody else
    /// is at it, or there is no such event.
    async fn begin_rebuild(&self, id: EventId, hand: &str) -> Result<Option<Begun>, Failed> {
        let (redis, ledger, keys) = (&self.0.redis, &self.0.ledger, Keys::of(id));
        self.can_be_fenced(id).await?;
        let before = ledger.epoch(id).await?;
        let (epoch, winners, mut last): (i64, u32, i64) = redis.run(&keys.take(hand)).await?;
        let Some(mut event) = ledger.event(id).await? else { return Ok(None) };
        if before != Some(event.epoch) {
            // Somebody else has begun it, perhaps after Redis was taken, and may have ended by now:
            // what was promised since then would be void by an epoch more.
            return Ok(None);
        }
        let known = u64::try_from(epoch).ok();
        if event.commit == Commit::RedisStream
            && let Some(forgotten) = known.filter(|known| *known > event.epoch)
        {
            // The ledger was restored from a backup. What was copied before is not what it has: it
            // must not seem so to whoever comes next, either.
            redis.call::<i64>(&keys.drop_copy()).await?;
            last = -1;
            // By this epoch it takes what was promised.
            let begun = ledger.begin_epoch(id, event.epoch, forgotten - 1, None).await?;
            let Some(begun) = begun else { return Ok(None) };
            event = begun;
        }
        if event.commit == Commit::RedisStream {
            match self.carry_all(&event, known).await {
                // Somebody else has rebuilt it meanwhile.
                Err(Failed::AnotherEpoch) => return Ok(None),
                carried => carried?,
            }
        }
        if let Ok(last) = u32::try_from(last)
            && known == Some(event.epoch)
        {
            return Ok(Some(Begun { event, winners, last }));
        }
        let partitions = match (event.commit, event.partition) {
            (Commit::Kafka, None) => Some(self.journal()?.partitions().await?),
            _ => None,
        };
        let begun = ledger.begin_epoch(id, event.epoch, known.unwrap_or(0), partitions).await?;
        let Some(event) = begun else { return Ok(None) };
        let has_begun: i64 = redis.run(&keys.begin(hand, event.epoch)).await?;
        Ok((has_begun == 1).then_some(Begun { event, winners: 0, last: 0 }))
    }

    /// Whether the fence of an event can be appended, as far as that is known: else others go on
    /// to decide it, and it is pinned by no topic that is not the ledger's.
    async fn can_be_fenced(&self, id: EventId) -> Result<(), Failed> {
        let why = match self.journal().map(Journal::refusal) {
            Ok(None) => return Ok(()),
            Ok(Some(why)) => AppendError::NotSent(why).into(),
            Err(none) => none,
        };
        match self.event(id).await? {
            Some(event) if event.commit == Commit::Kafka => Err(why),
            _ => Ok(()),
        }
    }

    /// Step 2: writes to the ledger what was promised on Redis's word alone, in this epoch; where
    /// Redis has lost which it was, in the present one.
    async fn carry_all(&self, event: &EventRecord, epoch: Option<u64>) -> Result<(), Failed> {
        if epoch == Some(event.epoch) {
            let settle = || Box::pin(self.settle_epoch(event, epoch, Scope::default()));
            loop {
                match settle().await {
                    Ok(settled) if settled == Settled::default() => return Ok(()),
                    Ok(_) => {}
                    // Else it could never be rebuilt. A quantity that is too low can be raised.
                    Err(Failed::NotRecorded(NotRecorded::Sequence)) => break,
                    Err(failed) => return Err(failed),
                }
            }
        }
        // Else once, since nobody is decided: what is written is not noted there any more. Of an
        // earlier epoch, all was written before a later began by way of this Redis; but somebody
        // may have begun that by way of another, or the ledger was restored since.
        Box::pin(self.carry_left(event, epoch)).await
    }

    /// Writes to the ledger, by its present epoch, what was promised in another. Where a place was
    /// given to somebody else since, or there is none left, the ledger's word stands.
    async fn carry_left(&self, event: &EventRecord, known: Option<u64>) -> Result<(), Failed> {
        let (keys, mut cursor) = (Keys::of(event.id), 0);
        loop {
            let (next, batches) = self.pending_batches(&keys, known, cursor).await?;
            for PendingBatch { wins, .. } in batches {
                match self.settle(event, event.epoch, &wins).await {
                    Err(failed) if failed.is_lost_place() => self.carry_each(event, &wins).await?,
                    settled => drop(settled?),
                }
            }
            if next == 0 {
                return Ok(());
            }
            cursor = next;
        }
    }

    async fn carry_each(&self, event: &EventRecord, wins: &[Won]) -> Result<(), Failed> {
        for won in wins {
            match self.settle(event, event.epoch, slice::from_ref(won)).await {
                Err(failed) if failed.is_lost_place() => tracing::error!(
                    firstcome.event.id = %event.id,
                    firstcome.issued_coupon.id = %IssuedCouponId::derive(event.id, &won.user_id),
                    "what Redis has promised cannot be kept ({failed}): place {}; was the event \
                     decided in another Redis, too?",
                    won.sequence.get()
                ),
                settled => drop(settled?),
            }
        }
        Ok(())
    }

    /// Step 4: appends the fence, and waits until all of the partition up to it is in the ledger;
    /// which partition, and up to which offset.
    async fn fence(&self, event: &EventRecord) -> Result<(i32, i64), Failed> {
        let partition = event.partition.ok_or(Failed::NotLoaded)?;
        let fence = JournalRecord::Fence { event_id: event.id, epoch: event.epoch };
        self.append_records(partition, &[fence]).await?;
        let end = self.applied(partition, Instant::now() + APPLY_WAIT_MAX).await?;
        Ok((partition, end))
    }

    /// Step 5: copies the winners behind those that are there, from a ledger that has applied so
    /// much; how many there are then. None where somebody else is at it.
    async fn copy_winners(
        &self,
        event: &EventRecord,
        Copied { hand, mut winners, mut last }: Copied<'_>,
        applied: Option<(i32, i64)>,
        progress: &Progress,
    ) -> Result<Option<u32>, Failed> {
        let (redis, keys) = (&self.0.redis, Keys::of(event.id));
        loop {
            let page = self.0.ledger.winners_after(event.no, last, PAGE).await?;
            let Some(lowest) = page.last() else { break };
            last = lowest.sequence.get();
            winners += u32::try_from(page.len()).expect("a page is bounded");
            if redis.run::<u32>(&keys.add(hand, event.epoch, &page)).await? != winners {
                return Ok(None);
            }
            self.0.metrics.winners.increment(page.len() as u64);
            progress.copied.store(winners, Ordering::Relaxed);
        }
        if let Some((partition, end)) = applied
            && self.position(partition).await? < end
        {
            // The ledger was restored since, and the copy lacks what is gone there.
            redis.call::<i64>(&keys.drop_copy()).await?;
            return Err(Failed::NotLoaded);
        }
        let mut read = None;
        let (event, finished) = loop {
            // As it is now: it may have changed since the epoch began.
            let Some(event) = self.0.ledger.event(event.id).await? else { return Ok(None) };
            let finished: i64 = redis.run(&keys.finish(hand, &event, winners, last)).await?;
            if finished != CHANGED {
                break (event, finished);
            }
            // What was told is in the ledger, unless that was restored from a backup.
            if read.replace(event.version) == Some(event.version) {
                redis.call::<i64>(&keys.drop_copy()).await?;
                return Ok(None);
            }
        };
        // Whoever has changed it since may have died before telling.
        if let Some(now) = self.0.ledger.event(event.id).await?
            && now.version > event.version
        {
            self.follow("", &now).await;
        }
        if finished == 1 && event.rule.state(self.0.ledger.clock().now()) == EventState::Closed {
            self.expire(&[event.id]).await;
        }
        Ok((finished == 1).then_some(winners))
    }
}

/// What is copied already, by this hand: so many winners, up to this sequence.
struct Copied<'a> {
    hand: &'a str,
    winners: u32,
    last: u32,
}

/// A rebuilding that can copy winners: which are there, and the last sequence among them.
struct Begun {
    event: EventRecord,
    winners: u32,
    last: u32,
}
