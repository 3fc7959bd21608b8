//! Which partitions a process works on: the group of all workers shares them.
//!
//! Kafka's group only shares the work. What has been applied is in the ledger, with the offset:
//! two processes that both believe a partition to be theirs harm nothing. No offset is committed
//! to Kafka, and no record is read here.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext as _, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;
use tokio::sync::watch;

use super::config::KafkaConfig;
use super::link::DeafEars;
use super::{client, error};

/// How often the member looks whether it shall end.
const TURN: Duration = Duration::from_millis(100);

/// Why a process is no member of the group.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the group of the workers cannot be joined: {0}")]
pub struct AssignmentError(String);

/// A process's share of the partitions. Dropping it leaves the group, so that others take over.
#[derive(Debug)]
pub struct Assignment {
    share: watch::Receiver<BTreeSet<i32>>,
    /// Ends the member.
    _member: Arc<()>,
}

impl Assignment {
    pub(super) fn join(config: &KafkaConfig) -> Result<Self, AssignmentError> {
        let failed = |error: &KafkaError| AssignmentError(error::sentence(error));
        let (told, share) = watch::channel(BTreeSet::new());
        let member = BaseConsumer::from_config_and_context(&client::sharing(config), Member(told))
            .map_err(|error| failed(&error))?;
        member.subscribe(&[&config.topic]).map_err(|error| failed(&error))?;
        let kept = Arc::new(());
        let watched = Arc::downgrade(&kept);
        // A thread of its own: the library waits in its calls.
        let serve = move || {
            while watched.strong_count() > 0 {
                if let Some(Err(error)) = member.poll(TURN) {
                    tracing::debug!(target: "librdkafka", "the group of the workers: {error}");
                }
            }
        };
        let thread = std::thread::Builder::new().name("journal-group".to_owned());
        thread.spawn(serve).map_err(|error| AssignmentError(error.to_string()))?;
        Ok(Self { share, _member: kept })
    }

    /// The partitions to work on now.
    #[must_use]
    pub fn current(&self) -> BTreeSet<i32> {
        self.share.borrow().clone()
    }

    /// The partitions to work on, once they are others than those that were given last.
    pub async fn changed(&mut self) -> BTreeSet<i32> {
        if self.share.changed().await.is_err() {
            // The member has ended, which only its owner does.
            std::future::pending::<()>().await;
        }
        self.share.borrow_and_update().clone()
    }
}

/// Hears which partitions are its own.
struct Member(watch::Sender<BTreeSet<i32>>);

impl ClientContext for Member {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        DeafEars.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        DeafEars.error(error, reason);
    }
}

impl ConsumerContext for Member {
    /// What is to be given away is no longer worked on before the group hears of it.
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Revoke(given) = rebalance {
            let given: BTreeSet<i32> = given
                .elements()
                .iter()
                .map(rdkafka::topic_partition_list::TopicPartitionListElem::partition)
                .collect();
            self.0.send_modify(|share| share.retain(|partition| !given.contains(partition)));
        }
    }

    fn post_rebalance(&self, member: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(taken) = rebalance {
            // It shares the work and reads nothing.
            if let Err(error) = member.pause(taken) {
                tracing::debug!(target: "librdkafka", "the group of the workers: {error}");
            }
            let taken: Vec<i32> = taken
                .elements()
                .iter()
                .map(rdkafka::topic_partition_list::TopicPartitionListElem::partition)
                .collect();
            self.0.send_modify(|share| share.extend(taken));
        }
    }
}
