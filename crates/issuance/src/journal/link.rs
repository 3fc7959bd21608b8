//! What is known of the brokers: one line in the log for each change of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use firstcome_cache::breaker::{Breaker, Change, Pass};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use super::error;
use super::metrics::Metrics;

/// How long calls fail at once before one tries again.
const OPEN: Duration = Duration::from_millis(500);

/// The brokers, as the calls of one journal know them: a breaker for each partition, because each
/// has a leader of its own.
pub(super) struct Link {
    gates: Mutex<HashMap<i32, Arc<Breaker>>>,
    /// Of questions, while the brokers are away.
    pub(super) questions: Breaker,
    told: Mutex<Told>,
    pub(super) metrics: Metrics,
}

/// What the log has been told.
#[derive(Debug, Default)]
struct Told {
    is_away: bool,
    /// Why no broker answers, as far as the library knows.
    reason: Option<String>,
    /// A refusal that was logged, so that it is not logged again.
    refusal: Option<String>,
}

impl Link {
    pub(super) fn new() -> Self {
        let metrics = Metrics::declare();
        let questions = Breaker::new(1, OPEN);
        Self { gates: Mutex::default(), questions, told: Mutex::default(), metrics }
    }

    /// The breaker of a partition. Of one that was never used, the first calls try.
    pub(super) fn gate(&self, partition: i32) -> Arc<Breaker> {
        let make = || Arc::new(Breaker::untried(1, OPEN));
        Arc::clone(self.gates().entry(partition).or_insert_with(make))
    }

    /// These partitions have a leader. Of one that was used, its own calls know more: the leader
    /// may hang.
    pub(super) fn led(&self, partitions: &[i32]) {
        let mut gates = self.gates();
        for partition in partitions {
            gates.entry(*partition).or_insert_with(|| Arc::new(Breaker::new(1, OPEN)));
        }
    }

    /// Whether calls to every partition that was used fail at once.
    pub(super) fn is_silent(&self) -> bool {
        let gates = self.gates();
        !gates.is_empty() && gates.values().all(|gate| gate.is_open())
    }

    /// A call has ended.
    pub(super) fn ended(&self, pass: Pass<'_>, partition: i32, silence: Option<&str>) {
        match (pass.ended(silence.is_some()), silence) {
            (Change::Opened, Some(reason)) => tracing::warn!(
                kafka.partition = partition,
                "writes to this partition of Kafka fail at once until it answers again: {reason}"
            ),
            (Change::Closed, _) => {
                tracing::debug!(kafka.partition = partition, "this partition of Kafka answers");
            }
            _ => {}
        }
        if silence.is_none() {
            self.answered();
        }
    }

    /// Why no call passes.
    pub(super) fn reason(&self) -> String {
        self.known_reason().unwrap_or_else(|| "it did not answer the last calls".to_owned())
    }

    /// Why there is no connection, as far as the library has told.
    pub(super) fn known_reason(&self) -> Option<String> {
        self.told().reason.clone()
    }

    /// Whether no broker is connected, as far as the library has told.
    pub(super) fn is_away(&self) -> bool {
        self.told().is_away
    }

    /// A broker has answered.
    pub(super) fn answered(&self) {
        let was = std::mem::take(&mut *self.told());
        self.metrics.reachable.set(1);
        if was.is_away || was.refusal.is_some() {
            tracing::info!("Kafka answers again");
        }
    }

    /// No broker is connected.
    fn all_are_away(&self, reason: &str) {
        for gate in self.gates().values() {
            if let Some(pass) = gate.pass() {
                // One line is told below for all of them.
                let _ = pass.ended(true);
            }
        }
        self.metrics.reachable.set(0);
        let mut told = self.told();
        let reason = told.reason.get_or_insert_with(|| reason.to_owned()).clone();
        if !std::mem::replace(&mut told.is_away, true) {
            tracing::warn!("no broker of Kafka answers: {reason}");
        }
    }

    fn refused(&self, reason: &str) {
        let mut told = self.told();
        told.reason = Some(reason.to_owned());
        if told.refusal.as_deref() != Some(reason) {
            told.refusal = Some(reason.to_owned());
            tracing::error!("Kafka refuses us: {reason}");
        }
    }

    fn gates(&self) -> MutexGuard<'_, HashMap<i32, Arc<Breaker>>> {
        self.gates.lock().expect("no panic while held")
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().expect("no panic while held")
    }
}

/// Hears what the library says of the brokers.
#[derive(Clone)]
pub(super) struct Ears(pub(super) Arc<Link>);

impl ClientContext for Ears {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let reason = within_quotes(reason);
        match error::code(&error) {
            Some(Code::AllBrokersDown) => self.0.all_are_away(reason),
            Some(Code::Authentication | Code::SSL | Code::SaslAuthenticationFailed) => {
                self.0.refused(reason);
            }
            Some(Code::BrokerTransportFailure | Code::Resolve | Code::OperationTimedOut) => {
                self.0.told().reason = Some(reason.to_owned());
            }
            _ => {}
        }
        tracing::debug!(target: "librdkafka", "{error}: {reason}");
    }
}

/// Hears and forgets: what goes wrong is in the answers too.
#[derive(Clone, Copy)]
pub(super) struct DeafEars;

impl ClientContext for DeafEars {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", "{error}: {reason}");
    }
}

impl rdkafka::consumer::ConsumerContext for DeafEars {}

/// The library tells every lost connection and every try: what matters of it is told as a change,
/// so its own lines are for those who look for a fault.
fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    tracing::debug!(target: "librdkafka", "{level:?}: {facility}: {message}");
}

/// Without the thread that the library puts before what it says.
fn within_quotes(reason: &str) -> &str {
    match reason.strip_prefix('[').and_then(|rest| rest.split_once("]: ")) {
        Some((_, sentence)) => sentence,
        None => reason,
    }
}
