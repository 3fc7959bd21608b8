//! `firstcome sync`: rebuilds what Redis knows from the ledger.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context as _;
use firstcome_core::Strategy;
use firstcome_issuance::{RedisStrategy, Synced};

use super::visit;
use crate::cli::SyncFlags;
use crate::{kafka, redis};

/// Events that are rebuilt by one call.
const EVENTS_MAX: u64 = 10_000;

/// Rebuilds what Redis knows of one event, or of all that it decides.
pub(crate) async fn sync(flags: &SyncFlags, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let settings = flags.load()?.settings;
    let Some(redis) = redis::decider(&settings).await? else {
        let sentence =
            "nothing to rebuild: without Redis (redis.url) the ledger decides every claim";
        writeln!(out, "{sentence}")?;
        return Ok(ExitCode::SUCCESS);
    };
    let ledger = visit(&settings).await?;
    let events = match flags.event {
        Some(id) => match ledger.event(id).await? {
            Some(event) if event.strategy == Strategy::Redis => vec![event],
            Some(event) => anyhow::bail!(
                "the event {id} is decided by the strategy {}: there is nothing to rebuild",
                event.strategy.as_str()
            ),
            None => anyhow::bail!("there is no event {id} in this ledger"),
        },
        // Those that are not over.
        None => {
            let now = ledger.clock().now();
            ledger.events_decided_by(Strategy::Redis, now, EVENTS_MAX).await?
        }
    };
    let journal = kafka::journal(&settings)?;
    let strategy = RedisStrategy::new(redis, ledger.clone(), journal);
    for event in &events {
        let synced = strategy.sync_event(event.id).await;
        let synced = synced.with_context(|| format!("the event {} is not rebuilt", event.id))?;
        let Synced { epoch, winners, took } = synced;
        let took = took.as_millis();
        writeln!(out, "{}: {winners} winners, epoch {epoch}, {took} ms", event.id)?;
        out.flush()?;
    }
    if events.is_empty() {
        writeln!(out, "nothing to rebuild: no event that Redis decides is open")?;
    }
    ledger.close().await?;
    Ok(ExitCode::SUCCESS)
}
