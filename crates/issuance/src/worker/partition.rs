//! The work on one partition: read from where the ledger stands, apply, until it is taken away.
//!
//! A function of it answers none when the task is to end. Only waits are cut short for that.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use firstcome_ledger::{Applied, JournalRecord, STRETCH_RECORDS_MAX, Stretch};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::Work;
use super::outage::Backoff;
use crate::journal::{Entry, ReadError, Reader};

/// How long a reader is waited for in one call; it answers as soon as there is a record.
const READ_WAIT: Duration = Duration::from_secs(5);
/// How soon a partition that another worker is at is looked at again.
const ELSEWHERE_WAIT: Duration = Duration::from_millis(200);
/// How often a partition that stands is looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(3);

/// The task of a partition.
pub(super) struct Partition {
    work: Arc<Work>,
    number: i32,
    stop: CancellationToken,
    /// Where the log was told that it stands.
    told: Option<i64>,
}

/// Why a partition stands.
#[derive(Debug)]
struct Halt {
    offset: i64,
    why: String,
    until: Until,
}

/// What lets a partition that stands go on, if no operator does.
#[derive(Debug)]
enum Until {
    /// Nothing.
    Skipped,
    /// The record can be applied.
    Applied(JournalRecord),
    /// The record can be read.
    Read,
}

/// Whether the same reader goes on, or one from what the ledger has.
type Went = ControlFlow<()>;
pub(super) const GOES_ON: Went = ControlFlow::Continue(());
const BEGINS_ANEW: Went = ControlFlow::Break(());

impl Partition {
    pub(super) const fn new(work: Arc<Work>, number: i32, stop: CancellationToken) -> Self {
        Self { work, number, stop, told: None }
    }

    /// Works until the partition is taken away.
    pub(super) async fn run(mut self) {
        self.work.metrics.works(self.number);
        while let Some(from) = self.begin().await {
            let went = match self.work.journal.reader(self.number, from) {
                Ok(reader) => self.follow(reader).await,
                Err(error) => self.is_refused(&error).await,
            };
            if went.is_none() {
                break;
            }
        }
        self.work.kafka_outage.left(self.number);
        self.work.ledger_outage.left(self.number);
    }

    /// The offset to begin at.
    async fn begin(&self) -> Option<i64> {
        let mut backoff = Backoff::new();
        while !self.stop.is_cancelled() {
            match self.work.ledger.begin_journal(self.topic(), self.number).await {
                Ok(from) => {
                    self.work.ledger_outage.over(self.number);
                    return Some(from);
                }
                Err(error) => self.work.ledger_outage.met(self.number, &error),
            }
            self.unless_stopped(backoff.wait()).await?;
        }
        None
    }

    /// Applies what a reader gives, until another has to take over.
    pub(super) async fn follow(&mut self, mut reader: Reader) -> Option<()> {
        loop {
            let read = reader.next(STRETCH_RECORDS_MAX, READ_WAIT);
            let went = match self.unless_stopped(read).await? {
                Ok(entries) if entries.is_empty() => GOES_ON,
                Ok(entries) => {
                    self.work.kafka_outage.over(self.number);
                    self.take(entries).await?
                }
                Err(error) if error.is_retryable() => self.wait_for_kafka(&error).await?,
                Err(ReadError::Refused(reason)) => {
                    self.is_refused(&ReadError::Refused(reason)).await?;
                    BEGINS_ANEW
                }
                Err(error @ ReadError::Stalled { .. }) => {
                    tracing::warn!(kafka.partition = self.number, "{error}: it is read anew");
                    self.work.metrics.silent_readers.increment(1);
                    BEGINS_ANEW
                }
                Err(error) => {
                    let is_damaged = matches!(error, ReadError::Damaged { .. });
                    let until = if is_damaged { Until::Read } else { Until::Skipped };
                    let (offset, why) = (reader.position(), error.to_string());
                    self.stand(Halt { offset, why, until }).await?;
                    BEGINS_ANEW
                }
            };
            if went == BEGINS_ANEW {
                return Some(());
            }
        }
    }

    /// Waits until the brokers answer; the same reader goes on then. An error that is told late,
    /// when they answer again, is no outage: after one, a reader has several to tell.
    pub(super) async fn wait_for_kafka(&self, error: &ReadError) -> Option<Went> {
        let mut backoff = Backoff::new();
        while self.work.journal.end_offset(self.number).await.is_err() {
            self.work.kafka_outage.met(self.number, error);
            self.unless_stopped(backoff.wait()).await?;
        }
        self.work.kafka_outage.over(self.number);
        Some(GOES_ON)
    }

    /// The brokers let us not in, or there is no client: an operator may be at it.
    async fn is_refused(&self, error: &ReadError) -> Option<()> {
        self.work.kafka_outage.met(self.number, error);
        self.unless_stopped(sleep(LOOK_AGAIN)).await
    }

