//! Whether many open events cost a claim more than one.

use std::path::Path;

use clap::Args;

use super::ledger::{Home, Ledger};
use super::product::{Product, QUANTITY_MAX};
use super::report::{against, median, table, thousands};
use super::wrk::{self, Load, Requests};
use super::{Workshop, machine, progress, report};
use crate::process::need;

/// A claim of many events may cost so many times a claim of one.
const COST_RATIO_MAX: f64 = 1.3;

/// How many, how long, and how often.
#[derive(Args)]
pub(crate) struct Options {
    /// Where the ledger is, and who decides before it.
    #[arg(long, value_enum, default_value_t = Ledger::Sqlite)]
    ledger: Ledger,
    /// Events that are open at once.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(2..))]
    events: u32,
    /// Rounds; each measures one event and all events in turns.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds of one measurement.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Tokens prepared for each second of a measurement: more than the product can answer.
    #[arg(long, default_value_t = 160_000)]
    tokens_per_second: u32,
}

/// Measures and writes the section `spread`, or that of another ledger.
///
/// # Errors
/// When an answer is another than expected, or an audit fails.
pub(crate) fn run(workshop: &Workshop, options: &Options) -> anyhow::Result<()> {
    need("wrk", "wrk")?;
    let Options { ledger, events, rounds, seconds, tokens_per_second } = *options;
    let server = ledger.server(&workshop.root)?;
    let bar = progress(u64::from(rounds) * (u64::from(events) + 1));
    let mut product = Product::start(workshop, Home::on(server.as_ref(), workshop, "data")?, None)?;
    let tokens = workshop.file("tokens");
    product.write_tokens("u", u64::from(seconds) * u64::from(tokens_per_second), &tokens)?;
    wrk::deal_tokens(&tokens)?;
    let (mut alone, mut spread) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        bar.set_message(format!("round {round}: one event"));
        let one = [product.open_event(QUANTITY_MAX)?];
        alone.push(measure(workshop, &mut product, &tokens, &one, seconds)?);
        bar.inc(1);
        bar.set_message(format!("round {round}: {events} events"));
        let mut many = Vec::new();
        for _ in 0..events {
            many.push(product.open_event(QUANTITY_MAX)?);
            bar.inc(1);
        }
        product.wait_until_idle()?;
        spread.push(measure(workshop, &mut product, &tokens, &many, seconds)?);
    }
    bar.finish_and_clear();
    product.stop()?;
    let section = match ledger {
        Ledger::Sqlite => "spread".to_owned(),
        _ => format!("spread-{}", ledger.word()),
    };
    report::write(&workshop.root, &section, &text(options, &alone, &spread, &workshop.root))
}

/// Claims of these events; the first of them is audited afterwards.
fn measure(
    workshop: &Workshop,
    product: &mut Product,
    tokens: &Path,
    paths: &[String],
    seconds: u32,
) -> anyhow::Result<Load> {
    let requests = Requests::claims(paths, tokens);
    let load = wrk::send(workshop, product.served.address, &requests, seconds)?;
    anyhow::ensure!(load.refused == 0, "not every claim won: {load:?}");
    anyhow::ensure!(load.rewinds == 0, "the tokens ran out: raise --tokens-per-second");
    product.wait_until_idle()?;
    product.audit(&paths[0])?;
    Ok(load)
}

fn text(options: &Options, alone: &[Load], spread: &[Load], root: &Path) -> String {
    let Options { ledger, events, rounds, seconds, .. } = options;
    let of_ledger = match ledger {
        Ledger::Sqlite => String::new(),
        _ => format!(" --ledger {}", ledger.word()),
    };
    let rate = |loads: &[Load]| median(loads.iter().map(Load::requests_per_second).collect());
    let ratios = alone.iter().zip(spread);
    let ratios = ratios.map(|(one, many)| one.requests_per_second() / many.requests_per_second());
    let ratio = median(ratios.collect());
    let row = vec![
        thousands(rate(alone)),
        thousands(rate(spread)),
        format!("**{ratio:.2}**"),
        against(ratio <= COST_RATIO_MAX, "≤ 1.3"),
    ];
    let many = format!("{} events, req/s", thousands(f64::from(*events)));
    format!(
        "Command: `cargo xtask bench spread{of_ledger} --events {events} --rounds {rounds} \
         --seconds {seconds}`  \nMachine: {}\n\nEvery claim wins; with many events, each claim \
         is for the next event in turn. Medians of {rounds} rounds of {seconds} s.\n\n{}",
        machine::describe(root),
        table(&["one event, req/s", &many, "cost of a claim, many / one", "bar"], &[row])
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_what_a_claim_costs_more() {
        let load = |requests| Load {
            requests,
            duration_us: 1_000_000,
            refused: 0,
            socket_errors: 0,
            rewinds: 0,
            p50_us: 1,
            p99_us: 1,
        };
        let options = |ledger| Options {
            ledger,
            events: 10_000,
            rounds: 1,
            seconds: 1,
            tokens_per_second: 1,
        };
        let text_of =
            |ledger, many| text(&options(ledger), &[load(1000)], &[load(many)], Path::new("/"));
        let shown = |many| text_of(Ledger::Sqlite, many);
        assert!(shown(800).contains("| 1,000 | 800 | **1.25** | ≤ 1.3 (reached) |"));
        assert!(shown(500).contains("**2.00** | ≤ 1.3 (**not reached**) |"));
        assert!(shown(500).contains("`cargo xtask bench spread --events 10000"));
        let redis = text_of(Ledger::Redis, 800);
        assert!(redis.contains("`cargo xtask bench spread --ledger redis --events 10000"));
    }
}
