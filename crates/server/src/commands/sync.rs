//! `firstcome sync`: rebuilds what Redis knows from the ledger.

use std::convert::Infallible;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use firstcome_core::{Commit, EventId, EventState, Strategy};
use firstcome_issuance::{RedisStrategy, Synced};
use firstcome_ledger::{EventRecord, Ledger};
use indicatif::ProgressBar;
use tokio::time::sleep;

use super::{events_that, visit};
use crate::cli::SyncFlags;
use crate::{kafka, redis};

/// What is said where no event has anything in Redis.
const NOTHING: &str = "nothing to rebuild: no event that Redis decides is open";
/// How often the bar of an event moves.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Rebuilds what Redis knows of one event, or of all that it decides.
pub(crate) async fn sync(flags: &SyncFlags, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let settings = flags.flags.load()?.settings;
    let ledger = visit(&settings).await?;
    let events = to_rebuild(&ledger, flags.event).await?;
    let Some(redis) = redis::connect(&settings)? else {
        if let Some(event) = events.first() {
            bail!(
                "Redis decides events of this ledger, as {}: set redis.url (--redis-url) to the \
                 one that the servers have",
                event.id
            );
        }
        writeln!(out, "{NOTHING}")?;
        ledger.close().await?;
        return Ok(ExitCode::SUCCESS);
    };
    redis::check_now(&redis, redis::use_of(&settings, &ledger).await?).await?;
    let journal = kafka::journal(&settings)?;
    let (of_kafka, mut rebuilt): (Vec<_>, Vec<_>) =
        events.iter().partition(|event| event.commit == Commit::Kafka);
    let unfit = match &journal {
        Some(journal) if !of_kafka.is_empty() => kafka::check_now(journal, &ledger).await.err(),
        _ => None,
    };
    if unfit.is_none() {
        rebuilt.extend(of_kafka);
    }
    let strategy = RedisStrategy::new(redis, ledger.clone(), journal);
    for event in rebuilt {
        let bar = ProgressBar::new(event.rule.issued.into());
        let synced = tokio::select! {
            synced = strategy.sync_event(event.id) => synced,
            never = follow(&ledger, event.id, &bar) => match never {},
        };
        bar.finish_and_clear();
        let synced = synced.with_context(|| format!("the event {} is not rebuilt", event.id))?;
        let Synced { epoch, winners, took } = synced;
        let took = took.as_millis();
        writeln!(out, "{}: {winners} winners, epoch {epoch}, {took} ms", event.id)?;
        out.flush()?;
    }
    if events.is_empty() {
        writeln!(out, "{NOTHING}")?;
    }
    ledger.close().await?;
    match unfit {
        Some(unfit) => Err(unfit.context("events whose wins Kafka holds are not rebuilt")),
        None => Ok(ExitCode::SUCCESS),
    }
}

/// The event that is asked for, or all that Redis decides and that are not over, newest first.
async fn to_rebuild(ledger: &Ledger, only: Option<EventId>) -> anyhow::Result<Vec<EventRecord>> {
    let Some(id) = only else {
        let now = ledger.clock().now();
        let is_decided_there = |event: &EventRecord| {
            event.strategy == Strategy::Redis && event.rule.state(now) != EventState::Closed
        };
        return events_that(ledger, is_decided_there).await;
    };
    match ledger.event(id).await? {
        Some(event) if event.strategy == Strategy::Redis => Ok(vec![event]),
        Some(event) => bail!(
            "the event {id} is decided by the strategy {}: there is nothing to rebuild",
            event.strategy.as_str()
        ),
        None => bail!("there is no event {id} in this ledger"),
    }
}

/// Shows how far an event is, whoever rebuilds it.
async fn follow(ledger: &Ledger, event: EventId, bar: &ProgressBar) -> Infallible {
    loop {
        sleep(LOOK_EVERY).await;
        // A ledger that fails ends the rebuilding, which says so.
        let Ok(Some(event)) = ledger.event(event).await else { continue };
        if let Some(copied) = event.copied_by_sync(ledger.clock().now()) {
            bar.set_length(event.rule.issued.into());
            bar.set_position(copied.into());
        }
    }
}
