//! What checking a token costs: a secret's, and a public key's as it is met first and again.

use std::path::Path;

use clap::Args;

use super::ledger::Home;
use super::product::Product;
use super::report::{median, table, thousands};
use super::wrk::{self, Load, Requests};
use super::{Workshop, machine, progress, report};
use crate::process::need;

/// Users whose tokens are sent, again and again.
const USERS: u64 = 1_000;

/// How long, and how often.
#[derive(Args)]
pub(crate) struct Options {
    /// Rounds; each measures every kind in turns.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds of one measurement.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
}

/// How tokens are signed, and whether they are remembered.
struct Kind {
    name: &'static str,
    directory: &'static str,
    config: &'static str,
}

const KINDS: [Kind; 3] = [
    Kind { name: "HS256", directory: "hs256", config: "" },
    Kind {
        name: "RS256, met first",
        directory: "rs256-first",
        config: "[identity]\nalgorithm = \"RS256\"\nremembered_tokens_max = 0\n",
    },
    Kind {
        name: "RS256, met again",
        directory: "rs256-again",
        config: "[identity]\nalgorithm = \"RS256\"\n",
    },
];

/// A product with a sold-out event.
struct Subject {
    product: Product,
    claims: [String; 1],
    samples: Vec<Sample>,
}

struct Sample {
    load: Load,
    /// Processor time of one request, in µs.
    product_us: f64,
}

/// Measures and writes the section `tokens`.
///
/// # Errors
/// When an answer is another than expected.
pub(crate) fn run(workshop: &Workshop, options: &Options) -> anyhow::Result<()> {
    need("wrk", "wrk")?;
    let bar = progress(u64::from(options.rounds) * 3 + 3);
    let mut subjects = Vec::new();
    for kind in &KINDS {
        bar.set_message(format!("start, {}", kind.name));
        subjects.push(Subject::start(workshop, kind)?);
        bar.inc(1);
    }
    for round in 1..=options.rounds {
        for (kind, subject) in KINDS.iter().zip(&mut subjects) {
            bar.set_message(format!("round {round}: {}", kind.name));
            subject.measure(workshop, kind, options.seconds)?;
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    let text = text(options, &subjects, &workshop.root);
    for subject in subjects {
        subject.product.stop()?;
    }
    report::write(&workshop.root, "tokens", &text)
}

impl Subject {
    fn start(workshop: &Workshop, kind: &Kind) -> anyhow::Result<Self> {
        let home = Home::embedded(workshop, kind.directory);
        let home = Home { more_config: kind.config.to_owned(), ..home };
        let product = Product::start(workshop, home, None)?;
        let claims = [product.open_event(1)?];
        product.claim_once(&claims[0], &product.token("first")?, 201)?;
        let tokens = tokens(workshop, kind);
        product.write_tokens("u", USERS, &tokens)?;
        wrk::deal_tokens(&tokens)?;
        let mut subject = Self { product, claims, samples: Vec::new() };
        // Every token is met once, and the event known to be sold out.
        subject.measure(workshop, kind, 1)?;
        subject.samples.clear();
        Ok(subject)
    }

    fn measure(&mut self, workshop: &Workshop, kind: &Kind, seconds: u32) -> anyhow::Result<()> {
        self.product.come_to_rest()?;
        let before = self.product.processor_time()?;
        let tokens = tokens(workshop, kind);
        let requests = Requests::claims(&self.claims, &tokens);
        let load = wrk::send(workshop, self.product.served.address, &requests, seconds)?;
        anyhow::ensure!(load.refused == load.requests, "a claim won: {load:?}");
        self.product.wait_until_idle()?;
        let cost = self.product.processor_time()?.cost_since(before, load.requests);
        self.samples.push(Sample { load, product_us: cost.product_us });
        Ok(())
    }

    fn middle(&self, value: impl Fn(&Sample) -> f64) -> f64 {
        median(self.samples.iter().map(value).collect())
    }
}

fn tokens(workshop: &Workshop, kind: &Kind) -> std::path::PathBuf {
    workshop.file(&format!("{}-tokens", kind.directory))
}

fn text(options: &Options, subjects: &[Subject], root: &Path) -> String {
    let Options { rounds, seconds } = options;
    let rate = |subject: &Subject| subject.middle(|sample| sample.load.requests_per_second());
    let first = subjects.first().map_or(f64::NAN, rate);
    let row = |(kind, subject): (&Kind, &Subject)| {
        vec![
            kind.name.to_owned(),
            thousands(rate(subject)),
            format!("**{:.2}**", rate(subject) / first),
            format!("{:.1}", subject.middle(|sample| sample.product_us)),
        ]
    };
    let rows: Vec<_> = KINDS.iter().zip(subjects).map(row).collect();
    let header = ["token", "req/s", "share of HS256", "processor time, µs"];
    format!(
        "Command: `cargo xtask bench tokens --rounds {rounds} --seconds {seconds}`  \nMachine: \
         {}\n\nMedians of {rounds} rounds of {seconds} s; {USERS} users.\n\n{}",
        machine::describe(root),
        table(&header, &rows)
    )
}
