//! What is written down.

use std::collections::BTreeSet;
use std::path::Path;

use super::kind::{Bar, Kind};
use super::loads::READERS;
use super::subject::Account;
use super::{Options, Pair};
use crate::bench::ledger::Ledger;
use crate::bench::machine;
use crate::bench::report::{self, against, median, table, thousands};
use crate::bench::wrk::Load;

const MEMORY_BYTES_MAX: u64 = 200 * 1024 * 1024;
const START_MS_MAX: u128 = 1000;

/// The section's text.
pub(crate) fn section(
    name: &str,
    options: &Options,
    root: &Path,
    pairs: &[Pair],
    accounts: &[Account],
) -> String {
    let Options { rounds, seconds, .. } = options;
    let notes: Vec<String> = accounts.iter().flat_map(notes).collect();
    format!(
        "Command: `cargo xtask bench {name} --rounds {rounds} --seconds {seconds}`  \n\
         Machine: {}\n\nMedians of {rounds} rounds of {seconds} s; {} users read their coupons.\n\
         \n{}\nProcessor time of one request, user and system, in µs:\n\n{}\n- {}\n{}",
        machine::describe(root),
        count(READERS),
        rates(pairs, accounts),
        costs(pairs, accounts),
        notes.join("\n- "),
        settings(accounts)
    )
}

/// Those of each database, once.
fn settings(accounts: &[Account]) -> String {
    let with_settings = accounts.iter().filter(|account| !account.settings.is_empty());
    let of = |account: &Account| report::settings(account.ledger.database(), &account.settings);
    with_settings.map(of).collect::<BTreeSet<_>>().into_iter().collect()
}

fn rates(pairs: &[Pair], accounts: &[Account]) -> String {
    let header = [
        "path",
        "ledger",
        "limit, req/s",
        "product, req/s",
        "share",
        "bar",
        "p50 ms, limit / product",
        "p99 ms, limit / product",
        "p99 ratio",
        "bar",
    ];
    table(&header, &rows(pairs, accounts, rate))
}

fn costs(pairs: &[Pair], accounts: &[Account]) -> String {
    table(&["path", "ledger", "product", "servers behind it"], &rows(pairs, accounts, cost))
}

/// A row for each kind of request and each ledger.
fn rows(
    pairs: &[Pair],
    accounts: &[Account],
    row: fn(Kind, Ledger, &[&Pair]) -> Vec<String>,
) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for kind in Kind::ALL {
        for Account { ledger, .. } in accounts {
            let is_of = |pair: &&Pair| pair.kind == kind && pair.ledger == *ledger;
            let of: Vec<&Pair> = pairs.iter().filter(is_of).collect();
            rows.push(row(kind, *ledger, &of));
        }
    }
    rows
}

fn rate(kind: Kind, ledger: Ledger, pairs: &[&Pair]) -> Vec<String> {
    let of =
        |figure: &dyn Fn(&Pair) -> f64| median(pairs.iter().map(|pair| figure(pair)).collect());
    let rate = |pair: &Pair| pair.product.load.requests_per_second();
    let share = of(&|pair| rate(pair) / pair.limit.requests_per_second());
    let p99_ratio =
        of(&|pair| milliseconds(pair.product.load.p99_us) / milliseconds(pair.limit.p99_us));
    let both = |micros: &dyn Fn(&Load) -> u64| {
        let limit = of(&|pair| milliseconds(micros(&pair.limit)));
        let product = of(&|pair| milliseconds(micros(&pair.product.load)));
        format!("{limit:.2} / {product:.2}")
    };
    vec![
        kind.name().to_owned(),
        ledger.name().to_owned(),
        thousands(of(&|pair| pair.limit.requests_per_second())),
        thousands(of(&rate)),
        format!("**{share:.2}**"),
        held(kind.share_min(ledger), |bar| share >= bar),
        both(&|load| load.p50_us),
        both(&|load| load.p99_us),
        format!("**{p99_ratio:.2}**"),
        held(kind.p99_ratio_max(ledger), |bar| p99_ratio <= bar),
    ]
}

fn cost(kind: Kind, ledger: Ledger, pairs: &[&Pair]) -> Vec<String> {
    let product = pairs.iter().map(|pair| pair.product.cost.product_us);
    let database: Option<Vec<f64>> =
        pairs.iter().map(|pair| pair.product.cost.database_us).collect();
    let database = match (database, ledger) {
        (Some(database), _) => format!("{:.1}", median(database)),
        (None, Ledger::Sqlite) => "–".to_owned(),
        (None, _) => "not seen".to_owned(),
    };
    let product = format!("{:.1}", median(product.collect()));
    vec![kind.name().to_owned(), ledger.name().to_owned(), product, database]
}

/// A figure against its bar, if it has one.
fn held(bar: Option<Bar>, is_reached: impl Fn(f64) -> bool) -> String {
    bar.map_or_else(|| "no bar".to_owned(), |bar| against(is_reached(bar.limit), bar.text))
}

