//! Whether many open events cost a claim more than one.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::thread;

use clap::Args;
use indicatif::ProgressBar;

use super::ledger::{Home, Ledger};
use super::product::{Product, QUANTITY_MAX};
use super::report::{against, median, table, thousands};
use super::wrk::{self, Load, Requests};
use super::{Workshop, machine, progress, report};
use crate::process::need;

/// A claim of many events may cost so many times a claim of one.
const COST_RATIO_MAX: f64 = 1.3;
/// Events that are opened at the same time.
const OPENING_AT_ONCE: u32 = 8;

/// How many, how long, and how often.
#[derive(Args)]
pub(crate) struct Options {
    /// Where the ledger is, and who decides before it.
    #[arg(long, value_enum, default_value_t = Ledger::Sqlite)]
    ledger: Ledger,
    /// Events that are open at once.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(2..))]
    events: u32,
    /// Rounds; each begins with an empty ledger.
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
    let bar = progress(u64::from(rounds) * u64::from(events));
    let mut measured = Vec::new();
    for round in 1..=rounds {
        // What an earlier round has opened would be open in this one.
        let home = Home::on(server.as_ref(), workshop, &format!("data-{round}"))?;
        let mut product = Product::start(workshop, home, None)?;
        let tokens = workshop.file("tokens");
        product.write_tokens("u", u64::from(seconds) * u64::from(tokens_per_second), &tokens)?;
        wrk::deal_tokens(&tokens)?;
        bar.set_message(format!("round {round}: one event"));
        let alone = [product.open_event(QUANTITY_MAX)?];
        let alone = measure(workshop, &mut product, &tokens, &alone, seconds)?;
        bar.set_message(format!("round {round}: {events} events"));
        let beside = [product.open_event(QUANTITY_MAX)?];
        let many = open_events(&product, events, &bar)?;
        product.wait_until_idle()?;
        let beside = measure(workshop, &mut product, &tokens, &beside, seconds)?;
        let in_turn = measure(workshop, &mut product, &tokens, &many, seconds)?;
        measured.push(Round { alone, beside, in_turn });
        product.stop()?;
    }
    bar.finish_and_clear();
    let section = match ledger {
        Ledger::Sqlite => "spread".to_owned(),
        _ => format!("spread-{}", ledger.word()),
    };
    report::write(&workshop.root, &section, &text(options, &measured, &workshop.root))
}

/// What was measured in turns.
struct Round {
    /// Claims of the only event that is open.
    alone: Load,
    /// Claims of one event, beside many that are open.
    beside: Load,
    /// Claims of many events, each of the next in turn.
    in_turn: Load,
}

/// Opens so many events, several at a time; their claims' paths.
fn open_events(product: &Product, events: u32, bar: &ProgressBar) -> anyhow::Result<Vec<String>> {
    let left = AtomicU32::new(events);
    let take = || left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok();
    let open = || {
        let mut paths = Vec::new();
        while take() {
            paths.push(product.open_event(QUANTITY_MAX)?);
            bar.inc(1);
        }
        anyhow::Ok(paths)
    };
    thread::scope(|scope| {
        let opening: Vec<_> = (0..OPENING_AT_ONCE).map(|_| scope.spawn(open)).collect();
        let mut paths = Vec::new();
        for opened in opening {
            paths.extend(opened.join().expect("it does not panic")?);
        }
        Ok(paths)
    })
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

fn text(options: &Options, measured: &[Round], root: &Path) -> String {
    let Options { ledger, events, rounds, seconds, .. } = options;
    let of_ledger = match ledger {
        Ledger::Sqlite => String::new(),
        _ => format!(" --ledger {}", ledger.word()),
    };
    let rate = |of: fn(&Round) -> &Load| {
        median(measured.iter().map(|round| of(round).requests_per_second()).collect())
    };
    let cost = |of: fn(&Round) -> &Load| {
        let ratio =
            |round: &Round| round.alone.requests_per_second() / of(round).requests_per_second();
        median(measured.iter().map(ratio).collect())
    };
    let many = thousands(f64::from(*events));
    let row = |of: fn(&Round) -> &Load, claims: String| {
        let cost = cost(of);
        vec![
            claims,
            thousands(rate(of)),
            format!("**{cost:.2}**"),
            against(cost <= COST_RATIO_MAX, "≤ 1.3"),
        ]
    };
    let alone = vec![
        "of the only event that is open".to_owned(),
        thousands(rate(|round| &round.alone)),
        "1".to_owned(),
        "no bar".to_owned(),
    ];
    let beside = row(|round| &round.beside, format!("of one event, while {many} others are open"));
    let in_turn =
        row(|round| &round.in_turn, format!("of {many} events, each of the next in turn"));
    format!(
        "Command: `cargo xtask bench spread{of_ledger} --events {events} --rounds {rounds} \
         --seconds {seconds}`  \nMachine: {}\n\nEvery claim wins. Medians of {rounds} rounds of \
         {seconds} s.\n\n{}",
        machine::describe(root),
        table(&["claims", "req/s", "cost of a claim", "bar"], &[alone, beside, in_turn])
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
        let round = |many| Round { alone: load(1000), beside: load(900), in_turn: load(many) };
        let text_of = |ledger, many| text(&options(ledger), &[round(many)], Path::new("/"));
        let shown = |many| text_of(Ledger::Sqlite, many);
        assert!(shown(800).contains("are open | 900 | **1.11** | ≤ 1.3 (reached) |"));
        assert!(shown(800).contains("in turn | 800 | **1.25** | ≤ 1.3 (reached) |"));
        assert!(shown(500).contains("in turn | 500 | **2.00** | ≤ 1.3 (**not reached**) |"));
        assert!(shown(500).contains("`cargo xtask bench spread --events 10000"));
        let redis = text_of(Ledger::Redis, 800);
        assert!(redis.contains("`cargo xtask bench spread --ledger redis --events 10000"));
    }
}
