//! The product against the limit of the machine, its ledger embedded or on a database server:
//! claims that win, sold-out answers, and reads.
//!
//! In reading order: [`kind`] is what is asked and what is demanded, [`loads`] what is sent,
//! [`subject`] one product, [`text`] what is written down.

mod kind;
mod loads;
mod subject;
mod text;

use clap::Args;
use indicatif::ProgressBar;

use super::ledger::Ledger;
use super::wrk::Load;
use super::{Workshop, progress, report};
use crate::process::need;
use kind::Kind;
use loads::Loads;
use subject::{Sample, Subject};

/// How long, and how often.
#[derive(Args)]
pub(crate) struct Options {
    /// Rounds; each measures the limit and the product in turns, for every kind of request.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds of one measurement.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Tokens prepared for each second of a measurement: more than the product can answer.
    #[arg(long, default_value_t = 160_000)]
    tokens_per_second: u32,
}

/// One kind of request in one round: the limit, and a product right after it.
struct Pair {
    kind: Kind,
    ledger: Ledger,
    limit: Load,
    product: Sample,
}

/// Measures products on these ledgers in turns, and writes a section.
///
/// # Errors
/// When a server does not start, an answer is another than expected, or an audit fails.
pub(crate) fn run(
    workshop: &Workshop,
    section: &str,
    ledgers: &[Ledger],
    options: &Options,
) -> anyhow::Result<()> {
    need("wrk", "wrk")?;
    // Before the bar: it may have to install one.
    let mut servers: Vec<_> =
        ledgers.iter().map(|ledger| ledger.server(&workshop.root)).collect::<Result<_, _>>()?;
    let turns = Kind::ALL.len() * (1 + ledgers.len());
    let bar = progress(u64::from(options.rounds) * u64::try_from(turns)? + 1);
    bar.set_message("tokens");
    let claimers = u64::from(options.seconds) * u64::from(options.tokens_per_second);
    let loads = Loads::prepare(workshop, claimers, options.seconds)?;
    let mut subjects = Vec::new();
    for (ledger, server) in ledgers.iter().zip(&servers) {
        bar.set_message(format!("start, {}", ledger.name()));
        subjects.push(Subject::start(*ledger, server.as_ref(), &loads)?);
    }
    bar.inc(1);
    let mut pairs = Vec::new();
    for round in 1..=options.rounds {
        for kind in Kind::ALL {
            pairs.extend(measure(&mut subjects, kind, &loads, round, &bar)?);
        }
    }
    bar.finish_and_clear();
    let finished = subjects.into_iter().map(|subject| subject.finish(&loads));
    let accounts = finished.collect::<anyhow::Result<Vec<_>>>()?;
    // The first has started what all of them use, and ends it.
    while servers.pop().is_some() {}
    let text = text::section(section, options, &workshop.root, &pairs, &accounts);
    report::write(&workshop.root, section, &text)
}

/// One kind of request: the limit, then each product.
fn measure(
    subjects: &mut [Subject],
    kind: Kind,
    loads: &Loads<'_>,
    round: u32,
    bar: &ProgressBar,
) -> anyhow::Result<Vec<Pair>> {
    let body_bytes = match subjects {
        [first, ..] => first.body_bytes(kind, loads)?,
        [] => return Ok(Vec::new()),
    };
    bar.set_message(format!("round {round}: {}, limit", kind.name()));
    let limit = loads.limit(kind, body_bytes)?;
    bar.inc(1);
    let mut pairs = Vec::new();
    for subject in subjects {
        let ledger = subject.ledger;
        bar.set_message(format!("round {round}: {}, {}", kind.name(), ledger.name()));
        let product = subject.measure(kind, loads)?;
        pairs.push(Pair { kind, ledger, limit: limit.clone(), product });
        bar.inc(1);
    }
    Ok(pairs)
}
