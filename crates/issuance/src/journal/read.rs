//! Reading a partition: every record once, in order, or an error.

use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::{Offset, TopicPartitionList};
use tokio::time::{Instant, timeout_at};

use super::link::DeafEars;
use super::record::{Unreadable, decode};
use super::{Journal, JournalRecord, ReadError, client, error};

/// How long nothing may come before it is asked whether there is something.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// A record, and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its offset in the partition.
    pub offset: i64,
    /// What it says, if it can be read.
    pub record: Result<JournalRecord, Unreadable>,
}

/// Reads one partition. Dropping it ends it, on a thread of its own.
pub struct Reader {
    journal: Journal,
    consumer: Option<StreamConsumer<DeafEars>>,
    partition: i32,
    /// The offset to be read next.
    next: i64,
    /// When something was last heard of the partition.
    heard: Instant,
    silence_max: Duration,
    /// What ended it, or is to be told after the records before it.
    fault: Option<Fault>,
}

/// Why a reader gives no more.
enum Fault {
    /// Its offset does not exist; the ones that do are asked for.
    Gone,
    Told(ReadError),
}

impl Reader {
    pub(super) fn start(journal: Journal, partition: i32, from: i64) -> Result<Self, ReadError> {
        let refused = |error: &KafkaError| ReadError::Refused(error::sentence(error));
        let config = journal.config();
        let settings = client::reading(config);
        let consumer = StreamConsumer::from_config_and_context(&settings, DeafEars)
            .map_err(|error| refused(&error))?;
        let mut wanted = TopicPartitionList::new();
        wanted
            .add_partition_offset(&config.topic, partition, Offset::Offset(from))
            .map_err(|error| refused(&error))?;
        consumer.assign(&wanted).map_err(|error| refused(&error))?;
        Ok(Self {
            journal,
            consumer: Some(consumer),
            partition,
            next: from,
            heard: Instant::now(),
            silence_max: SILENCE_MAX,
            fault: None,
        })
    }

    /// The partition.
    #[must_use]
    pub const fn partition(&self) -> i32 {
        self.partition
    }

    /// The offset that is read next.
    #[must_use]
    pub const fn position(&self) -> i64 {
        self.next
    }

    /// The next records, as soon as there is one: those that have arrived, so many at most; none
    /// when none comes in time. Nothing is lost when the
    /// future is dropped.
    ///
    /// # Errors
    /// Why there are none; only [`ReadError::Away`] may pass by itself.
    pub async fn next(
        &mut self,
        records_max: usize,
        wait_max: Duration,
    ) -> Result<Vec<Entry>, ReadError> {
        if self.fault.is_none() {
            let found = self.receive(records_max, Instant::now() + wait_max).await;
            if !found.is_empty() {
                self.heard = Instant::now();
                return Ok(found);
            }
            if self.fault.is_none() && self.heard.elapsed() >= self.silence_max {
                self.fault = self.look_after().await.map(Fault::Told);
            }
        }
        if matches!(self.fault, Some(Fault::Gone)) {
            let told = self.out_of_range().await?;
            self.fault = Some(Fault::Told(told));
        }
        match &self.fault {
            Some(Fault::Told(fault)) => {
                let fault = fault.clone();
                if fault.is_retryable() {
                    self.fault = None;
                }
                Err(fault)
            }
            _ => Ok(Vec::new()),
        }
    }

    /// What arrives until the deadline; a fault ends it.
    async fn receive(&mut self, records_max: usize, deadline: Instant) -> Vec<Entry> {
        let mut found = Vec::new();
        let consumer = self.consumer.as_ref().expect("taken only when it is dropped");
        let mut stream = consumer.stream();
        while found.len() < records_max {
            let arrived = if found.is_empty() {
                timeout_at(deadline, stream.next()).await.ok().flatten()
            } else {
                stream.next().now_or_never().flatten()
            };
            let Some(arrived) = arrived else { break };
            match judge(arrived, self.partition, self.next) {
                Ok(Some(entry)) => {
                    self.next = entry.offset + 1;
                    found.push(entry);
                }
                Ok(None) => {}
                Err(fault) => {
                    self.fault = Some(fault);
                    break;
                }
            }
        }
        found
    }

    /// Nothing has come for long: whether something should have.
    async fn look_after(&mut self) -> Option<ReadError> {
        match self.journal.offsets(self.partition).await {
            Err(unreachable) => Some(ReadError::Away(unreachable.0)),
            Ok((_, end)) if end > self.next => {
                Some(ReadError::Stalled { partition: self.partition, wanted: self.next, end })
            }
            Ok(_) => {
                self.heard = Instant::now();
                None
            }
        }
    }

    /// Names the offsets that there are; else it is asked again with the next call.
    async fn out_of_range(&self) -> Result<ReadError, ReadError> {
        let (partition, wanted) = (self.partition, self.next);
        match self.journal.offsets(partition).await {
            Ok((first, end)) => Ok(ReadError::OutOfRange { partition, wanted, first, end }),
            Err(unreachable) => Err(ReadError::Away(unreachable.0)),
        }
    }

    /// Hears nothing more, as a client that has stopped without a word.
    #[cfg(test)]
    pub(crate) fn deafen(&mut self, silence_max: Duration) {
        let consumer = self.consumer.as_ref().expect("taken only when it is dropped");
        consumer.pause(&consumer.assignment().unwrap()).unwrap();
        self.silence_max = silence_max;
    }
}

/// What arrived: the record at this offset, nothing of interest, or a fault.
fn judge(
    arrived: Result<BorrowedMessage<'_>, KafkaError>,
    partition: i32,
    wanted: i64,
) -> Result<Option<Entry>, Fault> {
    let error = match arrived {
        Ok(message) if message.offset() == wanted => {
            let record = decode(message.payload().unwrap_or_default());
            return Ok(Some(Entry { offset: wanted, record }));
        }
        Ok(message) => {
            let found = message.offset();
            return Err(Fault::Told(ReadError::Missing { partition, wanted, found }));
        }
        Err(error) => error,
    };
    let sentence = error::sentence(&error);
    match error::code(&error) {
        Some(Code::AutoOffsetReset | Code::OffsetOutOfRange) => Err(Fault::Gone),
        Some(Code::BadMessage) => Err(Fault::Told(ReadError::Damaged { partition, wanted })),
        Some(Code::AllBrokersDown) => Err(Fault::Told(ReadError::Away(sentence))),
        // The library goes on by itself with another broker, or with the same one later.
        Some(
            Code::BrokerTransportFailure
            | Code::Resolve
            | Code::OperationTimedOut
            | Code::RequestTimedOut
            | Code::NotLeaderForPartition
            | Code::LeaderNotAvailable
            | Code::CoordinatorNotAvailable
            | Code::CoordinatorLoadInProgress
            | Code::NotCoordinator,
        ) => Ok(None),
        _ => Err(Fault::Told(ReadError::Refused(sentence))),
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let consumer = self.consumer.take();
        std::thread::spawn(move || drop(consumer));
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader")
            .field("partition", &self.partition)
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}
