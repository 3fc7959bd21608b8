//! Kafka at the start and later: whether it is there, and its topic fit.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use anyhow::bail;
use firstcome_issuance::journal::{BindError, Journal, TopicError};
use firstcome_ledger::Ledger;
use firstcome_tasks::anew;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::config::Settings;

/// How often it is looked whether Kafka is there.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Looks without an answer, one after another, before it counts as away: another broker may have to
/// take the lead first.
const SILENCES_MAX: u32 = 3;

/// The journal of this deployment, and what is known of its brokers.
pub(crate) struct Kafka {
    pub(crate) journal: Journal,
    /// None where this process is ready without it.
    needed: Option<KafkaState>,
    watch: JoinHandle<()>,
}

/// What this process lacks of Kafka; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct KafkaState(Arc<AtomicU8>);

/// What is said of a topic that could lose what it is given.
const UNUSABLE: &str = "the topic in Kafka cannot be used";

const READY: u8 = 0;
const AWAY: u8 = 1;
const UNFIT: u8 = 2;

impl KafkaState {
    /// The word for what is missing.
    pub(crate) fn missing(&self) -> Option<&'static str> {
        match self.0.load(Ordering::Relaxed) {
            READY => None,
            AWAY => Some("kafka"),
            _ => Some("kafka.topic"),
        }
    }

    fn set(&self, found: u8) {
        self.0.store(found, Ordering::Relaxed);
    }
}

impl Kafka {
    /// What is missing of it, where this process is not ready without.
    pub(crate) fn needed(&self) -> Option<KafkaState> {
        self.needed.clone()
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

/// The journal, where one is configured. Nothing is written to it until its topic was found fit.
///
/// # Errors
/// When the configuration is wrong.
pub(crate) fn journal(settings: &Settings) -> anyhow::Result<Option<Journal>> {
    if !settings.kafka.is_set() {
        return Ok(None);
    }
    let journal = Journal::new(&settings.kafka).map_err(|invalid| anyhow::anyhow!("{invalid}"))?;
    journal.withhold();
    Ok(Some(journal))
}

/// Looks at the topic, for who does not wait for it.
///
/// # Errors
/// That it is not fit, or that no broker answers.
pub(crate) async fn check_now(journal: &Journal, ledger: &Ledger) -> anyhow::Result<()> {
    match journal.check_topic_of(ledger).await {
        Ok(_) => Ok(()),
        Err(BindError::Topic(faults @ TopicError::Faults(_))) => bail!("{UNUSABLE}:\n{faults}"),
        Err(error) => Err(error.into()),
    }
}

/// The journal, where one is configured. Where this process may write to it, its topic is looked
/// at, and its brokers from then on.
///
/// # Errors
/// What a retry does not change, where this process needs it: a topic that could lose what it is
/// given. That no broker answers is none: the topic is looked at when one does, and until then what
/// needs it waits or is answered 503.
pub(crate) async fn start(settings: &Settings, ledger: &Ledger) -> anyhow::Result<Option<Kafka>> {
    let Some(journal) = journal(settings)? else { return Ok(None) };
    if !settings.writes_to_kafka() {
        let watch = tokio::spawn(look_while_away(journal.clone()));
        return Ok(Some(Kafka { journal, needed: None, watch }));
    }
    let is_needed = settings.needs_kafka();
    let found = match journal.check_topic_of(ledger).await {
        Ok(_) => READY,
        Err(BindError::Topic(faults @ TopicError::Faults(_))) => {
            if is_needed {
                bail!("{UNUSABLE}:\n{faults}");
            }
            tell_unfit(&journal, &faults);
            UNFIT
        }
        Err(error) => {
            let missing =
                if matches!(error, BindError::Ledger(_)) { "the ledger" } else { "Kafka" };
            tracing::warn!(
                "{missing} is away; wins that Kafka is to hold are answered 503, and none is \
                 written to the ledger, until it is there: {error}"
            );
            AWAY
        }
    };
    let state = KafkaState(Arc::new(AtomicU8::new(found)));
    let watch = tokio::spawn(watch(journal.clone(), ledger.clone(), state.clone(), is_needed));
    Ok(Some(Kafka { journal, needed: is_needed.then_some(state), watch }))
}

fn tell_unfit(journal: &Journal, faults: &TopicError) {
    let topic = journal.topic();
    tracing::error!(
        kafka.topic = topic,
        "{UNUSABLE}: claims on events whose wins it holds are answered 503 until the topic {topic} \
         is set right: {faults}"
    );
}

/// Where nobody asks all the time: hears when brokers that went away are back.
async fn look_while_away(journal: Journal) {
    match anew(|| look_on(&journal)).await {}
}

async fn look_on(journal: &Journal) -> Infallible {
    loop {
        sleep(LOOK_EVERY).await;
        if journal.is_away() {
            // What becomes of it, the journal tells.
            let _ = journal.answers().await;
        }
    }
}

/// Keeps up what is known of the brokers, and of the topic whenever they were away.
async fn watch(journal: Journal, ledger: Ledger, state: KafkaState, is_needed: bool) {
    match anew(|| watch_on(&journal, &ledger, &state, is_needed)).await {}
}

async fn watch_on(
    journal: &Journal,
    ledger: &Ledger,
    state: &KafkaState,
    is_needed: bool,
) -> Infallible {
    let mut silences = 0;
    loop {
        sleep(LOOK_EVERY).await;
        let was = state.0.load(Ordering::Relaxed);
        let found = match was {
            READY => {
                let answers = journal.answers().await.is_ok();
                silences = if answers { 0 } else { silences + 1 };
                if silences < SILENCES_MAX { READY } else { AWAY }
            }
            _ => match journal.check_topic_of(ledger).await {
                Ok(_) => {
                    silences = 0;
                    READY
                }
                Err(BindError::Topic(TopicError::Faults(_))) if was == UNFIT => UNFIT,
                Err(BindError::Topic(faults @ TopicError::Faults(_))) => {
                    tell_unfit(journal, &faults);
                    UNFIT
                }
                Err(_) => AWAY,
            },
        };
        state.set(found);
        match (was, found) {
            (READY, AWAY) if is_needed => tracing::warn!("not ready: Kafka does not answer"),
            (READY, AWAY) => tracing::warn!("Kafka does not answer"),
            (AWAY | UNFIT, READY) => tracing::info!("Kafka answers, and its topic is fit"),
            _ => {}
        }
    }
}