/// What was seen of one product beside the rates.
fn notes(account: &Account) -> Vec<String> {
    let Account { ledger, first_start_ms, second_start_ms, .. } = account;
    let (name, claims) = (ledger.name(), count(account.claims_won));
    let mebibytes = account.peak_memory_bytes / (1024 * 1024);
    let memory = against(account.peak_memory_bytes < MEMORY_BYTES_MAX, "bar 200 MiB");
    let start = match ledger {
        Ledger::Sqlite => against(*first_start_ms.max(second_start_ms) < START_MS_MAX, "bar 1 s"),
        _ => "no bar".to_owned(),
    };
    let settled = median(account.settled_seconds.clone());
    vec![
        format!(
            "{name}: the product's memory at its highest, after {claims} won claims: \
             {mebibytes} MiB, {memory}."
        ),
        format!(
            "{name}: start to first answer {first_start_ms} ms on an empty ledger, \
             {second_start_ms} ms with {claims} issued coupons, {start}."
        ),
        format!(
            "{name}: after the last answer of a winning run the work went on for {settled:.1} s."
        ),
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
    use crate::bench::processor::Cost;
    use crate::bench::shares::Sample;

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

    fn pair(ledger: Ledger, limit: u64, product: u64) -> Pair {
        let database_us = (ledger != Ledger::Sqlite).then_some(7.0);
        let cost = Cost { product_us: 12.34, database_us };
        let product = Sample { load: load(product, 3100), cost };
        Pair { kind: Kind::Wins, ledger, limit: load(limit, 2000), product }
    }

    fn account(ledger: Ledger, settings: &[&str]) -> Account {
        Account {
            ledger,
            claims_won: 3_000,
            settled_seconds: vec![1.0],
            peak_memory_bytes: 201 * 1024 * 1024,
            first_start_ms: 100,
            second_start_ms: 1_500,
            settings: settings.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn a_row_has_the_median_of_the_rounds_and_says_what_is_reached() {
        let of = |limit, product| pair(Ledger::Sqlite, limit, product);
        let (one, two, three) = (of(1000, 700), of(1000, 100), of(2000, 1600));
        let cells = rate(Kind::Wins, Ledger::Sqlite, &[&one, &two, &three]);
        assert_eq!(cells[1..5], ["embedded", "1,000", "700", "**0.70**"]);
        assert_eq!(cells[5], "≥ 0.65, aim 0.80 (reached)");
        assert_eq!(cells[6..9], ["0.50 / 0.50", "2.00 / 3.10", "**1.55**"]);
        assert_eq!(cells[9], "≤ 1.5 (**not reached**)");
    }

    #[test]
    fn each_ledger_has_its_own_bar_or_none() {
        let cells = |ledger| rate(Kind::Wins, ledger, &[&pair(ledger, 1000, 410)]);
        assert_eq!(cells(Ledger::Sqlite)[5], "≥ 0.65, aim 0.80 (**not reached**)");
        assert_eq!(cells(Ledger::Postgres)[5], "≥ 0.40, aim 0.60 (reached)");
        assert_eq!(cells(Ledger::Postgres)[9], "no bar");
        assert_eq!(cells(Ledger::Mariadb)[5], "no bar");
        assert_eq!(cells(Ledger::Redis)[1], "Redis, then PostgreSQL");
        assert_eq!(cells(Ledger::Redis)[5], "≥ 0.28, aim 0.45 (reached)");
        assert_eq!(cells(Ledger::Kafka)[5], "≥ 0.15, aim 0.35 (reached)");
        assert_eq!(cells(Ledger::RedisStream)[5], "no bar");
    }

    #[test]
    fn the_embedded_ledger_has_no_database_of_its_own_to_cost() {
        let cells = |ledger| cost(Kind::Wins, ledger, &[&pair(ledger, 1000, 410)]);
        assert_eq!(cells(Ledger::Sqlite)[2..], ["12.3", "–"]);
        assert_eq!(cells(Ledger::Mariadb)[2..], ["12.3", "7.0"]);
    }

    #[test]
    fn what_the_servers_say_of_themselves_is_told_once() {
        let embedded = notes(&account(Ledger::Sqlite, &[])).join("\n");
        assert!(embedded.contains("201 MiB, bar 200 MiB (**not reached**)"), "{embedded}");
        assert!(embedded.contains("1500 ms with 3,000 issued coupons, bar 1 s (**not reached**)"));
        let of = |ledger| account(ledger, &["fsync = on", "wal_level = replica"]);
        let server = notes(&of(Ledger::Postgres));
        assert!(server[1].ends_with("issued coupons, no bar."), "{server:?}");
        let accounts = [account(Ledger::Sqlite, &[]), of(Ledger::Redis), of(Ledger::Kafka)];
        let once = "- The settings of PostgreSQL: `fsync = on`, `wal_level = replica`.\n";
        assert_eq!(settings(&accounts), once);
    }
}
