//! The ledger behind what was promised: where wins are kept by another commit than the ledger, who
//! reads the ledger may have to wait for them, or write them.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use firstcome_core::{Commit, EventId};
use firstcome_ledger::{CatchUp, EventRecord, Promised};
use tokio::time::{Instant, sleep};

use super::{Failed, RedisStrategy};
use crate::IssuanceError;
use crate::journal::Journal;

/// Longest that a reader waits for what was promised.
const CATCH_UP_MAX: Duration = Duration::from_secs(2);
/// How often it looks whether it is there.
const LOOK_EVERY: Duration = Duration::from_millis(5);

impl CatchUp for RedisStrategy {
    fn catch_up(&self) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>> {
        Box::pin(async { self.catch_up_all().await.map_err(|error| error.to_string()) })
    }
}

impl RedisStrategy {
    /// Brings the ledger up to every win of this event that was told before the call.
    ///
    /// # Errors
    /// When that is not done within two seconds, or cannot be.
    pub(crate) async fn catch_up_event(&self, event: &EventRecord) -> Result<(), IssuanceError> {
        Ok(self.try_catch_up(event).await?)
    }

    async fn try_catch_up(&self, event: &EventRecord) -> Result<(), Failed> {
        match event.commit {
            Commit::Ledger => Ok(()),
            Commit::RedisStream => self.settle_pending(event, None).await.map(|_| ()),
            Commit::Kafka => match self.partition_of(event).await? {
                Some(partition) => self.applied(partition, Instant::now() + CATCH_UP_MAX).await,
                // Nobody wins before it is pinned.
                None => Ok(()),
            },
        }
    }

    /// Brings the ledger up to every win that was told before the call, whatever its event.
    ///
    /// # Errors
    /// When that is not done within two seconds, or cannot be.
    pub async fn catch_up_all(&self) -> Result<(), IssuanceError> {
        let asked = Instant::now();
        let mut last = self.0.caught_up.lock().await;
        // Who waited for another's turn shares it, if that began later than it asked.
        if last.is_none_or(|began| began < asked) {
            let began = Instant::now();
            self.try_catch_up_all().await?;
            *last = Some(began);
        }
        Ok(())
    }

    /// The same, for who knows the ledger alone.
    #[must_use]
    pub fn promised(&self) -> Promised {
        Promised::by(Arc::new(self.clone()))
    }

    async fn try_catch_up_all(&self) -> Result<(), Failed> {
        for event in self.kept_events(Some(Commit::RedisStream)).await? {
            self.settle_pending(&event, None).await?;
        }
        if let Some(journal) = &self.0.journal {
            let deadline = Instant::now() + CATCH_UP_MAX;
            let partitions = i32::try_from(journal.partitions().await?).unwrap_or(i32::MAX);
            for partition in 0..partitions {
                self.applied(partition, deadline).await?;
            }
        }
        Ok(())
    }

    /// Brings the ledger up to all that Redis has decided of an event; how many wins it still lacks
    /// when that takes too long.
    pub(crate) async fn drain_for_audit(&self, id: EventId) -> Result<u64, IssuanceError> {
        let Some(event) = self.event(id).await.map_err(Failed::from)? else { return Ok(0) };
        let deadline = Instant::now() + CATCH_UP_MAX;
        while self.settle_pending(&event, None).await?.done > 0 && Instant::now() < deadline {}
        let pending = self.count_pending(id).await?;
        match self.try_catch_up(&event).await {
            Ok(()) => Ok(pending),
            Err(Failed::NotApplied { lacks, .. }) => Ok(pending + lacks),
            Err(failed) => Err(failed.into()),
        }
    }

    /// Waits until the ledger has all that is in a partition now.
    pub(super) async fn applied(&self, partition: i32, deadline: Instant) -> Result<(), Failed> {
        let journal = self.journal()?;
        let end = journal.end_offset(partition).await?;
        loop {
            let position = self.0.ledger.journal_position(journal.topic(), partition).await?;
            let lacks = u64::try_from(end - position.unwrap_or(0)).unwrap_or(0);
            if lacks == 0 {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(Failed::NotApplied { partition, lacks });
            }
            sleep(LOOK_EVERY).await;
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
