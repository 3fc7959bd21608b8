//! Kafka at the start and later: whether it is there, and its topic fit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use anyhow::bail;
use firstcome_issuance::journal::{Journal, TopicError};
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
    /// None where this process can do without.
    watched: Option<(KafkaState, JoinHandle<()>)>,
}

/// What this process lacks of Kafka; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct KafkaState(Arc<AtomicU8>);

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
    /// What is missing of it, where this process needs it.
    pub(crate) fn state(&self) -> Option<KafkaState> {
        self.watched.as_ref().map(|(state, _)| state.clone())
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        if let Some((_, watch)) = &self.watched {
            watch.abort();
        }
    }
}

/// The journal, where one is configured.
///
/// # Errors
/// When the configuration is wrong.
pub(crate) fn journal(settings: &Settings) -> anyhow::Result<Option<Journal>> {
    if !settings.kafka.is_set() {
        return Ok(None);
    }
    let journal = Journal::new(&settings.kafka).map_err(|invalid| anyhow::anyhow!("{invalid}"))?;
    Ok(Some(journal))
}

/// The journal, where one is configured. Where this process needs it, its topic is looked at, and
/// its brokers from then on.
///
/// # Errors
/// What a retry does not change: a topic that could lose what it is given. That no broker answers
/// is none: the topic is looked at when one does, and until then what needs it waits or is answered
/// 503.
pub(crate) async fn start(settings: &Settings) -> anyhow::Result<Option<Kafka>> {
    let Some(journal) = journal(settings)? else { return Ok(None) };
    if !settings.needs_kafka() {
        return Ok(Some(Kafka { journal, watched: None }));
    }
    let state = KafkaState(Arc::new(AtomicU8::new(READY)));
    match journal.check_topic().await {
        Ok(_) => {}
        Err(TopicError::Faults(faults)) => {
            let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
            bail!("the topic in Kafka cannot be used:\n{}", faults.join("\n"));
        }
        Err(error) => {
            state.set(AWAY);
            journal.withhold();
            tracing::warn!(
                "Kafka is away; wins that it is to hold are answered 503, and none is written to \
                 the ledger, until it is there: {error}"
            );
        }
    }
    let watch = tokio::spawn(watch(journal.clone(), state.clone()));
    Ok(Some(Kafka { journal, watched: Some((state, watch)) }))
}

/// Keeps up what is known of the brokers, and of the topic whenever they were away.
async fn watch(journal: Journal, state: KafkaState) {
    let mut silences = 0;
    loop {
        sleep(LOOK_EVERY).await;
        let was = state.0.load(Ordering::Relaxed);
        let found = match was {
            READY => {
                let answers = journal.end_offset(0).await.is_ok();
                silences = if answers { 0 } else { silences + 1 };
                if silences < SILENCES_MAX { READY } else { AWAY }
            }
            _ => match journal.check_topic().await {
                Ok(_) => {
                    silences = 0;
                    READY
                }
                Err(TopicError::Faults(_)) if was == UNFIT => UNFIT,
                Err(error @ TopicError::Faults(_)) => {
                    tracing::error!("the topic in Kafka cannot be used: {error}");
                    UNFIT
                }
                Err(TopicError::Unknown { .. }) => AWAY,
            },
        };
        state.set(found);
        match (was, found) {
            (READY, AWAY) => tracing::warn!("not ready: Kafka does not answer"),
            (AWAY | UNFIT, READY) => tracing::info!("Kafka answers, and its topic is fit"),
            _ => {}
        }
    }
}
