//! `firstcome audit`: the invariants of a drop, counted again from the rows, beside the wins that
//! Redis or Kafka has and the ledger lacks.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context as _;
use firstcome_core::Commit;
use firstcome_issuance::{AuditView, RedisStrategy};
use firstcome_ledger::AuditRecord;
use indicatif::ProgressIterator as _;
use serde_json::json;

use super::{bar, events_that, visit};
use crate::cli::AuditFlags;
use crate::{kafka, redis};

/// Audits one event or all, and the file of an embedded ledger; fails when a check does.
pub(crate) async fn audit(flags: &AuditFlags, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let settings = flags.flags.load()?.settings;
    let ledger = visit(&settings).await?;
    let events = match flags.event {
        Some(id) => {
            vec![ledger.event(id).await?.with_context(|| format!("there is no event {id}"))?]
        }
        None => {
            let mut events = events_that(&ledger, |_| true).await?;
            // Oldest first.
            events.reverse();
            events
        }
    };
    let beside = match redis::connect(&settings)? {
        Some(redis) => {
            let journal = kafka::journal(&settings)?;
            Some(RedisStrategy::new(redis, ledger.clone(), journal))
        }
        None => None,
    };
    let (mut passed, mut not_asked) = (true, 0);
    for event in events.iter().progress_with(bar(events.len() as u64)) {
        let id = event.id;
        let promised = match &beside {
            Some(beside) => beside.count_promised(event).await.with_context(|| {
                format!("cannot tell which wins of the event {id} the ledger lacks")
            })?,
            None => {
                not_asked += usize::from(event.commit != Commit::Ledger);
                0
            }
        };
        let audit = ledger.audit(id).await?.with_context(|| format!("there is no event {id}"))?;
        let audit = audit.beside(promised);
        passed &= audit.pass();
        tell(out, audit, flags.json)?;
    }
    if not_asked > 0 {
        writeln!(
            std::io::stderr(),
            "of {not_asked} events wins may wait in Redis or Kafka, and only the ledger was \
             counted: --redis-url and --kafka-brokers count them, too"
        )?;
    }
    let faults = ledger.integrity_faults().await?;
    passed &= faults.is_empty();
    let place = if ledger.is_shared() { "the ledger" } else { "the ledger's file" };
    tell_integrity(out, (place, events.len()), &faults, flags.json)?;
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn tell(out: &mut impl Write, audit: AuditRecord, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        writeln!(out, "{}", serde_json::to_string(&AuditView::of(audit))?)?;
        return Ok(());
    }
    let verdict = if audit.pass() { "pass" } else { "FAIL" };
    let AuditRecord { event_id, quantity, issued, rows, pending, checks, .. } = audit;
    writeln!(
        out,
        "{verdict} {event_id}: {issued} issued of {quantity}, {rows} rows, {pending} pending"
    )?;
    for check in checks.iter().filter(|check| !check.pass) {
        writeln!(out, "     {}: expected {}, found {}", check.name, check.expected, check.found)?;
    }
    Ok(())
}

fn tell_integrity(
    out: &mut impl Write,
    (place, events): (&str, usize),
    faults: &[String],
    as_json: bool,
) -> anyhow::Result<()> {
    if as_json {
        let verdict = if faults.is_empty() { "pass" } else { "fail" };
        let integrity = json!({"integrity": {"verdict": verdict, "faults": faults}});
        writeln!(out, "{integrity}")?;
        return Ok(());
    }
    let verdict = if faults.is_empty() { "pass" } else { "FAIL" };
    writeln!(out, "{verdict} {place}; {events} events audited")?;
    for fault in faults {
        writeln!(out, "     {fault}")?;
    }
    Ok(())
}
