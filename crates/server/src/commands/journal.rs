//! `firstcome journal`: how far the journal is applied, going on without a record that stops its
//! partition, and leaving a topic.

use std::fmt::Write as _;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use firstcome_core::{Clock as _, Commit, Strategy};
use firstcome_issuance::journal::{
    Entry, Journal, JournalRecord, KafkaConfig, ReadError, TopicError, decode, encode,
};
use firstcome_issuance::worker::judge::{Judge, Judgement};
use firstcome_ledger::{Applied, Ledger, SkippedRecord, Stretch};
use firstcome_web::SystemClock;
use tokio::time::Instant;

use super::visit;
use crate::cli::{ForgetFlags, InspectFlags, SkipFlags};
use crate::config::Settings;

/// Longest that records are waited for.
const READ_MAX: Duration = Duration::from_secs(15);
/// Bytes of a record that are shown.
const BYTES_SHOWN_MAX: usize = 256;
/// Bytes on a line.
const BYTES_PER_LINE: usize = 32;

/// A partition, and how far it is applied.
struct Partition {
    number: i32,
    /// None where no worker has begun it.
    position: Option<i64>,
    first: i64,
    end: i64,
}

impl Partition {
    /// The offset that is applied next.
    fn next(&self) -> i64 {
        self.position.unwrap_or(0)
    }
}

