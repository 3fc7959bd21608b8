//! One journal for a ledger: events keep the partition that they were opened with, and their wins
//! are read from the topic that they were written to.

use std::time::Duration;

use firstcome_core::{Commit, EventId, Strategy};
use firstcome_ledger::{Ledger, LedgerError};
use futures_util::future::try_join_all;
use tokio::time::{Instant, sleep};

use super::topic::{LOOK_AGAIN, partitions_fault};
use super::{Journal, TopicError, TopicFault, Unreachable};

/// Longest that a partition of a topic that is there may be without a leader.
const LEADER_WAIT_MAX: Duration = Duration::from_secs(5);

/// Why the topic cannot be this ledger's, or could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// It is not as it must be, or another is in use.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// Which topic is in use is not known.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// Why a ledger keeps its journal.
#[derive(Debug, thiserror::Error)]
pub enum Kept {
    /// It has no such journal, or no more.
    #[error(
        "the ledger has no topic {0}: nothing is forgotten. If a `forget` of it was cut short, \
         start a worker with it once more, which writes what may be left, and forget it again"
    )]
    Unknown(String),
    /// Wins of an event that is not over go there.
    #[error("wins of events that are not over, as {0}, are in the topic: close them, or wait")]
    Open(EventId),
    /// There are records that no worker has applied.
    #[error(
        "the ledger lacks {lacks} records of partition {partition}: let a worker write them, then \
         end every process and try again"
    )]
    Lacking {
        /// The partition.
        partition: i32,
        /// How many there are, or more.
        lacks: u64,
    },
    /// The ledger has applied more than there is.
    #[error(
        "the ledger has applied partition {partition} to offset {position}, and it ends at {end}: \
         is this another topic, or another Kafka?"
    )]
    Another {
        /// The partition.
        partition: i32,
        /// How far it is applied.
        position: i64,
        /// Where it ends.
        end: i64,
    },
    /// Nobody tells whether it lacks anything.
    #[error(
        "whether the ledger lacks records of the topic cannot be seen: {0}; where it is gone for \
         good, with all that no worker has applied, say so by --lost"
    )]
    Unseen(#[from] Unreachable),
    /// The ledger does not answer.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl Journal {
    /// Makes this the ledger's journal, where it has none: from the first record that is there.
    ///
    /// # Errors
    /// [`TopicError::Faults`] where the ledger has another, or has events in partitions that this
    /// one lacks. When ledger or brokers do not answer.
    pub async fn bind(&self, ledger: &Ledger) -> Result<(), BindError> {
        if !ledger.is_shared() {
            return Ok(());
        }
        let topic = self.topic();
        let partitions = i32::try_from(self.partitions().await?).unwrap_or(i32::MAX);
        let is_taken = !ledger.journal_positions(topic).await?.is_empty();
        if !is_taken && ledger.other_journal(topic).await?.is_none() {
            let firsts = self.firsts(partitions).await.map_err(|error| TopicError::Unknown {
                topic: topic.to_owned(),
                done: "looked at",
                reason: error.to_string(),
            })?;
            ledger.take_journal(topic, &firsts).await?;
        }
        // Asked again: two that take different ones at once are both refused.
        let faults = match ledger.other_journal(topic).await? {
            Some(other) => vec![TopicFault {
                what: format!("kafka.topic is {topic}, and the topic of this ledger is {other}"),
                repair: format!(
                    "set kafka.topic to {other}; to go over to {topic}, let `firstcome journal \
                     forget --topic {other}` see whether anything is left in {other}"
                ),
            }],
            None => match ledger.highest_partition().await? {
                Some(highest) if highest >= partitions => {
                    vec![partitions_fault(self.config(), partitions, highest)]
                }
                _ => Vec::new(),
            },
        };
        if faults.is_empty() {
            return Ok(());
        }
        let faults = TopicError::Faults(faults);
        self.0.appender.is_unfit(faults.to_string());
        Err(faults.into())
    }

    /// The first offset that is there of each partition. One that was just made may have to get
    /// its leader first.
    async fn firsts(&self, partitions: i32) -> Result<Vec<(i32, i64)>, Unreachable> {
        let deadline = Instant::now() + LEADER_WAIT_MAX;
        let first = |partition| async move {
            loop {
                match self.offsets(partition).await {
                    Ok((first, _)) => return Ok((partition, first)),
                    Err(_) if Instant::now() < deadline => sleep(LOOK_AGAIN).await,
                    Err(error) => return Err(error),
                }
            }
        };
        try_join_all((0..partitions).map(first)).await
    }

    /// Makes the ledger forget this journal, so that it can have another. What it lacks of it is
    /// looked for, unless that `is_lost` anyway. Nobody is told of a win in it afterwards, whoever
    /// still runs.
    ///
    /// # Errors
    /// Why nothing is forgotten.
    pub async fn forget(&self, ledger: &Ledger, is_lost: bool) -> Result<(), Kept> {
        let topic = self.topic();
        let now = ledger.clock().now();
        let open = ledger.events_decided_by(Strategy::Redis, &[Commit::Kafka], now, 1).await?;
        if let Some(event) = open.first() {
            return Err(Kept::Open(event.id));
        }
        // Before, since whoever is cut short behind the forgetting does not come to look.
        if !is_lost {
            self.nothing_is_left(&ledger.journal_positions(topic).await?).await?;
        }
        let positions = ledger.forget_journal(topic).await?;
        if positions.is_empty() {
            return Err(Kept::Unknown(topic.to_owned()));
        }
        if is_lost {
            return Ok(());
        }
        // And again: what was told while it was looked for was missed.
        let kept = self.nothing_is_left(&positions).await;
        if kept.is_err() {
            ledger.take_journal(topic, &positions).await?;
        }
        kept
    }

    /// Whether all that is there is applied to these positions.
    async fn nothing_is_left(&self, positions: &[(i32, i64)]) -> Result<(), Kept> {
        for &(partition, position) in positions {
            let end = self.end_offset(partition).await?;
            if position > end {
                return Err(Kept::Another { partition, position, end });
            }
            let lacks = u64::try_from(end - position).unwrap_or(0);
            if lacks > 0 {
                return Err(Kept::Lacking { partition, lacks });
            }
        }
        Ok(())
    }
}