    /// Applies entries: all of them, or those before the first that cannot be applied.
    async fn take(&mut self, entries: Vec<Entry>) -> Option<Went> {
        let (records, mut halt) = readable(entries);
        let mut left = records.as_slice();
        // Each turn leaves less, or is the last.
        while let Some((from, _)) = left.first() {
            let from = *from;
            let to = from + offset_of(left.len());
            match self.apply(from, to, left).await? {
                Applied::Done { .. } => break,
                // Another worker was faster, or the answer to our own commit was lost.
                Applied::Elsewhere { next: Some(next) } if from < next && next <= to => {
                    left = &left[place_of(next - from)..];
                }
                Applied::Elsewhere { .. } => {
                    self.unless_stopped(sleep(ELSEWHERE_WAIT)).await?;
                    return Some(BEGINS_ANEW);
                }
                Applied::Stopped { offset, why } => {
                    let (before, from_there) = left.split_at(place_of(offset - from));
                    let record = from_there.first().map(|(_, record)| record.clone());
                    let until = record.map_or(Until::Skipped, Until::Applied);
                    halt = Some(Halt { offset, why: why.to_string(), until });
                    left = before;
                }
            }
        }
        match halt {
            None => Some(GOES_ON),
            Some(halt) => self.stand(halt).await.map(|()| BEGINS_ANEW),
        }
    }

    /// Applies records until the ledger says what became of them. To apply again what was applied
    /// already, or may have been, is answered by the offset that the ledger has.
    async fn apply(&self, from: i64, to: i64, records: &[(i64, JournalRecord)]) -> Option<Applied> {
        let mut backoff = Backoff::new();
        loop {
            let begun = Instant::now();
            let stretch = Stretch { journal: self.topic(), partition: self.number, from, to };
            match self.work.ledger.apply(stretch, records).await {
                Ok(applied) => {
                    self.work.ledger_outage.over(self.number);
                    self.work.metrics.applied(&applied, begun.elapsed());
                    return Some(applied);
                }
                Err(error) => self.work.ledger_outage.met(self.number, &error),
            }
            self.unless_stopped(backoff.wait()).await?;
        }
    }

    /// Stands at a record until the ledger has moved past it, or it can be read or applied.
    async fn stand(&mut self, halt: Halt) -> Option<()> {
        let Halt { offset, why, until } = halt;
        if self.told.replace(offset) != Some(offset) {
            tracing::error!(
                kafka.partition = self.number,
                kafka.offset = offset,
                "partition {} of the journal stands at offset {offset}, and nothing after it is \
                 written to the ledger: {why}. See `firstcome journal inspect --partition {}`",
                self.number,
                self.number
            );
        }
        let _stands = self.work.metrics.stands(self.number);
        loop {
            self.unless_stopped(sleep(LOOK_AGAIN)).await?;
            let position = self.work.ledger.journal_position(self.topic(), self.number).await;
            // A ledger that does not answer is asked again.
            if position.as_ref().is_ok_and(|next| *next != Some(offset)) {
                break;
            }
            if position.is_ok() && self.can_go_on(offset, &until).await? {
                break;
            }
        }
        tracing::info!(
            kafka.partition = self.number,
            "partition {} of the journal goes on after offset {offset}",
            self.number
        );
        Some(())
    }

    /// Whether a partition that stands at this offset goes on by itself.
    async fn can_go_on(&self, offset: i64, until: &Until) -> Option<bool> {
        match until {
            Until::Skipped => Some(false),
            Until::Applied(record) => {
                let applied = self.apply(offset, offset + 1, &[(offset, record.clone())]).await?;
                Some(matches!(applied, Applied::Done { .. }))
            }
            Until::Read => {
                let Ok(mut reader) = self.work.journal.reader(self.number, offset) else {
                    return Some(false);
                };
                let read = self.unless_stopped(reader.next(1, READ_WAIT)).await?;
                Some(read.is_ok_and(|entries| !entries.is_empty()))
            }
        }
    }

    fn topic(&self) -> &str {
        self.work.journal.topic()
    }

    /// What comes of a wait; none when the task is to end.
    async fn unless_stopped<T>(&self, wait: impl Future<Output = T>) -> Option<T> {
        self.stop.run_until_cancelled(wait).await
    }
}

/// The records before the first that cannot be read, and that one.
fn readable(entries: Vec<Entry>) -> (Vec<(i64, JournalRecord)>, Option<Halt>) {
    let mut records = Vec::with_capacity(entries.len());
    for Entry { offset, record } in entries {
        match record {
            Ok(record) => records.push((offset, record)),
            // What follows it is read again.
            Err(unreadable) => {
                let why = unreadable.to_string();
                let halt = Halt { offset, why, until: Until::Skipped };
                return (records, Some(halt));
            }
        }
    }
    (records, None)
}

/// A reader gives each offset, so that so many records take so many offsets.
fn offset_of(records: usize) -> i64 {
    i64::try_from(records).expect("a batch is bounded")
}

fn place_of(offsets: i64) -> usize {
    usize::try_from(offsets).expect("within the batch")
}
