//! The journal: won claims in a topic of Kafka, durable before anyone is told, and read again by
//! the workers that write them to the ledger.
//!
//! Invariants:
//! - what [`Journal::append`] has answered `Ok` to is on as many in-sync replicas as the topic asks
//!   for, in the order of the call, below every [`Journal::end_offset`] asked for later;
//! - every call ends within a bound, and at once while the brokers are known to be away;
//! - a [`Reader`] gives every record of its partition once and in order, or an error: it skips
//!   nothing, neither a record that it cannot read nor one that the topic has lost.
//!
//! Modules in reading order: `config`, `record` (what is written), `append`, `read`, `topic` (what
//! the topic must be like), `binding` (whose it is), `assignment` (who reads which partition);
//! below them `sender` (one producer), `link` (what is known of the brokers), `client`, `error`,
//! `metrics`.

mod append;
mod assignment;
mod binding;
mod client;
mod config;
mod error;
mod link;
mod metrics;
mod read;
mod record;
mod sender;
#[cfg(test)]
mod tests;
mod topic;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use firstcome_core::Invalid;
use firstcome_ledger::Ledger;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::Producer as _;

use append::Appender;

pub use assignment::{Assignment, AssignmentError};
pub use binding::{BindError, Kept};
pub use config::{KafkaConfig, SaslMechanism};
pub use error::{AppendError, ReadError, Unreachable};
pub use firstcome_ledger::{JournalRecord, JournalWin};
pub use read::{Entry, Reader};
pub use record::{Unreadable, Why, decode, encode};
pub use topic::{TopicError, TopicFacts, TopicFault};

/// Longest that a question to the brokers is waited for, in milliseconds.
const ANSWER_MAX_MS: u64 = 900;
/// Longest that a question to the brokers is waited for.
const ANSWER_MAX: Duration = Duration::from_millis(ANSWER_MAX_MS);
const _: () = assert!(ANSWER_MAX_MS < 1_000, "a call fails within a second once Kafka is away");

/// The journal, over connections that all calls share; cheap to clone. It connects when it is
/// first used.
#[derive(Clone)]
pub struct Journal(Arc<Shared>);

struct Shared {
    config: KafkaConfig,
    appender: Appender,
    /// Partitions that the topic had when it was last found fit; 0 before that.
    partitions: AtomicU32,
}

impl Journal {
    /// The journal in `kafka.topic`.
    ///
    /// # Errors
    /// What is wrong with the configuration; files are read when it connects.
    pub fn new(config: &KafkaConfig) -> Result<Self, Invalid> {
        config.check()?;
        if !config.is_set() {
            return Err(Invalid::new("kafka.brokers is empty: name at least one, as host:9092"));
        }
        let config = config.clone();
        let appender = Appender::new(&config);
        Ok(Self(Arc::new(Shared { config, appender, partitions: AtomicU32::new(0) })))
    }

    /// Makes these records durable in a partition, one after another, in this order. Calls for one
    /// partition at the same time mix. The lowest of their offsets, where the brokers tell it.
    ///
    /// # Errors
    /// Whether they may be in the journal all the same. It ends within
    /// `kafka.delivery_timeout_ms`, and within a second where the brokers are known to be away.
    pub async fn append(
        &self,
        partition: i32,
        records: &[JournalRecord],
    ) -> Result<Option<i64>, AppendError> {
        self.0.appender.append(partition, records).await
    }

    /// Writes nothing until the topic was found fit: nobody could look at it yet.
    pub fn withhold(&self) {
        self.0.appender.is_unfit("nobody could look at the topic yet".to_owned());
    }

    /// Why nothing is written to the topic, where it was found unfit, or nobody could look at it.
    pub(crate) fn refusal(&self) -> Option<String> {
        self.0.appender.refusal()
    }

    /// Whether any broker answers, whichever partitions it leads.
    ///
    /// # Errors
    /// When none does within a second.
    pub async fn answers(&self) -> Result<(), Unreachable> {
        let topic = self.0.config.topic.clone();
        let asked = self.0.appender.ask(ANSWER_MAX, move |sender, limit| {
            sender.producer().client().fetch_metadata(Some(&topic), limit).map(drop)
        });
        asked.await
    }

    /// The offset that follows the last record of a partition: everything acknowledged by now is
    /// below it, after a change of the leader too (Kafka's KIP-207: a new leader does not tell
    /// its end before it has caught up).
    ///
    /// # Errors
    /// When no broker tells within a second.
    pub async fn end_offset(&self, partition: i32) -> Result<i64, Unreachable> {
        let (_, end) = self.offsets(partition).await?;
        Ok(end)
    }

