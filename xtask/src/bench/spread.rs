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
    let Options { ledger, events, rounds, .. } = *options;
    let server = ledger.server(&workshop.root)?;
    let bar = progress(u64::from(rounds) * u64::from(events + options.few()));
    let mut measured = Vec::new();
    for round in 1..=rounds {
        // What an earlier round has opened would be open in this one.
        let home = Home::on(server.as_ref(), workshop, &format!("data-{round}"))?;
        let product = Product::start(workshop, home, None)?;
        bar.set_message(format!("round {round} of {rounds}"));
        measured.push(Round::measure(workshop, options, product, &bar)?);
    }
    bar.finish_and_clear();
    let section = match ledger {
        Ledger::Sqlite => "spread".to_owned(),
        _ => format!("spread-{}", ledger.word()),
    };
    report::write(&workshop.root, &section, &text(options, &measured, &workshop.root))
}

impl Options {
    /// As many events as a crowd has claims under way, if there are so many.
    fn few(&self) -> u32 {
        self.events.min(u32::try_from(CROWD.connections).expect("a small number"))
    }
}

/// Who claims at the same time.
struct Claimers {
    connections: usize,
    /// Begins the names of their users.
    name: &'static str,
    /// What a number of tokens is divided by that is enough for a crowd.
    fewer_tokens: u64,
}

/// Its claims are decided in batches.
const CROWD: Claimers = Claimers { connections: wrk::CONNECTIONS, name: "u", fewer_tokens: 1 };
/// Their claims are alone in their batches, or two.
const PAIR: Claimers = Claimers { connections: 2, name: "p", fewer_tokens: 8 };

/// What was measured in turns.
struct Round {
    /// Claims of the only event that is open, of a pair and of a crowd.
    pair_alone: Load,
    alone: Load,
    /// Claims of few events, each of the next in turn.
    few_in_turn: Load,
    /// Claims of one event, beside many that are open.
    beside: Load,
    /// Claims of many events, each of the next in turn, of a crowd and of a pair.
    in_turn: Load,
    pair_in_turn: Load,
}

impl Round {
    /// Measures on an empty ledger.
    fn measure(
        workshop: &Workshop,
        options: &Options,
        mut product: Product,
        bar: &ProgressBar,
    ) -> anyhow::Result<Self> {
        let Options { events, seconds, tokens_per_second, .. } = *options;
        let crowd_tokens = u64::from(seconds) * u64::from(tokens_per_second);
        for Claimers { name, fewer_tokens, .. } in [CROWD, PAIR] {
            let tokens = workshop.file(name);
            product.write_tokens(name, crowd_tokens / fewer_tokens, &tokens)?;
            wrk::deal_tokens(&tokens)?;
        }
        let claim = |product: &mut Product, claimers, paths: &[String]| {
            measure(workshop, product, claimers, paths, seconds)
        };
        let one = [product.open_event(QUANTITY_MAX)?];
        let pair_alone = claim(&mut product, &PAIR, &one)?;
        let alone = claim(&mut product, &CROWD, &one)?;
        let few = open_events(&product, options.few(), bar)?;
        product.wait_until_idle()?;
        let few_in_turn = claim(&mut product, &CROWD, &few)?;
        let other = [product.open_event(QUANTITY_MAX)?];
        let many = open_events(&product, events, bar)?;
        product.wait_until_idle()?;
        let beside = claim(&mut product, &CROWD, &other)?;
        let in_turn = claim(&mut product, &CROWD, &many)?;
        let pair_in_turn = claim(&mut product, &PAIR, &many)?;
        product.stop()?;
        Ok(Self { pair_alone, alone, few_in_turn, beside, in_turn, pair_in_turn })
    }
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
    claimers: &Claimers,
    paths: &[String],
    seconds: u32,
) -> anyhow::Result<Load> {
    let tokens = workshop.file(claimers.name);
    let requests =
        Requests { connections: claimers.connections, ..Requests::claims(paths, &tokens) };
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
    let (few, many) = (options.few(), thousands(f64::from(*events)));
    type Of = fn(&Round) -> &Load;
    let row = |claimers: &Claimers, claims: String, of: Of, alone: Of, has_bar: bool| {
        let rate = |of: Of, round| of(round).requests_per_second();
        let cost = measured.iter().map(|round| rate(alone, round) / rate(of, round));
        let cost = median(cost.collect());
        let bar = || against(cost <= COST_RATIO_MAX, "≤ 1.3");
        vec![
            claimers.connections.to_string(),
            claims,
            thousands(median(measured.iter().map(|round| rate(of, round)).collect())),
            format!("**{cost:.2}**"),
            if has_bar { bar() } else { "no bar".to_owned() },
        ]
    };
    let only = || "of the only event that is open".to_owned();
    let beside = format!("of one event, while {many} others are open");
    let of_few = format!("of {few} events, each of the next in turn");
    let of_many = || format!("of {many} events, each of the next in turn");
    let alone: Of = |round| &round.alone;
    let pair_alone: Of = |round| &round.pair_alone;
    let rows = [
        row(&CROWD, only(), alone, alone, false),
        row(&CROWD, beside, |round| &round.beside, alone, true),
        row(&CROWD, of_few, |round| &round.few_in_turn, alone, false),
        row(&CROWD, of_many(), |round| &round.in_turn, alone, true),
        row(&PAIR, only(), pair_alone, pair_alone, false),
        row(&PAIR, of_many(), |round| &round.pair_in_turn, pair_alone, true),
    ];
    let header = ["connections", "claims", "req/s", "cost of a claim", "bar"];
    format!(
        "Command: `cargo xtask bench spread{of_ledger} --events {events} --rounds {rounds} \
         --seconds {seconds}`  \nMachine: {}\n\nEvery claim wins. Medians of {rounds} rounds of \
         {seconds} s. The cost is against the only open event, with as many connections.\n\n{}",
        machine::describe(root),
        table(&header, &rows)
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
        let round = |many| Round {
            pair_alone: load(100),
            alone: load(1000),
            few_in_turn: load(750),
            beside: load(900),
            in_turn: load(many),
            pair_in_turn: load(many / 5),
        };
        let text_of = |ledger, many| text(&options(ledger), &[round(many)], Path::new("/"));
        let shown = |many| text_of(Ledger::Sqlite, many);
        for line in [
            "| 256 | of the only event that is open | 1,000 | **1.00** | no bar |",
            "| 256 | of one event, while 10,000 others are open | 900 | **1.11** | ≤ 1.3 (reached)",
            "| 256 | of 256 events, each of the next in turn | 750 | **1.33** | no bar |",
            "| 256 | of 10,000 events, each of the next in turn | 800 | **1.25** | ≤ 1.3 (reached)",
            "| 2 | of the only event that is open | 100 | **1.00** | no bar |",
            "| 2 | of 10,000 events, each of the next in turn | 160 | **0.62** | ≤ 1.3 (reached)",
        ] {
            assert!(shown(800).contains(line), "{line}");
        }
        assert!(shown(500).contains("in turn | 500 | **2.00** | ≤ 1.3 (**not reached**) |"));
        assert!(shown(50).contains("in turn | 10 | **10.00** | ≤ 1.3 (**not reached**) |"));
        assert!(shown(500).contains("`cargo xtask bench spread --events 10000"));
        let redis = text_of(Ledger::Redis, 800);
        assert!(redis.contains("`cargo xtask bench spread --ledger redis --events 10000"));
    }
}
