//! The ledger behind what was promised: where wins are kept by another commit than the ledger, who
//! reads the ledger may have to wait for them, or write them.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use firstcome_core::{Commit, EventId};
use firstcome_ledger::{CatchUp, EventRecord};
use tokio::time::{Instant, sleep};

use super::calls::Keys;
use super::keeper::{LOOKS_AT_ONCE, Scope};
use super::{Failed, RedisStrategy};
use crate::IssuanceError;
use crate::journal::Journal;
use crate::out_of_reach::kept_events;

/// Longest that a reader waits for what was promised.
const CATCH_UP_MAX: Duration = Duration::from_secs(2);
/// How long it is remembered how far a partition is applied.
const POSITION_REMEMBERED: Duration = Duration::from_secs(1);
/// How soon it looks whether it is there.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How often it looks when that takes longer.
const LOOK_SELDOM: Duration = Duration::from_millis(80);

impl CatchUp for RedisStrategy {
    fn catch_up(&self) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>> {
        Box::pin(async { self.catch_up_all().await.map_err(|failed| failed.to_string()) })
    }

    fn settle(&self) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>> {
        Box::pin(async { self.settle_all().await.map_err(|failed| failed.to_string()) })
    }
}

impl RedisStrategy {
    /// Waits until the ledger has every win of an event that Kafka had before the call.
    ///
    /// # Errors
    /// When that takes longer than two seconds, or something does not answer.
    pub(crate) async fn wait_for_journal(&self, event: &EventRecord) -> Result<(), IssuanceError> {
        let Some(partition) = self.partition_of(event).await? else { return Ok(()) };
        // One asks for all who wait: a worker that lags has better readers than these.
        let turns = Arc::clone(self.journal_turns().entry(partition).or_default());
        let applied = async {
            let applied = self.applied(partition, Instant::now() + CATCH_UP_MAX).await;
            applied.map(drop).map_err(|failed| failed.to_string())
        };
        turns.share(applied).await.map_err(IssuanceError::Beside)
    }

    async fn all_applied(&self, event: &EventRecord) -> Result<(), Failed> {
        match self.partition_of(event).await? {
            Some(partition) => {
                self.applied(partition, Instant::now() + CATCH_UP_MAX).await.map(drop)
            }
            // Nobody wins before it is pinned.
            None => Ok(()),
        }
    }

    /// How many records of its partition the ledger lacks, when that takes too long.
    async fn count_in_journal(&self, event: &EventRecord) -> Result<u64, Failed> {
        match self.all_applied(event).await {
            Err(Failed::NotApplied { lacks, .. }) => Ok(lacks),
            applied => applied.map(|()| 0),
        }
    }

    /// Brings the ledger up to every win that was told before the call, whatever its event.
    async fn catch_up_all(&self) -> Result<(), Failed> {
        let in_redis = self.kept_events(&[Commit::RedisStream]).await?;
        for (_, settled) in self.settle_each(in_redis, in_time()).await {
            settled?;
        }
        let Some(journal) = &self.0.journal else {
            return match kept_events(&self.0.ledger, &[Commit::Kafka], 1).await?.as_slice() {
                [] => Ok(()),
                _ => Err(Failed::NoJournal),
            };
        };
        let deadline = Instant::now() + CATCH_UP_MAX;
        // Others may have pinned events to partitions that were added since it was looked at.
        let partitions = journal.count_partitions().await?;
        for partition in 0..i32::try_from(partitions).unwrap_or(i32::MAX) {
            self.applied(partition, deadline).await?;
        }
        Ok(())
    }

    /// Brings the ledger up to every claim that was decided before the call, told or in doubt.
    async fn settle_all(&self) -> Result<(), Failed> {
        let mut all = self.kept_events(&Commit::ALL).await?;
        let decided = all.iter().filter(|event| event.epoch > 0 && !self.is_long_over(event));
        let ids: Vec<EventId> = decided.map(|event| event.id).collect();
        // What Redis has lost it cannot tell, and its batch may still be written.
        self.check_all(&ids).await?;
        all.retain(|event| event.commit != Commit::RedisStream);
        let scope = Scope { in_doubt: true, ..in_time() };
        for (_, settled) in self.settle_each(all, scope).await {
            settled?;
        }
        self.catch_up_all().await?;
        // Nor what it has lost since.
        self.check_all(&ids).await
    }

    /// # Errors
    /// Where what Redis knows of one of these events is not to be trusted. It is rebuilt then.
    async fn check_all(&self, events: &[EventId]) -> Result<(), Failed> {
        let mut lost = Vec::new();
        for some in events.chunks(LOOKS_AT_ONCE) {
            let calls: Vec<_> = some.iter().map(|event| Keys::of(*event).check()).collect();
            for (event, is_trusted) in some.iter().zip(self.0.redis.run_all::<i64>(&calls).await) {
                if is_trusted? == 0 {
                    lost.push(*event);
                }
            }
        }
        if lost.is_empty() {
            return Ok(());
        }
        lost.into_iter().for_each(|event| self.0.left.find(event));
        self.rebuild_left();
        Err(Failed::NotLoaded)
    }

