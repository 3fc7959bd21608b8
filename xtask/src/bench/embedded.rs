//! The embedded ledger against the limit of the machine: claims that win, and sold-out answers.

use std::path::PathBuf;
use std::process::Command;

use clap::Args;
use indicatif::ProgressBar;

use super::product::{Product, QUANTITY_MAX};
use super::report::{against, median, table, thousands};
use super::served::Served;
use super::wrk::{self, Load};
use super::{Workshop, machine, progress, report};
use crate::process::need;

/// How long, and how often.
#[derive(Args)]
pub(crate) struct Options {
    /// Rounds; each measures the limit and the product in turns, for both kinds of claim.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds of one measurement.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Tokens prepared for each second of a measurement: more than the product can answer.
    #[arg(long, default_value_t = 160_000)]
    tokens_per_second: u32,
}

/// A kind of claim, and what `docs/benchmarks.md` demands of it.
struct Bar {
    name: &'static str,
    share_min: f64,
    share_text: &'static str,
    p99_ratio_max: f64,
    p99_text: &'static str,
}

const WIN: Bar = Bar {
    name: "every claim wins, durable, token checked",
    share_min: 0.65,
    share_text: "≥ 0.65, aim 0.80",
    p99_ratio_max: 1.5,
    p99_text: "≤ 1.5",
};

const SOLD_OUT: Bar = Bar {
    name: "sold out, token checked",
    share_min: 0.85,
    share_text: "≥ 0.85, aim 0.95",
    p99_ratio_max: 1.2,
    p99_text: "≤ 1.2",
};

const MEMORY_BYTES_MAX: u64 = 200 * 1024 * 1024;
const START_MS_MAX: u128 = 1000;

/// The limit and the product, measured one after the other.
struct Pair {
    limit: Load,
    product: Load,
}

/// Measures and writes the section `embedded`.
///
/// # Errors
/// When an answer is another than expected, or an audit fails.
pub(crate) fn run(workshop: &Workshop, options: &Options) -> anyhow::Result<()> {
    need("wrk", "wrk")?;
    let bar = progress(u64::from(options.rounds) * 4 + 1);
    bar.set_message("tokens");
    let mut bench = Bench::start(workshop, options)?;
    bar.inc(1);
    let (mut wins, mut sold_out) = (Vec::new(), Vec::new());
    for round in 1..=options.rounds {
        wins.push(bench.wins(round, &bar)?);
        sold_out.push(bench.sold_out(round, &bar)?);
    }
    bar.finish_and_clear();
    let text = bench.finish(&wins, &sold_out)?;
    report::write(&workshop.root, "embedded", &text)
}

/// A product under measurement, and what its answers look like.
struct Bench<'a> {
    workshop: &'a Workshop,
    options: &'a Options,
    product: Product,
    tokens: PathBuf,
    /// Who claims outside of the measurements.
    outsider: String,
    won_bytes: usize,
    sold_out_bytes: usize,
    claims_won: u64,
    settled_seconds: Vec<f64>,
}

impl<'a> Bench<'a> {
    fn start(workshop: &'a Workshop, options: &'a Options) -> anyhow::Result<Self> {
        let product = Product::start(workshop, "data", None)?;
        let tokens = workshop.file("tokens");
        let count = u64::from(options.seconds) * u64::from(options.tokens_per_second);
        product.write_tokens("u", count, &tokens)?;
        wrk::deal_tokens(&tokens)?;
        let outsider = product.token("outsider")?;
        let path = product.open_event(1)?;
        let won_bytes = product.claim_once(&path, &outsider, 201)?;
        let sold_out_bytes = product.claim_once(&path, &product.token("late")?, 409)?;
        let settled_seconds = Vec::new();
        let claims_won = 1;
        Ok(Self {
            workshop,
            options,
            product,
            tokens,
            outsider,
            won_bytes,
            sold_out_bytes,
            claims_won,
            settled_seconds,
        })
    }

    fn wins(&mut self, round: u32, bar: &ProgressBar) -> anyhow::Result<Pair> {
        let limit = self.limit(round, self.won_bytes, bar)?;
        bar.set_message(format!("round {round}: every claim wins"));
        let path = self.product.open_event(QUANTITY_MAX)?;
        let product = self.load(&path)?;
        anyhow::ensure!(product.refused == 0, "not every claim won: {product:?}");
        anyhow::ensure!(product.rewinds == 0, "the tokens ran out: raise --tokens-per-second");
        // What the product does after its answers must not weigh on the next measurement.
        self.settled_seconds.push(self.product.served.wait_until_idle()?.as_secs_f64());
        let issued = self.product.audit(&path)?;
        anyhow::ensure!(issued >= product.requests, "{issued} issued, {} won", product.requests);
        self.claims_won += issued;
        bar.inc(1);
        Ok(Pair { limit, product })
    }

    fn sold_out(&mut self, round: u32, bar: &ProgressBar) -> anyhow::Result<Pair> {
        let limit = self.limit(round, self.sold_out_bytes, bar)?;
        bar.set_message(format!("round {round}: sold out"));
        let path = self.product.open_event(1)?;
        self.product.claim_once(&path, &self.outsider, 201)?;
        let product = self.load(&path)?;
        anyhow::ensure!(product.refused == product.requests, "a claim won: {product:?}");
        self.product.served.wait_until_idle()?;
        anyhow::ensure!(self.product.audit(&path)? == 1, "more than one coupon was issued");
        self.claims_won += 1;
        bar.inc(1);
        Ok(Pair { limit, product })
    }

