//! One journal for a ledger: events keep the partition that they were opened with, and their wins
//! are read from the topic that they were written to.

use firstcome_core::{Commit, Strategy};
use firstcome_ledger::{Ledger, LedgerError};

use super::{Journal, TopicError, TopicFault};

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

impl Journal {
    /// Makes this the ledger's journal, where it has none, or where another has nothing left: no
    /// event is open whose wins go there, and all that is in it is applied.
    ///
    /// # Errors
    /// [`TopicError::Faults`] where another is in use. When ledger or brokers do not answer.
    pub async fn bind(&self, ledger: &Ledger) -> Result<(), BindError> {
        if !ledger.is_shared() {
            return Ok(());
        }
        let others = ledger.other_journals(self.topic()).await?;
        if let Some((other, ..)) = others.first() {
            let faults = self.not_yet_left(ledger, other, &others).await?;
            if !faults.is_empty() {
                let faults = TopicError::Faults(faults);
                self.0.appender.is_unfit(faults.to_string());
                return Err(faults.into());
            }
        }
        if !others.is_empty() || ledger.journal_position(self.topic(), 0).await?.is_none() {
            ledger.change_journal(self.topic()).await?;
        }
        Ok(())
    }

    /// What is left to be done with other topics before this one can take their place.
    async fn not_yet_left(
        &self,
        ledger: &Ledger,
        other: &str,
        positions: &[(String, i32, i64)],
    ) -> Result<Vec<TopicFault>, BindError> {
        let topic = self.topic();
        let mut faults = Vec::new();
        let now = ledger.clock().now();
        let open = ledger.events_decided_by(Strategy::Redis, &[Commit::Kafka], now, 1).await?;
        if let Some(event) = open.first() {
            faults.push(TopicFault {
                what: format!(
                    "kafka.topic is {topic}, and wins of events that are not over, as {}, are in \
                     {other}",
                    event.id
                ),
                repair: format!("set kafka.topic to {other} until they are over, or close them"),
            });
        }
        for (other, partition, position) in positions {
            let end =
                self.end_of(other, *partition).await.map_err(|error| TopicError::Unknown {
                    topic: other.clone(),
                    done: "looked at",
                    reason: error.to_string(),
                })?;
            // Without the topic there is nothing to be read.
            if end.is_some_and(|end| end > *position) {
                faults.push(TopicFault {
                    what: format!(
                        "kafka.topic is {topic}, and the ledger lacks records of partition \
                         {partition} of {other}"
                    ),
                    repair: format!("let a worker with kafka.topic {other} write them"),
                });
            }
        }
        Ok(faults)
    }
}