    /// How many wins of this event were told and are not in the ledger, two seconds from now at the
    /// latest; changes nothing. Of a partition of the journal, all records that are not applied
    /// count.
    ///
    /// # Errors
    /// When Redis, the journal or the ledger does not answer.
    pub async fn count_promised(&self, event: &EventRecord) -> Result<u64, IssuanceError> {
        let deadline = Instant::now() + CATCH_UP_MAX;
        match event.commit {
            Commit::Ledger => Ok(0),
            Commit::RedisStream => {
                let mut rest = LOOK_EVERY;
                loop {
                    let pending = self.count_pending(event.id).await?;
                    if pending == 0 || Instant::now() >= deadline {
                        return Ok(pending);
                    }
                    // All that is pending is read.
                    sleep(rest).await;
                    rest = LOOK_SELDOM.min(rest * 2);
                }
            }
            Commit::Kafka => Ok(self.count_in_journal(event).await?),
        }
    }

    /// Brings the ledger up to all that Redis has decided of an event; how many wins it still lacks
    /// when that takes too long.
    pub(crate) async fn drain_for_audit(&self, id: EventId) -> Result<u64, IssuanceError> {
        let Some(event) = self.event(id).await.map_err(Failed::from)? else { return Ok(0) };
        let scope = in_time();
        loop {
            match self.settle_pending(&event, scope).await {
                Ok(settled) if settled.done == 0 => break,
                Ok(_) => {}
                Err(Failed::NotSettled) => break,
                Err(failed) => return Err(failed.into()),
            }
        }
        let pending = self.count_pending(id).await?;
        match event.commit {
            Commit::Ledger | Commit::RedisStream => Ok(pending),
            Commit::Kafka => Ok(pending + self.count_in_journal(&event).await?),
        }
    }

    /// How far the ledger had applied a partition not long ago: what is appended later gets no
    /// lower offset, if it is appended to the same journal.
    pub(super) async fn applied_before(&self, partition: i32) -> Result<i64, Failed> {
        let known = self.positions().get(&partition).copied();
        if let Some((position, read_at)) = known
            && read_at.elapsed() < POSITION_REMEMBERED
        {
            return Ok(position);
        }
        let read_at = Instant::now();
        let position = self.position(partition).await?;
        self.positions().insert(partition, (position, read_at));
        Ok(position)
    }

    /// How far the ledger has applied a partition.
    pub(super) async fn position(&self, partition: i32) -> Result<i64, Failed> {
        let topic = self.journal()?.topic();
        Ok(self.0.ledger.journal_position(topic, partition).await?.unwrap_or(0))
    }

    /// Waits until the ledger has all that is in a partition now; up to which offset that is.
    pub(super) async fn applied(&self, partition: i32, deadline: Instant) -> Result<i64, Failed> {
        let end = self.journal()?.end_offset(partition).await?;
        self.applied_up_to(partition, end, deadline).await
    }

    /// The same, where that is known: so far it has been at some time.
    pub(super) async fn applied_up_to(
        &self,
        partition: i32,
        end: i64,
        deadline: Instant,
    ) -> Result<i64, Failed> {
        let journal = self.journal()?;
        let mut rest = LOOK_EVERY;
        loop {
            let position = self.position(partition).await?;
            if position > end {
                // More may have come since it was asked.
                let end = journal.end_offset(partition).await?;
                if position > end {
                    return Err(Failed::AnotherJournal { partition, position, end });
                }
            }
            let lacks = u64::try_from(end - position).unwrap_or(0);
            if lacks == 0 {
                return Ok(end);
            }
            if Instant::now() >= deadline {
                return Err(Failed::NotApplied { partition, lacks });
            }
            // A worker that lags is not helped by being asked more often.
            sleep(rest).await;
            rest = LOOK_SELDOM.min(rest * 2);
        }
    }

    /// The partition of an event, which it has from its first epoch on; another process may have
    /// begun that.
    pub(super) async fn partition_of(&self, event: &EventRecord) -> Result<Option<i32>, Failed> {
        if event.partition.is_none() {
            self.forget(event.id);
            return Ok(self.event(event.id).await?.and_then(|event| event.partition));
        }
        Ok(event.partition)
    }

    pub(super) fn journal(&self) -> Result<&Journal, Failed> {
        self.0.journal.as_ref().ok_or(Failed::NoJournal)
    }
}

/// All that is pending, as far as a reader waits for it.
fn in_time() -> Scope {
    Scope { until: Some(Instant::now() + CATCH_UP_MAX), ..Scope::default() }
}
