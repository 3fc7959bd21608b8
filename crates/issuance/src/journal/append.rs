//! Writing records, so that each ends acknowledged, not sent, or in doubt.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::producer::Producer as _;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout};

use super::config::KafkaConfig;
use super::link::{Ears, Link};
use super::sender::Sender;
use super::{ANSWER_MAX, AppendError, JournalRecord, TopicFacts, Unreachable, client, error};

/// Records on their way, over all partitions: beyond that none is taken.
const ON_THE_WAY_MAX: usize = 65_536;
/// Questions to the brokers at once, each on a thread that waits: others need such threads, too, as
/// log-ins do for passwords.
const QUESTIONS_MAX: usize = 32;

/// Writes to the topic.
pub(super) struct Appender {
    topic: String,
    delivery_timeout: Duration,
    client: ClientConfig,
    sender: Mutex<Option<Arc<Sender>>>,
    room: Arc<Semaphore>,
    questions: Arc<Semaphore>,
    /// As many copies as the topic wants written before it acknowledges; 1 until that is known.
    min_insync_replicas: AtomicUsize,
    /// Why the topic must not be given anything, where it was found so.
    unfit: Mutex<Option<String>>,
    link: Arc<Link>,
}

impl Appender {
    pub(super) fn new(config: &KafkaConfig) -> Self {
        Self {
            topic: config.topic.clone(),
            delivery_timeout: config.delivery_timeout(),
            client: client::producing(config, ON_THE_WAY_MAX),
            sender: Mutex::new(None),
            room: Arc::new(Semaphore::new(ON_THE_WAY_MAX)),
            questions: Arc::new(Semaphore::new(QUESTIONS_MAX)),
            min_insync_replicas: AtomicUsize::new(1),
            unfit: Mutex::new(None),
            link: Arc::new(Link::new()),
        }
    }

    pub(super) async fn append(
        &self,
        partition: i32,
        records: &[JournalRecord],
    ) -> Result<Option<i64>, AppendError> {
        if records.is_empty() {
            return Ok(None);
        }
        let started = Instant::now();
        let outcome = self.guarded(partition, records).await;
        self.link.metrics.appended(records.len(), &outcome, started.elapsed());
        outcome
    }

    /// Writes if the breaker of the partition lets it, and tells it what became of that.
    async fn guarded(
        &self,
        partition: i32,
        records: &[JournalRecord],
    ) -> Result<Option<i64>, AppendError> {
        if let Some(faults) = self.refusal() {
            return Err(AppendError::NotSent(faults));
        }
        let gate = self.link.gate(partition);
        let Some(pass) = gate.pass() else {
            return Err(AppendError::NotSent(self.link.reason()));
        };
        // A call that tries asks before it writes: if nobody answers, nothing is in doubt.
        if pass.is_try()
            && let Err(reason) = self.probe(partition).await
        {
            self.link.ended(pass, partition, Some(&reason));
            return Err(AppendError::NotSent(reason));
        }
        let outcome = self.write(partition, records).await;
        match &outcome {
            // Only of what went out is there news of the brokers.
            Err(AppendError::NotSent(_)) => drop(pass),
            Err(AppendError::InDoubt(reason)) => self.link.ended(pass, partition, Some(reason)),
            Ok(_) => self.link.ended(pass, partition, None),
        }
        outcome
    }

