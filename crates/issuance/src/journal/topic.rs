//! The topic: looked at, made where that is wanted, and refused where it could lose a record.
//!
//! Below it, `judgement` knows what it must be like, and the commands that make it so.

mod judgement;

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, NewTopic};
use rdkafka::admin::{ResourceSpecifier, TopicReplication};
use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::Producer as _;
use rdkafka::types::RDKafkaRespErr;
use tokio::time::{Instant, sleep};

use super::append::Appender;
use super::client::asking;
use super::config::KafkaConfig;
use super::error::sentence;
use super::link::DeafEars;
use judgement::{Commands, Found, judge, wanted_settings};

/// Longest that one question about the topic, or its making, may take.
const QUESTION_MAX: Duration = Duration::from_secs(5);
/// How often a topic that was just made is looked for.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A topic that is as it must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicFacts {
    /// Its partitions, from 0 on.
    pub partitions: u32,
    /// Copies of each record.
    pub replication_factor: u32,
    /// Copies that must be written before a record is acknowledged.
    pub min_insync_replicas: u32,
    /// Whether it was made just now.
    pub is_new: bool,
}

/// One thing that is wrong with the topic.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}. To repair it: {repair}")]
pub struct TopicFault {
    /// What it is, as a sentence without its full stop.
    pub what: String,
    /// The command that repairs it.
    pub repair: String,
}

/// Why the topic cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TopicError {
    /// It is not as it must be.
    #[error("{}", lines(.0))]
    Faults(Vec<TopicFault>),
    /// It could not be looked at, or not be made.
    #[error("the topic {topic} of Kafka could not be {done}: {reason}")]
    Unknown {
        /// The topic.
        topic: String,
        /// What was tried: `looked at` or `made`.
        done: &'static str,
        /// What the brokers say.
        reason: String,
    },
}

type Admin = AdminClient<DeafEars>;

/// Who has copies of the partitions, which of these have a leader, and all brokers.
struct Copies {
    replicas: Vec<Vec<i32>>,
    led: Vec<i32>,
    brokers: Vec<i32>,
}

/// Looks at the topic, and makes it where that is wanted; what it is like, and which partitions
/// have a leader.
pub(super) async fn check(
    config: &KafkaConfig,
    appender: &Appender,
) -> Result<(TopicFacts, Vec<i32>), TopicError> {
    let looked = Looked { config, done: "looked at" };
    let admin = Admin::from_config_and_context(&asking(config), DeafEars);
    let admin = admin.map_err(|error| looked.failed(&error))?;
    let outcome = look_or_make(config, &admin, appender).await;
    // Its end waits for its thread.
    std::thread::spawn(move || drop(admin));
    outcome
}

async fn look_or_make(
    config: &KafkaConfig,
    admin: &Admin,
    appender: &Appender,
) -> Result<(TopicFacts, Vec<i32>), TopicError> {
    let mut is_new = false;
    let deadline = Instant::now() + QUESTION_MAX;
    let found = loop {
        match look(config, admin, appender).await? {
            Some(found) => break found,
            None if config.create_topic && !is_new => {
                make(config, admin).await?;
                is_new = true;
            }
            // The broker that is asked may not have heard of it yet.
            None if is_new && Instant::now() < deadline => sleep(LOOK_AGAIN).await,
            None => {
                let what = format!("kafka.topic: there is no topic {}", config.topic);
                let fault = TopicFault { what, repair: Commands(config).create() };
                return Err(TopicError::Faults(vec![fault]));
            }
        }
    };
    let faults = judge(config, &found);
    if !faults.is_empty() {
        return Err(TopicError::Faults(faults));
    }
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let facts = TopicFacts {
        partitions: number(found.replicas.len()),
        replication_factor: number(found.copies()),
        min_insync_replicas: u32::try_from(found.min_insync_replicas).unwrap_or(u32::MAX),
        is_new,
    };
    Ok((facts, found.led))
}

/// The topic, if there is one.
async fn look(
    config: &KafkaConfig,
    admin: &Admin,
    appender: &Appender,
) -> Result<Option<Found>, TopicError> {
    let looked = Looked { config, done: "looked at" };
    let Some(copies) = copies(config, appender).await? else { return Ok(None) };
    let Copies { replicas, led, brokers } = copies;
    let options = AdminOptions::new().request_timeout(Some(QUESTION_MAX));
    let topic = [ResourceSpecifier::Topic(&config.topic)];
    let described = admin.describe_configs(&topic, &options).await;
    let described = described.map_err(|error| looked.failed(&error))?.pop();
    let settings = match described {
        Some(Ok(settings)) => settings,
        Some(Err(Code::UnknownTopicOrPartition)) => return Ok(None),
        Some(Err(code)) => return Err(looked.because(code.to_string())),
        None => return Err(looked.because("no answer names it".to_owned())),
    };
    let settings = Settings { looked, settings };
    Ok(Some(Found {
        replicas,
        led,
        brokers,
        cleanup_policy: settings.text("cleanup.policy")?.to_owned(),
        min_insync_replicas: settings.parsed("min.insync.replicas")?,
        retention_ms: settings.parsed("retention.ms")?,
        retention_bytes: settings.parsed("retention.bytes")?,
        max_message_bytes: settings.parsed("max.message.bytes")?,
        timestamp_type: settings.text("message.timestamp.type")?.to_owned(),
        unclean_election: settings.parsed("unclean.leader.election.enable")?,
    }))
}

