//! `firstcome ledger copy`: a deployment moves from one ledger to another.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use firstcome_ledger::{CopyReport, Ledger, LedgerOptions, Purpose};
use firstcome_web::SystemClock;

use super::bar;
use crate::cli::CopyFlags;
use crate::config::Settings;
use crate::serve::make_private;

/// Copies the ledger, and tells how many rows of each table were copied and verified.
pub(crate) async fn copy(flags: &CopyFlags, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let settings = flags.flags.load()?.settings;
    let from = at(&settings, &flags.from)?;
    let to = match &flags.to {
        Some(url) => at(&settings, url)?,
        None => settings.ledger_options(Purpose::Serve)?,
    };
    if flags.to.is_none() && to.path().is_some() {
        make_private(&settings.server.data_dir)?;
    }
    let bar = bar(0);
    let clock = Arc::new(SystemClock::new());
    let report = Ledger::copy(&from, &to, clock, |progress| {
        bar.set_length(progress.rows_total);
        bar.set_position(progress.rows_done);
    })
    .await?;
    bar.finish_and_clear();
    tell(out, &report)?;
    writeln!(out, "copied {} to {}, every row verified", from.shown(), to.shown())?;
    Ok(ExitCode::SUCCESS)
}

/// The ledger of a URL, with the bounds that are configured.
fn at(settings: &Settings, url: &str) -> anyhow::Result<LedgerOptions> {
    let mut options = LedgerOptions::parse_url(url, Purpose::Serve)?;
    options.limits = settings.ledger_limits();
    Ok(options)
}

fn tell(out: &mut impl Write, report: &CopyReport) -> anyhow::Result<()> {
    writeln!(out, "{:<16}{:>12}{:>12}", "table", "copied", "verified")?;
    for table in &report.tables {
        writeln!(out, "{:<16}{:>12}{:>12}", table.name, table.copied, table.verified)?;
    }
    Ok(())
}
