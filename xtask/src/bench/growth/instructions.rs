//! Instructions, counted by callgrind.
//!
//! Counted instructions do not depend on the machine's caches or clock. The product is filled at
//! full speed, stopped, and started again under callgrind, which counts only while the measured
//! claims are sent and what follows from them is written.

use std::path::Path;
use std::process::Command;

use anyhow::Context as _;

use super::{Growing, Options, RATIO_MAX, RATIO_TEXT};
use crate::bench::ledger::Home;
use crate::bench::product::{Product, QUANTITY_MAX};
use crate::bench::report::{against, table, thousands};
use crate::bench::{Workshop, machine, progress, report};
use crate::process::{capture, need};

/// Claims of one measurement.
const CLAIMS: u64 = 10_000;

/// Measures and writes the section `growth`.
///
/// # Errors
/// When an answer is another than expected, or an audit fails.
pub(crate) fn run(workshop: &Workshop, options: &Options) -> anyhow::Result<()> {
    need("valgrind", "valgrind")?;
    let Options { rows_few, rows, .. } = *options;
    let claims = options.claims.unwrap_or(CLAIMS);
    anyhow::ensure!(rows > rows_few + claims, "--rows must be above the rows measured before");
    anyhow::ensure!(rows + claims <= u64::from(QUANTITY_MAX), "an event has 10,000,000 at most");
    let bar = progress(rows + claims);
    let product = Product::start(workshop, home(workshop), None)?;
    let mut growing = Growing::open(workshop, &product, &bar)?;
    growing.fill(&product, rows_few)?;
    product.stop()?;
    let few = growing.instructions_per_claim(claims)?;
    let product = Product::start(workshop, home(workshop), None)?;
    growing.fill(&product, rows)?;
    product.stop()?;
    let many = growing.instructions_per_claim(claims)?;
    bar.finish_and_clear();
    report::write(&workshop.root, "growth", &text(options, claims, few, many, &workshop.root))
}

fn home(workshop: &Workshop) -> Home {
    Home::embedded(workshop, "data")
}

impl Growing<'_> {
    /// Starts the product under callgrind, sends the measured claims, and counts.
    fn instructions_per_claim(&mut self, claims: u64) -> anyhow::Result<f64> {
        self.bar.set_message(format!("count instructions at {}", self.issued));
        let counts = self.workshop.file("callgrind.out");
        let mut callgrind = Command::new("valgrind");
        callgrind.args(["--quiet", "--tool=callgrind", "--instr-atstart=no"]);
        callgrind.arg(format!("--callgrind-out-file={}", counts.display()));
        let product = Product::start(self.workshop, home(self.workshop), Some(callgrind))?;
        let switch = |word: &str| {
            let pid = product.served.pid().to_string();
            capture(Command::new("callgrind_control").args([&format!("--instr={word}"), &pid]))
        };
        product.wait_until_idle()?;
        switch("on")?;
        self.claim(&product, claims)?;
        product.wait_until_idle()?;
        switch("off")?;
        product.stop()?;
        let counts = std::fs::read_to_string(&counts).context("callgrind wrote no counts")?;
        per_claim(&counts, claims)
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
fn text(options: &Options, claims: u64, few: f64, many: f64, root: &Path) -> String {
    let Options { rows_few, rows, .. } = options;
    let ratio = many / few;
    let row = vec![
        thousands(few),
        thousands(many),
        format!("**{ratio:.2}**"),
        against(ratio <= RATIO_MAX, RATIO_TEXT),
    ];
    let at = |rows: u64| format!("instructions at {} issued", thousands(rows as f64));
    format!(
        "Command: `cargo xtask bench growth --rows {rows} --claims {claims}`  \n\
         Machine: {}\n\nInstructions of the \
         product's process for one claim, over HTTP, token checked, until its row stands in the \
         indexed tables; counted by callgrind over {} claims of one event.\n\n{}",
        machine::describe(root),
        thousands(claims as f64),
        table(&[&at(*rows_few), &at(*rows), "ratio", "bar"], &[row])
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::ledger::Ledger;

    #[test]
    fn instructions_are_counted_for_each_claim() {
        let counts = "version: 1\nevents: Ir\nfn=main\n1 2\ntotals: 5000\n";
        assert!((per_claim(counts, 100).unwrap() - 50.0).abs() < 1e-9);
        assert!(per_claim("totals: 0\n", 100).is_err());
        assert!(per_claim("events: Ir\n", 100).is_err());
    }

    #[test]
    fn the_ratio_is_held_against_the_bar() {
        let options = Options {
            ledger: Ledger::Sqlite,
            rows_few: 10_000,
            rows: 9_990_000,
            claims: None,
            samples: 3,
        };
        let shown = |many| text(&options, 10_000, 1000.0, many, Path::new("/"));
        assert!(shown(1100.0).contains("| 1,000 | 1,100 | **1.10** | ≤ 1.3 (reached) |"));
        assert!(shown(1500.0).contains("(**not reached**)"));
    }
}
