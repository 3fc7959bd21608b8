//! `firstcome audit`: the invariants of a drop, counted again from the rows.

use std::io::Write;
use std::process::ExitCode;

use firstcome_core::EventId;
use firstcome_issuance::AuditView;
use firstcome_ledger::{AuditRecord, EventQuery, Ledger};
use indicatif::ProgressIterator as _;
use serde_json::json;

use super::{bar, visit};
use crate::cli::AuditFlags;

/// Events that are listed at once.
const PAGE_EVENTS: u64 = 200;

/// Audits one event or all, and the file of an embedded ledger; fails when a check does.
pub(crate) async fn audit(flags: &AuditFlags, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let settings = flags.flags.load()?.settings;
    let ledger = visit(&settings).await?;
    let events = match flags.event {
        Some(event) => vec![event],
        None => all_events(&ledger).await?,
    };
    let mut passed = true;
    for event in events.iter().progress_with(bar(events.len() as u64)) {
        let Some(audit) = ledger.audit(*event).await? else {
            anyhow::bail!("there is no event {event}");
        };
        passed &= audit.pass();
        tell(out, audit, flags.json)?;
    }
    let faults = ledger.integrity_faults().await?;
    passed &= faults.is_empty();
    let place = if ledger.is_shared() { "the ledger" } else { "the ledger's file" };
    tell_integrity(out, (place, events.len()), &faults, flags.json)?;
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Every event, oldest first.
async fn all_events(ledger: &Ledger) -> anyhow::Result<Vec<EventId>> {
    let mut events: Vec<EventId> = Vec::new();
    loop {
        let after = events.last().copied();
        let query = EventQuery { state: None, after, limit: PAGE_EVENTS };
        let page = ledger.events(&query).await?;
        if page.is_empty() {
            events.reverse();
            return Ok(events);
        }
        events.extend(page.iter().map(|event| event.id));
    }
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