    /// The offset of the first record that is still in a partition, and of the one after its last.
    ///
    /// # Errors
    /// When no broker tells within a second.
    pub async fn offsets(&self, partition: i32) -> Result<(i64, i64), Unreachable> {
        let topic = self.0.config.topic.clone();
        let asked = self.0.appender.ask_unless_away(move |sender, limit| {
            let client = sender.producer().client();
            match client.fetch_watermarks(&topic, partition, limit) {
                Err(error) if error::code(&error) == Some(Code::UnknownPartition) => {
                    // It may be one of those that were added since the library looked.
                    client.fetch_metadata(Some(&topic), limit)?;
                    client.fetch_watermarks(&topic, partition, limit)
                }
                answer => answer,
            }
        });
        asked.await
    }

    /// How many partitions the topic has by now, fit or not: who only reads it need not be allowed
    /// to judge it. Never fewer than when it was last found fit.
    ///
    /// # Errors
    /// When no broker tells within a second, or there is no topic.
    pub(crate) async fn count_partitions(&self) -> Result<u32, Unreachable> {
        let topic = self.0.config.topic.clone();
        let asked = self.0.appender.ask_unless_away(move |sender, limit| {
            let metadata = sender.producer().client().fetch_metadata(Some(&topic), limit)?;
            match metadata.topics().first().map(|topic| (topic.error(), topic.partitions().len())) {
                None | Some((None, 0)) => Err(KafkaError::MetadataFetch(Code::UnknownTopic)),
                Some((Some(error), _)) => Err(KafkaError::MetadataFetch(error.into())),
                Some((None, count)) => Ok(u32::try_from(count).unwrap_or(u32::MAX)),
            }
        });
        Ok(asked.await?.max(self.0.partitions.load(Ordering::Relaxed)))
    }

    /// Reads a partition from an offset on.
    ///
    /// # Errors
    /// When the client cannot be made. Whether the offset exists shows with the first
    /// [`Reader::next`].
    pub fn reader(&self, partition: i32, from: i64) -> Result<Reader, ReadError> {
        Reader::start(self.clone(), partition, from)
    }

    /// Holds the topic against what the configuration asks for. Where it is missing and
    /// `kafka.create_topic` is set, makes it first.
    ///
    /// # Errors
    /// Every fault, each with the command that repairs it; or that no broker answers.
    pub async fn check_topic(&self) -> Result<TopicFacts, TopicError> {
        let (facts, led) = self.look().await?;
        self.0.appender.is_known(&facts, &led);
        Ok(facts)
    }

    /// The same, and makes it [the ledger's](Self::bind).
    ///
    /// # Errors
    /// As [`check_topic`](Self::check_topic)'s and [`bind`](Self::bind)'s.
    pub async fn check_topic_of(&self, ledger: &Ledger) -> Result<TopicFacts, BindError> {
        let (facts, led) = self.look().await?;
        self.bind(ledger).await?;
        self.0.appender.is_known(&facts, &led);
        Ok(facts)
    }

    /// What the topic is like, and which partitions have a leader. Nothing is written where it is
    /// not fit.
    async fn look(&self) -> Result<(TopicFacts, Vec<i32>), TopicError> {
        let looked = topic::check(&self.0.config, &self.0.appender).await;
        match &looked {
            Ok((facts, _)) => self.0.partitions.store(facts.partitions, Ordering::Relaxed),
            Err(faults @ TopicError::Faults(_)) => self.0.appender.is_unfit(faults.to_string()),
            Err(TopicError::Unknown { .. }) => {}
        }
        looked
    }

    /// How many partitions the topic has, from 0 on; it may have been given more since it was last
    /// [looked at](Self::check_topic), which the first call does.
    ///
    /// # Errors
    /// As [`check_topic`](Self::check_topic)'s, as long as the topic was never found fit.
    pub async fn partitions(&self) -> Result<u32, TopicError> {
        match self.0.partitions.load(Ordering::Relaxed) {
            0 => Ok(self.look().await?.0.partitions),
            known => Ok(known),
        }
    }

    /// The topic, by which the ledger knows the journal.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.0.config.topic
    }

    /// How long records may take to be acknowledged; after that they are in doubt.
    #[must_use]
    pub fn delivery_timeout(&self) -> Duration {
        self.0.config.delivery_timeout()
    }

    /// The partitions that this process shall work on, as the group of all workers shares them.
    ///
    /// # Errors
    /// When the client cannot be made.
    pub fn assignment(&self) -> Result<Assignment, AssignmentError> {
        Assignment::join(&self.0.config)
    }

    /// Whether the last calls showed that no broker answers.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.0.appender.is_silent()
    }

    /// Whether the connections to all brokers were lost, and none has answered since.
    #[must_use]
    pub fn is_away(&self) -> bool {
        self.0.appender.is_away()
    }

    fn config(&self) -> &KafkaConfig {
        &self.0.config
    }
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Journal").field(&self.0.config).finish()
    }
}

/// Removes the topic that a test has made.
#[cfg(test)]
pub(crate) async fn remove_topic(journal: &Journal) {
    topic::remove(journal.config()).await;
}