/// Shows the partitions, records of them, and what was skipped; fails where one is stopped.
pub(crate) async fn inspect_journal(
    flags: &InspectFlags,
    out: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    let settings = flags.kafka.load()?.settings;
    let journal = open(&settings)?;
    let ledger = visit(&settings).await?;
    let Some(journal) = journal else {
        has_no_journal(&ledger).await?;
        writeln!(out, "nothing to inspect: without Kafka (kafka.brokers) there is no journal")?;
        ledger.close().await?;
        return Ok(ExitCode::SUCCESS);
    };
    let partitions = partitions(&journal, &ledger, flags.partition, out).await?;
    writeln!(
        out,
        "{:>9}  {:>12}  {:>12}  {:>12}  {:>12}",
        "partition", "applied to", "first", "end", "lag"
    )?;
    for it in &partitions {
        let position = it.position.map_or_else(|| "-".to_owned(), |position| position.to_string());
        let (number, first, end, lag) = (it.number, it.first, it.end, it.end - it.next());
        writeln!(out, "{number:>9}  {position:>12}  {first:>12}  {end:>12}  {lag:>12}")?;
    }
    let mut is_stopped = false;
    for it in &partitions {
        let from = flags.offset.unwrap_or(it.next());
        is_stopped |= show(&journal, &ledger, it, from, flags.count.into(), out).await?;
    }
    for skipped in ledger.skipped_records(journal.topic()).await? {
        if flags.partition.is_none_or(|partition| partition == skipped.partition) {
            let SkippedRecord { partition, offset, reason, skipped_at, record, .. } = skipped;
            writeln!(
                out,
                "partition {partition}, offset {offset}: skipped at {skipped_at}: {reason}"
            )?;
            writeln!(out, "{}", hex(&record))?;
        }
    }
    ledger.close().await?;
    Ok(if is_stopped { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Moves the position past a record that cannot be read or applied.
pub(crate) async fn skip_record(
    flags: &SkipFlags,
    out: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    let settings = flags.kafka.load()?.settings;
    let Some(journal) = open(&settings)? else {
        bail!("nothing to skip: without Kafka (kafka.brokers) there is no journal");
    };
    let ledger = visit(&settings).await?;
    let (partition, offset) = (flags.partition, flags.offset);
    let elsewhere = |next: Option<i64>| match next {
        Some(next) => format!(
            "partition {partition} is applied to offset {next}: only the record there can be \
             skipped, not the one at offset {offset}"
        ),
        None => format!("no worker has begun partition {partition}: there is nothing to skip"),
    };
    let position = ledger.journal_position(journal.topic(), partition).await?;
    ensure!(position == Some(offset), elsewhere(position));
    let (_, end) = journal.offsets(partition).await?;
    ensure!(
        offset != end,
        "partition {partition} is applied to its end, offset {end}: there is nothing to skip"
    );
    let record = match records(&journal, partition, offset, 1).await? {
        Err(ReadError::OutOfRange { end, .. }) if offset > end => bail!(
            "partition {partition} ends at offset {end}, before {offset}: records are lost, and \
             skipping brings none back"
        ),
        // What is gone, or damaged, cannot be read.
        Err(_) => Vec::new(),
        Ok(entries) => match entries.into_iter().next().map(|entry| entry.record) {
            None => bail!("the record at offset {offset} does not arrive; try again"),
            Some(Err(unreadable)) => unreadable.raw,
            Some(Ok(record)) => {
                let raw = encode(&record);
                let stretch =
                    Stretch { journal: journal.topic(), partition, from: offset, to: offset + 1 };
                match ledger.apply(stretch, &[(offset, record)]).await? {
                    Applied::Stopped { .. } => raw,
                    Applied::Elsewhere { next } => bail!(elsewhere(next)),
                    Applied::Done { .. } => bail!(
                        "the record at offset {offset} of partition {partition} can be applied, \
                         and is now: nothing is skipped"
                    ),
                }
            }
        },
    };
    let bytes = record.len();
    let skip = SkippedRecord {
        journal: journal.topic().to_owned(),
        partition,
        offset,
        reason: flags.reason.clone(),
        record,
        skipped_at: SystemClock::new().now(),
    };
    if !ledger.skip_record(skip).await? {
        bail!(elsewhere(ledger.journal_position(journal.topic(), partition).await?));
    }
    writeln!(
        out,
        "skipped offset {offset} of partition {partition} ({bytes} bytes, kept in the ledger); \
         its worker goes on within seconds"
    )?;
    ledger.close().await?;
    Ok(ExitCode::SUCCESS)
}

/// Makes the ledger forget its topic.
pub(crate) async fn forget_journal(
    flags: &ForgetFlags,
    out: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    let ForgetFlags { topic, lost, kafka } = flags;
    let mut settings = kafka.load()?.settings;
    settings.kafka.topic.clone_from(topic);
    let Some(journal) = open(&settings)? else {
        bail!("nothing to forget: without Kafka (kafka.brokers) there is no journal");
    };
    let ledger = visit(&settings).await?;
    journal.forget(&ledger, *lost).await?;
    writeln!(
        out,
        "the ledger has no topic any more, and has the one that a process is started with next"
    )?;
    ledger.close().await?;
    Ok(ExitCode::SUCCESS)
}

/// The journal, as a visitor who makes no topic; none where none is configured.
fn open(settings: &Settings) -> anyhow::Result<Option<Journal>> {
    if !settings.kafka.is_set() {
        return Ok(None);
    }
    let config = KafkaConfig { create_topic: false, ..settings.kafka.clone() };
    Ok(Some(Journal::new(&config).map_err(|invalid| anyhow::anyhow!("{invalid}"))?))
}

/// Fails where the ledger has a topic, or an event that is not over and whose wins go to one.
async fn has_no_journal(ledger: &Ledger) -> anyhow::Result<()> {
    let remedy = "set kafka.brokers (--kafka-brokers) to those that the servers have";
    // Another than one without a name: any.
    if let Some(topic) = ledger.other_journal("").await? {
        bail!("the ledger has the topic {topic}: {remedy}");
    }
    let now = ledger.clock().now();
    let open = ledger.events_decided_by(Strategy::Redis, &[Commit::Kafka], now, 1).await?;
    if let Some(event) = open.first() {
        bail!("Kafka holds the wins of the event {}: {remedy}", event.id);
    }
    Ok(())
}

/// Every partition of the topic, or the one that is asked for.
async fn partitions(
    journal: &Journal,
    ledger: &Ledger,
    only: Option<i32>,
    out: &mut impl Write,
) -> anyhow::Result<Vec<Partition>> {
    let positions = ledger.journal_positions(journal.topic()).await?;
    let begun = positions.last().map_or(0, |(partition, _)| partition + 1);
    let known = match journal.partitions().await {
        Ok(partitions) => i32::try_from(partitions)?,
        // What is in it can be looked at all the same.
        Err(TopicError::Faults(faults)) => {
            for fault in faults {
                writeln!(out, "{fault}")?;
            }
            begun
        }
        Err(error) => return Err(error.into()),
    };
    let all = 0..known.max(begun);
    if let Some(only) = only {
        let topic = journal.topic();
        ensure!(
            all.contains(&only),
            "the topic {topic} has no partition {only}, but 0 to {}",
            all.end - 1
        );
    }
    let mut partitions = Vec::new();
    for number in all.filter(|number| only.is_none_or(|only| only == *number)) {
        let (first, end) = journal.offsets(number).await?;
        let position = positions.iter().find(|(partition, _)| *partition == number);
        let position = position.map(|(_, position)| *position);
        partitions.push(Partition { number, position, first, end });
    }
    Ok(partitions)
}

/// Shows records of a partition; whether one of them stops it.
async fn show(
    journal: &Journal,
    ledger: &Ledger,
    partition: &Partition,
    from: i64,
    count: usize,
    out: &mut impl Write,
) -> anyhow::Result<bool> {
    if from == partition.end {
        return Ok(false);
    }
    let (number, next) = (partition.number, partition.next());
    let mut is_stopped = false;
    match records(journal, number, from, count).await? {
        Err(gone) => {
            writeln!(out, "{gone}")?;
            is_stopped = from == next;
        }
        Ok(entries) => {
            let mut judge = Judge::new(ledger, number);
            for Entry { offset, record } in entries {
                write!(out, "partition {number}, offset {offset}: ")?;
                let (told, stops) = match record {
                    Err(unreadable) => {
                        let bytes = hex(&unreadable.raw);
                        (format!("cannot be read: {unreadable}\n{bytes}"), true)
                    }
                    Ok(record) => {
                        let shown = shown(&record);
                        let (becomes, stops) = becomes(&mut judge, &record, offset < next).await?;
                        (format!("{shown}: {becomes}"), stops)
                    }
                };
                writeln!(out, "{told}")?;
                is_stopped |= stops && offset == next;
            }
        }
    }
    if is_stopped {
        writeln!(
            out,
            "partition {number} is stopped there. Find out whether somebody was promised a coupon \
             by this record; to go on without it: firstcome journal skip --partition {number} \
             --offset {next} --reason TEXT"
        )?;
    }
    Ok(is_stopped)
}

/// What becomes of a record, and whether it stops its partition.
async fn becomes(
    judge: &mut Judge<'_>,
    record: &JournalRecord,
    is_passed: bool,
) -> anyhow::Result<(String, bool)> {
    if is_passed {
        return Ok(("the partition is past it".to_owned(), false));
    }
    let (told, stops) = match judge.judge(record).await? {
        Judgement::Fits => ("can be applied".to_owned(), false),
        Judgement::Known => ("the ledger has it".to_owned(), false),
        Judgement::Void => ("void: a later epoch had begun".to_owned(), false),
        Judgement::Stops(why) => (format!("cannot be applied: {why}"), true),
    };
    Ok((told, stops))
}

/// The next records of a partition, or why there are none.
async fn records(
    journal: &Journal,
    partition: i32,
    from: i64,
    count: usize,
) -> anyhow::Result<Result<Vec<Entry>, ReadError>> {
    let (_, end) = journal.offsets(partition).await?;
    let there = usize::try_from(end.saturating_sub(from)).unwrap_or(1);
    let wanted = count.min(there).max(1);
    let mut reader = journal.reader(partition, from)?;
    let (mut found, deadline) = (Vec::new(), Instant::now() + READ_MAX);
    while found.len() < wanted {
        let left = deadline.saturating_duration_since(Instant::now());
        ensure!(!left.is_zero(), "Kafka gives no record of partition {partition}; try again");
        match reader.next(wanted - found.len(), left).await {
            Ok(entries) => found.extend(entries),
            Err(
                error @ (ReadError::OutOfRange { .. }
                | ReadError::Missing { .. }
                | ReadError::Damaged { .. }),
            ) => {
                return Ok(if found.is_empty() { Err(error) } else { Ok(found) });
            }
            Err(error) => return Err(error).context("the journal cannot be read"),
        }
    }
    Ok(Ok(found))
}

/// A record as a part of a sentence.
fn shown(record: &JournalRecord) -> String {
    match record {
        JournalRecord::Fence { event_id, epoch } => {
            format!("a fence of the event {event_id}, epoch {epoch}")
        }
        JournalRecord::Win(win) => format!(
            "a win of the event {}, epoch {}, place {}, user {}, issued at {}, valid from {} to {}",
            win.event_id,
            win.epoch,
            win.sequence.get(),
            win.user_id,
            win.issued_at,
            win.valid_from,
            win.expires_at
        ),
    }
}

/// A record's first bytes, and what they say where they can be read.
fn hex(record: &[u8]) -> String {
    let mut text = String::new();
    for line in record[..record.len().min(BYTES_SHOWN_MAX)].chunks(BYTES_PER_LINE) {
        text.push_str("   ");
        for byte in line {
            write!(text, " {byte:02x}").expect("a text takes everything");
        }
        text.push('\n');
    }
    if record.len() > BYTES_SHOWN_MAX {
        writeln!(text, "    … {} bytes more", record.len() - BYTES_SHOWN_MAX)
            .expect("a text takes everything");
    }
    if let Ok(record) = decode(record) {
        writeln!(text, "    {}", shown(&record)).expect("a text takes everything");
    }
    text.trim_end().to_owned()
}