async fn copies(config: &KafkaConfig, appender: &Appender) -> Result<Option<Copies>, TopicError> {
    let looked = Looked { config, done: "looked at" };
    let topic = config.topic.clone();
    let asked = appender.ask(QUESTION_MAX, move |sender, limit| {
        let metadata = sender.producer().client().fetch_metadata(Some(&topic), limit)?;
        let brokers = metadata.brokers().iter().map(rdkafka::metadata::MetadataBroker::id);
        let mut brokers: Vec<i32> = brokers.collect();
        brokers.sort_unstable();
        let Some(topic) = metadata.topics().first() else { return Ok(None) };
        match topic.error() {
            None => {}
            Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART) => return Ok(None),
            Some(error) => return Err(KafkaError::MetadataFetch(error.into())),
        }
        let mut partitions: Vec<_> = topic.partitions().iter().collect();
        partitions.sort_unstable_by_key(|partition| partition.id());
        let replicas = partitions.iter().map(|partition| partition.replicas().to_vec()).collect();
        let led = partitions.iter().filter(|partition| partition.leader() >= 0);
        let led = led.map(|partition| partition.id()).collect();
        Ok(Some(Copies { replicas, led, brokers }))
    });
    asked.await.map_err(|unreachable| looked.because(unreachable.0))
}

/// Makes the topic as the configuration wants it. One that another process makes meanwhile is fine.
async fn make(config: &KafkaConfig, admin: &Admin) -> Result<(), TopicError> {
    let made = Looked { config, done: "made" };
    let settings = wanted_settings(config);
    let number = |count: u32| i32::try_from(count).unwrap_or(i32::MAX);
    let replication = TopicReplication::Fixed(number(config.replication_factor_min));
    let mut topic = NewTopic::new(&config.topic, number(config.partitions_min), replication);
    for (key, value) in &settings {
        topic = topic.set(key, value);
    }
    let options = AdminOptions::new()
        .request_timeout(Some(QUESTION_MAX))
        .operation_timeout(Some(QUESTION_MAX));
    let outcome = admin.create_topics([&topic], &options).await;
    match outcome.map_err(|error| made.failed(&error))?.pop() {
        Some(Ok(_)) => tracing::info!(kafka.topic = config.topic, "made the topic in Kafka"),
        Some(Err((_, Code::TopicAlreadyExists))) => {}
        Some(Err((_, code))) => return Err(made.because(code.to_string())),
        None => return Err(made.because("no answer names it".to_owned())),
    }
    Ok(())
}

/// Removes the topic that a test has made.
#[cfg(test)]
pub(super) async fn remove(config: &KafkaConfig) {
    let admin = Admin::from_config_and_context(&asking(config), DeafEars).unwrap();
    admin.delete_topics(&[&config.topic], &AdminOptions::new()).await.unwrap();
}

/// What was tried with the topic, for errors.
#[derive(Clone, Copy)]
struct Looked<'a> {
    config: &'a KafkaConfig,
    done: &'static str,
}

impl Looked<'_> {
    fn failed(self, error: &KafkaError) -> TopicError {
        self.because(sentence(error))
    }

    fn because(self, reason: String) -> TopicError {
        TopicError::Unknown { topic: self.config.topic.clone(), done: self.done, reason }
    }
}

/// The settings of the topic, those that it has of the broker included.
struct Settings<'a> {
    looked: Looked<'a>,
    settings: ConfigResource,
}

impl Settings<'_> {
    fn text(&self, key: &str) -> Result<&str, TopicError> {
        let value = self.settings.get(key).and_then(|entry| entry.value.as_deref());
        value.ok_or_else(|| self.looked.because(format!("the brokers do not tell its {key}")))
    }

    fn parsed<T: std::str::FromStr>(&self, key: &str) -> Result<T, TopicError> {
        let text = self.text(key)?;
        text.parse().map_err(|_| self.looked.because(format!("its {key} is {text:?}")))
    }
}

/// That events of the ledger are in partitions up to this one, and the topic has fewer.
pub(super) fn partitions_fault(config: &KafkaConfig, partitions: i32, highest: i32) -> TopicFault {
    let topic = &config.topic;
    let what = format!(
        "{topic} has {partitions} partitions, and events of the ledger are in partition {highest}"
    );
    let alter = format!("--alter --topic {topic} --partitions {}", i64::from(highest) + 1);
    TopicFault { what, repair: Commands(config).topics(&alter) }
}

fn lines(faults: &[TopicFault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