    async fn write(
        &self,
        partition: i32,
        records: &[JournalRecord],
    ) -> Result<Option<i64>, AppendError> {
        let not_sent = |error: &KafkaError| AppendError::NotSent(error::sentence(error));
        let wanted = u32::try_from(records.len()).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).try_acquire_many_owned(wanted).map_err(|_| {
            AppendError::NotSent(format!("{ON_THE_WAY_MAX} records wait to be acknowledged"))
        })?;
        let sender = self.sender().map_err(|error| not_sent(&error))?;
        let answer =
            sender.send(&self.topic, partition, records, room).map_err(|error| not_sent(&error))?;
        match timeout(self.delivery_timeout, answer).await {
            Ok(Ok(Ok(lowest))) => Ok(lowest),
            Ok(Ok(Err(reason))) => Err(AppendError::InDoubt(reason)),
            Ok(Err(_)) => Err(AppendError::InDoubt("the producer has ended".to_owned())),
            Err(_) => {
                let limit = self.delivery_timeout.as_millis();
                Err(AppendError::InDoubt(format!("no acknowledgement within {limit} ms")))
            }
        }
    }

    /// Whether the partition has a leader that can acknowledge; else why not.
    async fn probe(&self, partition: i32) -> Result<(), String> {
        let topic = self.topic.clone();
        let wanted = self.min_insync_replicas.load(Ordering::Relaxed);
        let asked = self.ask(ANSWER_MAX, move |sender, limit| {
            let metadata = sender.producer().client().fetch_metadata(Some(&topic), limit)?;
            let found = metadata
                .topics()
                .first()
                .and_then(|topic| topic.partitions().iter().find(|found| found.id() == partition));
            Ok(match found {
                None => Err(format!("the topic {topic} has no partition {partition}")),
                Some(found) if found.leader() < 0 => {
                    Err(format!("partition {partition} of {topic} has no leader"))
                }
                Some(found) if found.isr().len() < wanted => Err(format!(
                    "partition {partition} of {topic} has {} in-sync replicas, and needs {wanted}",
                    found.isr().len()
                )),
                Some(_) => Ok(()),
            })
        });
        match asked.await {
            Ok(judged) => judged,
            Err(Unreachable(reason)) => Err(reason),
        }
    }

    /// Asks as [`ask`](Self::ask) does, for what many want to know at once: while the brokers are
    /// known to be away, all but one each half second are told so without being let wait.
    pub(super) async fn ask_unless_away<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Sender, Duration) -> KafkaResult<T> + Send + 'static,
    ) -> Result<T, Unreachable> {
        if !self.link.is_away() {
            return self.ask(ANSWER_MAX, question).await;
        }
        let Some(pass) = self.link.questions.pass() else {
            return Err(Unreachable(self.link.reason()));
        };
        let answer = self.ask(ANSWER_MAX, question).await;
        let _ = pass.ended(answer.is_err());
        answer
    }

    /// Asks the brokers something that the library waits for, on a thread that may wait.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        limit: Duration,
        question: impl FnOnce(&Sender, Duration) -> KafkaResult<T> + Send + 'static,
    ) -> Result<T, Unreachable> {
        let said = |error: &KafkaError| Unreachable(self.reason(error));
        let sender = self.sender().map_err(|error| said(&error))?;
        let asking = async {
            // As long as its turn has not come, it holds no thread.
            let turn = Arc::clone(&self.questions).acquire_owned().await.expect("it stays open");
            spawn_blocking(move || {
                let answer = question(&sender, limit);
                // The caller may be gone long since.
                drop(turn);
                answer
            })
            .await
        };
        // The library's own limit is for each of its steps.
        match timeout(limit, asking).await {
            Ok(Ok(answer)) => {
                let answer = answer.map_err(|error| said(&error))?;
                self.link.answered();
                Ok(answer)
            }
            Ok(Err(_)) => Err(Unreachable("the question was given up".to_owned())),
            Err(_) => {
                let limit = limit.as_millis();
                let late = || format!("no answer within {limit} ms");
                Err(Unreachable(self.link.known_reason().unwrap_or_else(late)))
            }
        }
    }

    /// Why the library could not ask: that it has no connection says less than why it has none.
    fn reason(&self, error: &KafkaError) -> String {
        let is_vague = error::is_of_the_connection(error);
        let known = self.link.known_reason().filter(|_| is_vague);
        known.unwrap_or_else(|| error::sentence(error))
    }

    /// The producer; a new one where the last cannot go on.
    fn sender(&self) -> KafkaResult<Arc<Sender>> {
        let mut kept = self.sender.lock().expect("no panic while held");
        if let Some(sender) = kept.as_ref() {
            let Some(reason) = sender.fatal() else { return Ok(Arc::clone(sender)) };
            tracing::error!("the producer of Kafka is made anew: {reason}");
        }
        let sender = Arc::new(Sender::new(&self.client, Ears(Arc::clone(&self.link)))?);
        *kept = Some(Arc::clone(&sender));
        Ok(sender)
    }

    /// Writes nothing until the topic [is known](Self::is_known) to be fit again.
    pub(super) fn is_unfit(&self, faults: String) {
        *self.unfit() = Some(faults);
    }

    /// Why nothing is written, where that is so.
    pub(super) fn refusal(&self) -> Option<String> {
        self.unfit().clone()
    }

    fn unfit(&self) -> MutexGuard<'_, Option<String>> {
        self.unfit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The topic is fit, and these partitions of it have a leader.
    pub(super) fn is_known(&self, facts: &TopicFacts, led: &[i32]) {
        *self.unfit() = None;
        let wanted = usize::try_from(facts.min_insync_replicas).unwrap_or(usize::MAX);
        self.min_insync_replicas.store(wanted, Ordering::Relaxed);
        self.link.led(led);
    }

    pub(super) fn is_away(&self) -> bool {
        self.link.is_away()
    }

    pub(super) fn is_silent(&self) -> bool {
        self.link.is_silent()
    }
}
