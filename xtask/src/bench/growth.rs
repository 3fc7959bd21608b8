//! Whether a claim costs more when many coupons are issued.
//!
//! With the embedded ledger the cost is counted in [`instructions`]; with a database server, which
//! no instrument could follow at that length, in the [`time`] that the processor takes.

mod instructions;
mod time;

use clap::Args;
use indicatif::ProgressBar;

use super::ledger::Ledger;
use super::product::{Product, QUANTITY_MAX};
use super::{Workshop, flood};

/// A claim may cost so many times what it costs among few.
const RATIO_MAX: f64 = 1.3;
const RATIO_TEXT: &str = "≤ 1.3";
/// Tokens of one file: a bound on the disk that the tokens take.
const CHUNK: u64 = 1_000_000;

/// How many.
#[derive(Args)]
pub(crate) struct Options {
    /// Where the ledger is kept.
    #[arg(long, value_enum, default_value = "sqlite")]
    ledger: Ledger,
    /// Coupons issued before a measurement among few.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    rows_few: u64,
    /// Coupons issued before the first measurement among many.
    #[arg(long, default_value_t = 9_990_000, value_parser = clap::value_parser!(u64).range(1..))]
    rows: u64,
    /// Claims of one measurement [default: 10000, on a database server 200000]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    claims: Option<u64>,
    /// Pairs of measurements on a database server; the embedded ledger needs only one.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    samples: u64,
}

/// Measures and writes a section.
///
/// # Errors
/// When an answer is another than expected, or an audit fails.
pub(crate) fn run(workshop: &Workshop, options: &Options) -> anyhow::Result<()> {
    anyhow::ensure!(options.rows > options.rows_few, "--rows must be above --rows-few");
    match options.ledger.server(&workshop.root)? {
        None => instructions::run(workshop, options),
        Some(server) => time::run(workshop, options, &server),
    }
}

/// One event on its way to many issued coupons.
struct Growing<'a> {
    workshop: &'a Workshop,
    path: String,
    bar: &'a ProgressBar,
    issued: u64,
}

impl<'a> Growing<'a> {
    /// An event that has issued nothing.
    fn open(
        workshop: &'a Workshop,
        product: &Product,
        bar: &'a ProgressBar,
    ) -> anyhow::Result<Self> {
        Ok(Self { workshop, path: product.open_event(QUANTITY_MAX)?, bar, issued: 0 })
    }

    /// Claims at full speed until so many are issued, and audits them.
    fn fill(&mut self, product: &Product, rows: u64) -> anyhow::Result<()> {
        while self.issued < rows {
            self.bar.set_message(format!("fill to {rows}"));
            self.claim(product, CHUNK.min(rows - self.issued))?;
        }
        product.wait_until_idle()?;
        let found = product.audit(&self.path)?;
        anyhow::ensure!(found == self.issued, "{found} issued, {} won", self.issued);
        Ok(())
    }

    /// Claims once for each of so many new users.
    fn claim(&mut self, product: &Product, count: u64) -> anyhow::Result<()> {
        self.sign(product, count)?;
        self.send(product, count)
    }

    /// Writes the tokens of the next users.
    fn sign(&self, product: &Product, count: u64) -> anyhow::Result<()> {
        product.write_tokens(&format!("u{}", self.issued), count, &self.tokens())
    }

    /// Claims once with each of the tokens.
    fn send(&mut self, product: &Product, count: u64) -> anyhow::Result<()> {
        let (address, tokens) = (product.served.address, self.tokens());
        flood::claim_all(address, &self.path, &tokens, flood::CONNECTIONS, self.bar)?;
        self.issued += count;
        Ok(())
    }

    fn tokens(&self) -> std::path::PathBuf {
        self.workshop.file("tokens")
    }
}
