//! What stands behind a claim, each part by itself: a worker that writes a journal to PostgreSQL
//! against one `COPY` of the same rows, and what Redis takes for a winner.
//!
//! All claims are made first, by a product without a worker, so that Kafka holds them and the
//! ledger has none. Only an event's first claim needs one: it has to see that Kafka holds nothing
//! of an earlier epoch.

mod script;
mod text;

use std::path::Path;
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use indicatif::ProgressBar;

use super::http::Connection;
use super::ledger::{Home, Ledger};
use super::product::{self, Product, QUANTITY_MAX};
use super::served::Served;
use super::server::{Database, Server};
use super::{Workshop, flood, machine, progress, report};
use crate::stopwatch::Stopwatch;
use script::{Script, Watch};

/// So many claims are under way at the same time.
const CONNECTIONS: usize = 256;
/// All that a product can do, but to write what Kafka holds.
const WITHOUT_WORKER: &[&str] = &["identity", "catalog", "issuance", "wallet"];
const WORKER: &[&str] = &["worker"];
/// Several roles share a product's own key only when they are told so.
const SHARING: &str = "[identity]\nshare_secret = true\n";
/// What a worker has written, in its metrics.
const WRITTEN: &str = "firstcome_worker_applied_total{outcome=\"written\"} ";
/// How often a worker is asked how far it is.
const POLL: Duration = Duration::from_millis(20);
/// Longest time that it may take.
const WORK_MAX: Duration = Duration::from_secs(600);

/// How many, and how often.
#[derive(Args)]
pub(crate) struct Options {
    /// Claims of a round.
    #[arg(long, default_value_t = 400_000, value_parser = clap::value_parser!(u64).range(1..))]
    claims: u64,
    /// Rounds; each begins with an empty ledger.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    rounds: u64,
}

/// What was measured in one round.
struct Round {
    script: Script,
    worker_rows_per_second: f64,
    copy_rows_per_second: f64,
}

/// Measures and writes the section `parts`.
///
/// # Errors
/// When a claim does not win, or a row is missing.
pub(crate) fn run(workshop: &Workshop, options: &Options) -> anyhow::Result<()> {
    let server = Ledger::Kafka.server(&workshop.root)?.context("no server")?;
    let bar = progress(options.rounds * options.claims);
    let mut rounds = Vec::new();
    for number in 1..=options.rounds {
        rounds.push(measure(workshop, &server, options.claims, number, &bar)?);
    }
    bar.finish_and_clear();
    let shown = machine::describe(&workshop.root);
    let text = text::section(options, &shown, &rounds, &server.settings()?);
    report::write(&workshop.root, "parts", &text)
}

fn measure(
    workshop: &Workshop,
    server: &Arc<Server>,
    claims: u64,
    number: u64,
    bar: &ProgressBar,
) -> anyhow::Result<Round> {
    let redis = server.beside.as_ref().context("no Redis")?;
    let mut home = Home::on(Some(server), workshop, &format!("data-{number}"))?;
    home.more_config += SHARING;
    bar.set_message(format!("round {number}: claims"));
    let served = product::serve(workshop, &home, WITHOUT_WORKER, None)?;
    let product = Product::of(workshop, home, served)?;
    let path = product.open_event(QUANTITY_MAX)?;
    let tokens = workshop.file("tokens");
    product.write_tokens("u", claims, &tokens)?;
    let worker = product::serve(workshop, &product.home, WORKER, None)?;
    product.claim_once(&path, &product.token("first")?, 201)?;
    wait_until_written(&worker, 1)?;
    worker.terminate()?;
    let watch = Watch::start(redis)?;
    flood::claim_all(product.served.address, &path, &tokens, CONNECTIONS, bar)?;
    product.wait_until_idle()?;
    let home = product.stop()?;
    bar.set_message(format!("round {number}: a worker"));
    let worker = product::serve(workshop, &home, WORKER, None)?;
    let (rows, time) = wait_until_written(&worker, claims)?;
    let worker_rows_per_second = rate(rows, time)?;
    worker.terminate()?;
    bar.set_message(format!("round {number}: Redis"));
    // Not while a process runs that would carry what is decided to Kafka.
    let script = watch.finish(claims, &workshop.file("batches"))?;
    bar.set_message(format!("round {number}: COPY"));
    let database = home.database.as_ref().context("no database")?;
    let copy_rows_per_second = copy(database, claims + 1, &workshop.file("rows"))?;
    Ok(Round { script, worker_rows_per_second, copy_rows_per_second })
}

/// Waits until a worker has written so many rows; how many it wrote after the first that were seen,
/// and how long that took.
fn wait_until_written(worker: &Served, rows: u64) -> anyhow::Result<(u64, Duration)> {
    let mut connection = Connection::open(worker.address)?;
    let time = Stopwatch::start();
    let mut first = None;
    loop {
        let written = written(&connection.get("/metrics")?.body)?;
        let now = time.elapsed();
        if written > 0 {
            let (began, before) = *first.get_or_insert((now, written));
            if written >= rows {
                anyhow::ensure!(written == rows, "{written} rows of {rows} claims");
                return Ok((rows - before, now - began));
            }
        }
        anyhow::ensure!(now < WORK_MAX, "a worker wrote {written} of {rows} rows in {now:?}");
        sleep(POLL);
    }
}

/// The rows that a worker has written, of its metrics.
fn written(metrics: &str) -> anyhow::Result<u64> {
    let line = metrics.lines().find_map(|line| line.strip_prefix(WRITTEN));
    Ok(line.map(str::parse).transpose()?.unwrap_or(0))
}

/// Copies the rows to a table of the same kind; how many in a second.
fn copy(database: &Database, rows: u64, file: &Path) -> anyhow::Result<f64> {
    let file = file.display();
    database.ask(&format!("\\copy issued_coupons TO '{file}'"))?;
    database.ask("CREATE TABLE copied (LIKE issued_coupons INCLUDING ALL)")?;
    database.rest()?;
    let time = Stopwatch::start();
    database.ask(&format!("\\copy copied FROM '{file}'"))?;
    let elapsed = time.elapsed();
    let copied = database.ask("SELECT count(*) FROM copied")?;
    anyhow::ensure!(copied.trim() == rows.to_string(), "{} of {rows} rows", copied.trim());
    rate(rows, elapsed)
}

#[expect(clippy::cast_precision_loss, reason = "rows of one run are far below 2^52")]
fn rate(rows: u64, time: Duration) -> anyhow::Result<f64> {
    anyhow::ensure!(rows > 0 && !time.is_zero(), "too few rows to measure: raise --claims");
    Ok(rows as f64 / time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_tells_what_it_has_written() {
        let metrics = "firstcome_worker_applied_total{outcome=\"void\"} 7\n\
                       firstcome_worker_applied_total{outcome=\"written\"} 500\n";
        assert_eq!(written(metrics).unwrap(), 500);
        assert_eq!(written("").unwrap(), 0);
        assert!(written("firstcome_worker_applied_total{outcome=\"written\"} x").is_err());
    }

    #[test]
    fn a_rate_needs_rows_and_time() {
        assert!((rate(10, Duration::from_secs(2)).unwrap() - 5.0).abs() < 1e-9);
        assert!(rate(0, Duration::from_secs(2)).is_err());
        assert!(rate(10, Duration::ZERO).is_err());
    }
}
