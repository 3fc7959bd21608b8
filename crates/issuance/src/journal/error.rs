//! What goes wrong between us and Kafka.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// Why records were not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// None of them is in the journal, and none will be.
    #[error("not written to Kafka: {0}")]
    NotSent(String),
    /// Some of them may be in the journal, or may still come to be.
    #[error("not acknowledged by Kafka, and perhaps written: {0}")]
    InDoubt(String),
}

/// No broker answers a question.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Kafka does not answer: {0}")]
pub struct Unreachable(pub(super) String);

/// Why a reader gives no records.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The offset is no more, or not yet, in the partition: records are lost.
    #[error(
        "partition {partition} of the journal has no offset {wanted}: it goes from {first} to {end}"
    )]
    OutOfRange {
        /// The partition.
        partition: i32,
        /// What was to be read next.
        wanted: i64,
        /// The first that is left: earlier ones were deleted, by retention or by hand.
        first: i64,
        /// What the next record will get: later ones were cut off, or the topic was made anew.
        end: i64,
    },
    /// The partition goes on at another offset: records between them are lost, or somebody else
    /// writes transactions to the topic.
    #[error("partition {partition} of the journal goes on at {found}, not at {wanted}")]
    Missing {
        /// The partition.
        partition: i32,
        /// What was to be read next.
        wanted: i64,
        /// What was read.
        found: i64,
    },
    /// The broker that leads the partition has the batch with this record otherwise than it was
    /// written; another may have it as it was.
    #[error(
        "offset {wanted} of partition {partition} of the journal is damaged where the broker that \
         leads it keeps it: let a broker lead the partition that has a sound copy"
    )]
    Damaged {
        /// The partition.
        partition: i32,
        /// What was to be read next.
        wanted: i64,
    },
    /// There are records, and none arrives: another reader must take over.
    #[error("partition {partition} of the journal goes to {end}, and nothing comes after {wanted}")]
    Stalled {
        /// The partition.
        partition: i32,
        /// What is to be read next.
        wanted: i64,
        /// What the next record will get.
        end: i64,
    },
    /// No broker answers; the reader may be asked again.
    #[error("Kafka does not answer: {0}")]
    Away(String),
    /// The brokers refuse, or the client cannot go on.
    #[error("the journal cannot be read: {0}")]
    Refused(String),
}

impl ReadError {
    /// Whether the same reader may give records later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Away(_))
    }
}

/// The code behind an error, where there is one.
pub(super) fn code(error: &KafkaError) -> Option<RDKafkaErrorCode> {
    error.rdkafka_error_code()
}

/// Whether it says no more than that there is no connection, or no answer.
pub(super) fn is_of_the_connection(error: &KafkaError) -> bool {
    matches!(
        code(error),
        Some(
            RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::OperationTimedOut
                | RDKafkaErrorCode::Resolve
        )
    )
}

/// What the library says, in one line and without what it was doing.
pub(super) fn sentence(error: &KafkaError) -> String {
    match error {
        KafkaError::ClientConfig(_, sentence, key, _) => format!("{key}: {sentence}"),
        KafkaError::ClientCreation(sentence) => sentence.clone(),
        other => code(other).map_or_else(|| other.to_string(), |code| code.to_string()),
    }
}
