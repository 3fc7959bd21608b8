//! Whether a claim costs more when many coupons are issued: instructions, counted by callgrind.
//!
//! Counted instructions do not depend on the machine's caches or clock. The product is filled at
//! full speed, stopped, and started again under callgrind, which counts only while the measured
//! claims are sent and what follows from them is written.

use std::path::Path;
use std::process::Command;

use anyhow::Context as _;
use clap::Args;
use indicatif::ProgressBar;

use super::product::{Product, QUANTITY_MAX};
use super::report::{against, table, thousands};
use super::{Workshop, flood, machine, progress, report};
use crate::process::{capture, need};

/// Instructions of a claim may grow so many times.
const INSTRUCTIONS_RATIO_MAX: f64 = 1.3;
/// Tokens of one file: a bound on the disk that the tokens take.
const CHUNK: u64 = 1_000_000;

/// How many.
#[derive(Args)]
pub(crate) struct Options {
    /// Coupons issued before the first measurement.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    rows_few: u64,
    /// Coupons issued before the second measurement.
    #[arg(long, default_value_t = 9_990_000, value_parser = clap::value_parser!(u64).range(1..))]
    rows: u64,
    /// Claims of one measurement.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    claims: u64,
}

/// Measures and writes the section `growth`.
///
/// # Errors
/// When an answer is another than expected, or an audit fails.
pub(crate) fn run(workshop: &Workshop, options: &Options) -> anyhow::Result<()> {
    need("valgrind", "valgrind")?;
    let Options { rows_few, rows, claims } = *options;
    anyhow::ensure!(rows > rows_few + claims, "--rows must be above the rows measured before");
    anyhow::ensure!(rows + claims <= u64::from(QUANTITY_MAX), "an event has 10,000,000 at most");
    let bar = progress(rows + claims);
    let mut product = Product::start(workshop, "data", None)?;
    let path = product.open_event(QUANTITY_MAX)?;
    let mut growth = Growth { workshop, path, claims, bar, issued: 0 };
    growth.fill(&mut product, rows_few)?;
    product.stop()?;
    let few = growth.instructions_per_claim()?;
    let mut product = Product::start(workshop, "data", None)?;
    growth.fill(&mut product, rows)?;
    product.stop()?;
    let many = growth.instructions_per_claim()?;
    growth.bar.finish_and_clear();
    report::write(&workshop.root, "growth", &text(options, few, many, &workshop.root))
}

/// One event on its way to many issued coupons.
struct Growth<'a> {
    workshop: &'a Workshop,
    path: String,
    claims: u64,
    bar: ProgressBar,
    issued: u64,
}

impl Growth<'_> {
    /// Claims at full speed until so many are issued, and audits them.
    fn fill(&mut self, product: &mut Product, rows: u64) -> anyhow::Result<()> {
        while self.issued < rows {
            self.bar.set_message(format!("fill to {rows}"));
            self.claim(product, CHUNK.min(rows - self.issued))?;
        }
        product.served.wait_until_idle()?;
        let found = product.audit(&self.path)?;
        anyhow::ensure!(found == self.issued, "{found} issued, {} won", self.issued);
        Ok(())
    }

    /// Claims once for each of so many new users.
    fn claim(&mut self, product: &Product, count: u64) -> anyhow::Result<()> {
        let tokens = self.workshop.file("tokens");
        product.write_tokens(&format!("u{}", self.issued), count, &tokens)?;
        flood::claim_all(product.served.address, &self.path, &tokens, &self.bar)?;
        self.issued += count;
        Ok(())
    }

    /// Starts the product under callgrind, sends the measured claims, and counts.
    fn instructions_per_claim(&mut self) -> anyhow::Result<f64> {
        self.bar.set_message(format!("count instructions at {}", self.issued));
        let counts = self.workshop.file("callgrind.out");
        let mut callgrind = Command::new("valgrind");
        callgrind.args(["--quiet", "--tool=callgrind", "--instr-atstart=no"]);
        callgrind.arg(format!("--callgrind-out-file={}", counts.display()));
        let product = Product::start(self.workshop, "data", Some(callgrind))?;
        let switch = |word: &str| {
            let pid = product.served.pid().to_string();
            capture(Command::new("callgrind_control").args([&format!("--instr={word}"), &pid]))
        };
        product.served.wait_until_idle()?;
        switch("on")?;
        self.claim(&product, self.claims)?;
        product.served.wait_until_idle()?;
        switch("off")?;
        product.stop()?;
        let counts = std::fs::read_to_string(&counts).context("callgrind wrote no counts")?;
        per_claim(&counts, self.claims)
    }
}

/// Instructions of one claim, from the totals of callgrind's file.
#[expect(clippy::cast_precision_loss, reason = "instructions of one run are far below 2^52")]
fn per_claim(counts: &str, claims: u64) -> anyhow::Result<f64> {
    let totals = counts.lines().find_map(|line| line.strip_prefix("totals: "));
    let totals: u64 = totals.context("callgrind counted nothing")?.trim().parse()?;
    anyhow::ensure!(totals > 0, "callgrind counted nothing");
    Ok(totals as f64 / claims as f64)
}

#[expect(clippy::cast_precision_loss, reason = "rows are far below 2^52")]
fn text(options: &Options, few: f64, many: f64, root: &Path) -> String {
    let Options { rows_few, rows, claims } = options;
    let ratio = many / few;
    let row = vec![
        thousands(few),
        thousands(many),
        format!("**{ratio:.2}**"),
        against(ratio <= INSTRUCTIONS_RATIO_MAX, "≤ 1.3"),
    ];
    let at = |rows: u64| format!("instructions at {} issued", thousands(rows as f64));
    format!(
        "Command: `cargo xtask bench growth --rows {rows} --claims {claims}`  \n\
         Machine: {}\n\nInstructions of the \
         product's process for one claim, over HTTP, token checked, until its row stands in the \
         indexed tables; counted by callgrind over {} claims of one event.\n\n{}",
        machine::describe(root),
        thousands(*claims as f64),
        table(&[&at(*rows_few), &at(*rows), "ratio", "bar"], &[row])
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_are_counted_for_each_claim() {
        let counts = "version: 1\nevents: Ir\nfn=main\n1 2\ntotals: 5000\n";
        assert!((per_claim(counts, 100).unwrap() - 50.0).abs() < 1e-9);
        assert!(per_claim("totals: 0\n", 100).is_err());
        assert!(per_claim("events: Ir\n", 100).is_err());
    }

    #[test]
    fn the_ratio_is_held_against_the_bar() {
        let options = Options { rows_few: 10_000, rows: 9_990_000, claims: 10_000 };
        let shown = |many| text(&options, 1000.0, many, Path::new("/"));
        assert!(shown(1100.0).contains("| 1,000 | 1,100 | **1.10** | ≤ 1.3 (reached) |"));
        assert!(shown(1500.0).contains("(**not reached**)"));
    }
}
