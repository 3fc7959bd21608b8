//! Processor time of the product and the database server together, among few and among many issued
//! coupons in turns.

use std::sync::Arc;

use super::{Growing, Options, RATIO_MAX, RATIO_TEXT};
use crate::bench::ledger::Home;
use crate::bench::processor::Cost;
use crate::bench::product::{Product, QUANTITY_MAX};
use crate::bench::report::{against, median, table, thousands};
use crate::bench::server::Server;
use crate::bench::{Workshop, machine, progress, report};
use crate::stopwatch::Stopwatch;

/// Claims of one measurement: some seconds of processor time, which is counted in hundredths.
const CLAIMS: u64 = 200_000;

/// One measurement.
#[derive(Debug, Clone, Copy)]
struct Sample {
    /// Until the last answer.
    answered: Cost,
    /// Until nothing was left to do.
    done: Cost,
    claims_per_second: f64,
}

/// Measured one after the other.
struct Pair {
    few: Sample,
    many: Sample,
}

/// Measures and writes the ledger's section.
///
/// # Errors
/// When the server's processes cannot be seen, or an answer is another than expected.
pub(crate) fn run(
    workshop: &Workshop,
    options: &Options,
    server: &Arc<Server>,
) -> anyhow::Result<()> {
    let Options { ledger, rows_few, rows, samples, .. } = *options;
    let claims = options.claims.unwrap_or(CLAIMS);
    anyhow::ensure!(
        server.processor_ticks()?.is_some(),
        "only processes of this machine that `cargo xtask services up` has started can be measured"
    );
    let elsewhere = issued_elsewhere(rows, samples * claims)?;
    let bar = progress(rows + samples * (rows_few + 2 * claims));
    let product = Product::start(workshop, Home::on(Some(server), workshop, "many")?, None)?;
    Growing::open(workshop, &product, &bar)?.fill(&product, elsewhere)?;
    let mut many = Growing::open(workshop, &product, &bar)?;
    many.fill(&product, rows - elsewhere)?;
    let mut pairs = Vec::new();
    for number in 1..=samples {
        let few = among_few(workshop, options, server, claims, number, &bar)?;
        bar.set_message(format!("sample {number} among {rows}"));
        pairs.push(Pair { few, many: many.measure(&product, claims)? });
    }
    let issued = product.audit(&many.path)?;
    anyhow::ensure!(issued == many.issued, "{issued} issued, {} won", many.issued);
    bar.finish_and_clear();
    product.stop()?;
    let shown = machine::describe(&workshop.root);
    let text = text(options, claims, &pairs, &shown, &server.settings()?);
    report::write(&workshop.root, &format!("growth-{}", ledger.word()), &text)
}

/// How many of the rows another event has to issue, so that the measured one has coupons left.
fn issued_elsewhere(rows: u64, claims: u64) -> anyhow::Result<u64> {
    let quantity = u64::from(QUANTITY_MAX);
    let elsewhere = (rows + claims).saturating_sub(quantity);
    anyhow::ensure!(claims < quantity && elsewhere < rows, "an event has 10,000,000 at most");
    Ok(elsewhere)
}

/// A measurement in a database of its own, which holds few rows.
fn among_few(
    workshop: &Workshop,
    options: &Options,
    server: &Arc<Server>,
    claims: u64,
    number: u64,
    bar: &indicatif::ProgressBar,
) -> anyhow::Result<Sample> {
    let home = Home::on(Some(server), workshop, &format!("few-{number}"))?;
    let product = Product::start(workshop, home, None)?;
    let mut few = Growing::open(workshop, &product, bar)?;
    few.fill(&product, options.rows_few)?;
    bar.set_message(format!("sample {number} among {}", options.rows_few));
    let sample = few.measure(&product, claims)?;
    product.stop()?;
    Ok(sample)
}

impl Growing<'_> {
    /// What so many claims cost, until nothing is left to do.
    fn measure(&mut self, product: &Product, claims: u64) -> anyhow::Result<Sample> {
        self.sign(product, claims)?;
        product.come_to_rest()?;
        let before = product.processor_time()?;
        let time = Stopwatch::start();
        self.send(product, claims)?;
        let seconds = time.elapsed().as_secs_f64();
        let answered = product.processor_time()?.cost_since(before, claims);
        product.wait_until_idle()?;
        let done = product.processor_time()?.cost_since(before, claims);
        Ok(Sample { answered, done, claims_per_second: number(claims) / seconds })
    }
}

