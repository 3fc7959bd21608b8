//! One producer of the library, and the batches that it delivers.

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext as _, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{DeliveryResult, Message as _};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::JournalRecord;
use super::error;
use super::link::Ears;
use super::record::encode;

/// A producer, until an error makes it useless for good.
pub(super) struct Sender {
    producer: Option<ThreadedProducer<Deliveries>>,
}

/// The lowest offset of records that were acknowledged, if the brokers tell; else what went wrong.
pub(super) type Delivered = Result<Option<i64>, String>;

/// Above every offset.
const NOT_TOLD: i64 = i64::MAX;

/// Records that are acknowledged together.
pub(super) struct Batch {
    /// Records that nobody has heard of yet.
    left: AtomicUsize,
    /// The first error.
    failure: Mutex<Option<String>>,
    /// The lowest offset that one of them has got; [`NOT_TOLD`] where none is known.
    lowest: AtomicI64,
    told: Mutex<Option<oneshot::Sender<Delivered>>>,
    /// Their room in the queue: free again when the last of them is out of it, however long the
    /// caller waits.
    _room: OwnedSemaphorePermit,
}

impl Sender {
    /// A producer that connects by itself.
    pub(super) fn new(client: &ClientConfig, ears: Ears) -> KafkaResult<Self> {
        let producer = ThreadedProducer::from_config_and_context(client, Deliveries(ears))?;
        Ok(Self { producer: Some(producer) })
    }

    pub(super) fn producer(&self) -> &ThreadedProducer<Deliveries> {
        self.producer.as_ref().expect("taken only when it is dropped")
    }

    /// Why it can be used no more, if so: the library could not go on without a record twice or
    /// out of order.
    pub(super) fn fatal(&self) -> Option<String> {
        self.producer().client().fatal_error().map(|(code, reason)| format!("{code}: {reason}"))
    }

    /// Hands records over, which does not wait for anything.
    ///
    /// # Errors
    /// When the very first was not taken: then none is sent. Of later ones the batch tells.
    pub(super) fn send(
        &self,
        topic: &str,
        partition: i32,
        records: &[JournalRecord],
        room: OwnedSemaphorePermit,
    ) -> Result<oneshot::Receiver<Delivered>, KafkaError> {
        let (told, answer) = oneshot::channel();
        let batch = Arc::new(Batch {
            left: AtomicUsize::new(records.len()),
            failure: Mutex::new(None),
            lowest: AtomicI64::new(NOT_TOLD),
            told: Mutex::new(Some(told)),
            _room: room,
        });
        for (index, record) in records.iter().enumerate() {
            let payload = encode(record);
            let sent: BaseRecord<'_, (), [u8], _> =
                BaseRecord::with_opaque_to(topic, Arc::clone(&batch))
                    .partition(partition)
                    .payload(&payload);
            if let Err((error, _)) = self.producer().send(sent) {
                if index == 0 {
                    return Err(error);
                }
                batch.ended(records.len() - index, Some(error::sentence(&error)));
                break;
            }
        }
        Ok(answer)
    }
}

impl Drop for Sender {
    /// The library waits for its thread: not here, where others' work would stand still.
    fn drop(&mut self) {
        let producer = self.producer.take();
        std::thread::spawn(move || drop(producer));
    }
}

impl Batch {
    /// So many of its records are out of the queue.
    fn ended(&self, records: usize, failure: Option<String>) {
        if let Some(failure) = failure {
            self.failure.lock().expect("no panic while held").get_or_insert(failure);
        }
        if self.left.fetch_sub(records, Ordering::AcqRel) > records {
            return;
        }
        let failure = self.failure.lock().expect("no panic while held").take();
        if let Some(told) = self.told.lock().expect("no panic while held").take() {
            // The caller may have stopped waiting.
            let lowest = Some(self.lowest.load(Ordering::Acquire)).filter(|it| *it != NOT_TOLD);
            let _ = told.send(failure.map_or(Ok(lowest), Err));
        }
    }
}

/// Hears of the brokers and of what was delivered.
pub(super) struct Deliveries(Ears);

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.0.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.error(error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Arc<Batch>;

    fn delivery(&self, result: &DeliveryResult<'_>, batch: Arc<Batch>) {
        let failure = match result {
            Ok(message) => {
                // Below zero where a record was sent twice, and it is the first that counts.
                if message.offset() >= 0 {
                    batch.lowest.fetch_min(message.offset(), Ordering::AcqRel);
                }
                None
            }
            Err((error, _)) => Some(error::sentence(error)),
        };
        batch.ended(1, failure);
    }
}