    /// Measures the limit server with answers of this size.
    fn limit(&self, round: u32, body_bytes: usize, bar: &ProgressBar) -> anyhow::Result<Load> {
        bar.set_message(format!("round {round}: limit"));
        let mut command = Command::new(self.workshop.program("limit"));
        command.args(["--body-bytes", &body_bytes.to_string()]);
        let served = Served::start(command, "/", &self.workshop.file("limit.log"))?;
        let path = "/v1/events/00000000-0000-7000-8000-000000000000/claims".to_owned();
        let load = self.load_at(served.address, path)?;
        anyhow::ensure!(load.refused == 0, "the limit server refused: {load:?}");
        bar.inc(1);
        Ok(load)
    }

    fn load(&self, path: &str) -> anyhow::Result<Load> {
        self.load_at(self.product.served.address, path.to_owned())
    }

    fn load_at(&self, address: std::net::SocketAddr, path: String) -> anyhow::Result<Load> {
        wrk::claims(self.workshop, address, &self.tokens, &[path], self.options.seconds)
    }

    /// Starts the product once more, on the full ledger, and writes everything down.
    fn finish(self, wins: &[Pair], sold_out: &[Pair]) -> anyhow::Result<String> {
        let memory = self.product.served.peak_memory_bytes()?;
        let first_start = self.product.served.time_to_first_answer.as_millis();
        self.product.stop()?;
        let again = Product::start(self.workshop, "data", None)?;
        let second_start = again.served.time_to_first_answer.as_millis();
        again.stop()?;
        let rows = [row(&WIN, wins), row(&SOLD_OUT, sold_out)];
        let header = [
            "path",
            "limit, req/s",
            "product, req/s",
            "share",
            "bar",
            "p50 ms, limit / product",
            "p99 ms, limit / product",
            "p99 ratio",
            "bar",
        ];
        let Options { rounds, seconds, .. } = self.options;
        let claims = count(self.claims_won);
        let mebibytes = memory / (1024 * 1024);
        let others = [
            format!(
                "Memory at its highest, after {claims} won claims: {mebibytes} MiB, {}.",
                against(memory < MEMORY_BYTES_MAX, "bar 200 MiB")
            ),
            format!(
                "Start to first answer: {first_start} ms on an empty data directory, \
                 {second_start} ms with {claims} issued coupons, {}.",
                against(first_start.max(second_start) < START_MS_MAX, "bar 1 s")
            ),
            format!(
                "After the last answer of a winning run the product went on writing its indexed \
                 tables for {:.1} s.",
                median(self.settled_seconds)
            ),
        ];
        Ok(format!(
            "Command: `cargo xtask bench embedded --rounds {rounds} --seconds {seconds}`  \n\
             Machine: {}\n\nMedians of {rounds} rounds of {seconds} s.\n\n{}\n- {}\n",
            machine::describe(&self.workshop.root),
            table(&header, &rows),
            others.join("\n- ")
        ))
    }
}

fn row(bar: &Bar, pairs: &[Pair]) -> Vec<String> {
    let of = |figure: &dyn Fn(&Pair) -> f64| median(pairs.iter().map(figure).collect());
    let share = of(&|pair| pair.product.requests_per_second() / pair.limit.requests_per_second());
    let p99_ratio = of(&|pair| milliseconds(pair.product.p99_us) / milliseconds(pair.limit.p99_us));
    let both = |micros: &dyn Fn(&Load) -> u64| {
        let limit = of(&|pair| milliseconds(micros(&pair.limit)));
        let product = of(&|pair| milliseconds(micros(&pair.product)));
        format!("{limit:.2} / {product:.2}")
    };
    vec![
        bar.name.to_owned(),
        thousands(of(&|pair| pair.limit.requests_per_second())),
        thousands(of(&|pair| pair.product.requests_per_second())),
        format!("**{share:.2}**"),
        against(share >= bar.share_min, bar.share_text),
        both(&|load| load.p50_us),
        both(&|load| load.p99_us),
        format!("**{p99_ratio:.2}**"),
        against(p99_ratio <= bar.p99_ratio_max, bar.p99_text),
    ]
}

#[expect(clippy::cast_precision_loss, reason = "latencies of one run are far below 2^52 µs")]
fn milliseconds(micros: u64) -> f64 {
    micros as f64 / 1000.0
}

#[expect(clippy::cast_precision_loss, reason = "claims of one run are far below 2^52")]
fn count(claims: u64) -> String {
    thousands(claims as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(requests: u64, p99_us: u64) -> Load {
        let duration_us = 1_000_000;
        Load {
            requests,
            duration_us,
            refused: 0,
            socket_errors: 0,
            rewinds: 0,
            p50_us: 500,
            p99_us,
        }
    }

    fn pair(limit: u64, product: u64) -> Pair {
        Pair { limit: load(limit, 2000), product: load(product, 3100) }
    }

    #[test]
    fn a_row_has_the_median_of_the_rounds_and_says_what_is_reached() {
        let cells = row(&WIN, &[pair(1000, 700), pair(1000, 100), pair(2000, 1600)]);
        assert_eq!(cells[1..4], ["1,000", "700", "**0.70**"]);
        assert_eq!(cells[4], "≥ 0.65, aim 0.80 (reached)");
        assert_eq!(cells[5..8], ["0.50 / 0.50", "2.00 / 3.10", "**1.55**"]);
        assert_eq!(cells[8], "≤ 1.5 (**not reached**)");
    }
}