fn text(
    options: &Options,
    claims: u64,
    pairs: &[Pair],
    machine: &str,
    settings: &[String],
) -> String {
    let Options { ledger, rows_few, rows, samples, .. } = options;
    let of = |figure: &dyn Fn(&Pair) -> f64| median(pairs.iter().map(figure).collect());
    let rates = of(&|pair| pair.many.claims_per_second / pair.few.claims_per_second);
    let both = |cost: &dyn Fn(&Pair) -> Cost| {
        let product = of(&|pair| cost(pair).product_us);
        let database = of(&|pair| cost(pair).database_us.unwrap_or(0.0));
        format!("{product:.1} + {database:.1}")
    };
    let row = |until: &str, cost: &dyn Fn(&Sample) -> Cost| {
        let ratio = of(&|pair| cost(&pair.many).total_us() / cost(&pair.few).total_us());
        vec![
            until.to_owned(),
            both(&|pair| cost(&pair.few)),
            both(&|pair| cost(&pair.many)),
            format!("**{ratio:.2}**"),
            against(ratio <= RATIO_MAX, RATIO_TEXT),
        ]
    };
    let rows_shown = [
        row("the last answer", &|sample| sample.answered),
        row("nothing is left to do", &|sample| sample.done),
    ];
    let at = |rows: u64| format!("µs at {} issued, product + servers", thousands(number(rows)));
    let header = ["until", &at(*rows_few), &at(*rows), "ratio", "bar"];
    format!(
        "Command: `cargo xtask bench growth --ledger {} --rows-few {rows_few} --rows {rows} \
         --claims {claims} --samples {samples}`  \nMachine: {machine}\n\n\
         Processor time, user and system, of the product ({}) and of all processes of its \
         servers for one claim, over HTTP, token checked. {samples} pairs of {} claims each, among \
         few in a fresh database and among many in turns; medians, of the ratios too. After the \
         last answer the winners are listed by their holders.\n\n\
         {}\n- claims/s among many, as a share of those among few: {rates:.2}.\n{}",
        ledger.word(),
        ledger.name(),
        thousands(number(claims)),
        table(&header, &rows_shown),
        report::settings(ledger.database(), settings),
    )
}

#[expect(clippy::cast_precision_loss, reason = "rows and claims are far below 2^52")]
fn number(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::ledger::Ledger;

    #[test]
    fn the_measured_event_keeps_coupons_for_every_sample() {
        assert_eq!(issued_elsewhere(9_990_000, 600_000).unwrap(), 590_000);
        assert_eq!(issued_elsewhere(9_400_000, 600_000).unwrap(), 0);
        assert!(issued_elsewhere(100, 10_000_000).is_err());
    }

    #[test]
    fn the_ratio_is_the_median_of_the_pairs_and_held_against_the_bar() {
        let sample = |product_us, database_us, claims_per_second| {
            let cost = |database_us| Cost { product_us, database_us: Some(database_us) };
            let (answered, done) = (cost(database_us), cost(2.0 * database_us));
            Sample { answered, done, claims_per_second }
        };
        let few = sample(10.0, 10.0, 1_000.0);
        let pair = |many| Pair { few, many };
        let options = Options {
            ledger: Ledger::Kafka,
            rows_few: 10_000,
            rows: 9_990_000,
            claims: None,
            samples: 3,
        };
        let shown = |middle: f64| {
            let low = pair(sample(10.0, 5.0, 2_000.0));
            let high = pair(sample(50.0, 50.0, 500.0));
            let pairs = [low, pair(sample(10.0, middle, 900.0)), high];
            text(&options, 200_000, &pairs, "m", &["fsync = on".to_owned()])
        };
        let reached =
            "| the last answer | 10.0 + 10.0 | 10.0 + 15.0 | **1.25** | ≤ 1.3 (reached) |";
        assert!(shown(15.0).contains(reached), "{}", shown(15.0));
        let done = "| 10.0 + 20.0 | 10.0 + 30.0 | **1.33** | ≤ 1.3 (**not reached**) |";
        assert!(shown(15.0).contains(done), "{}", shown(15.0));
        assert!(shown(15.0).contains("as a share of those among few: 0.90"));
        assert!(shown(15.0).contains("of the product (Redis, then Kafka) and"));
        assert!(shown(20.0).contains("| **1.50** | ≤ 1.3 (**not reached**) |"));
        assert!(shown(15.0).ends_with("- The settings of PostgreSQL: `fsync = on`.\n"));
    }
}
