//! The metrics of an embedded deployment: all that are documented, and no other.

use std::collections::{BTreeMap, BTreeSet};

use firstcome_testkit::Answer;
use serde_json::json;

use crate::shop::{Shop, eventually};

const PAGE: &str = include_str!("../../../../../docs/metrics.md");
/// How a part of the page begins whose metrics this deployment does not have.
const NOT_HERE: &str = "Only where ";

/// A metric by its kind and the names of its labels.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Metric {
    kind: String,
    labels: BTreeSet<String>,
}

/// The tables of the page: name, kind, labels, what it tells.
fn documented() -> BTreeMap<String, Metric> {
    let mut metrics = BTreeMap::new();
    let mut here = true;
    for line in PAGE.lines() {
        if line.starts_with('#') || line.starts_with(NOT_HERE) {
            here = line.starts_with('#');
        }
        if here && line.starts_with("| `") {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            let kind = cells[1].split(' ').next().expect("a kind").to_owned();
            let words = |cell: &str| {
                cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>()
            };
            let labels = words(cells[2]).into_iter().collect();
            let metric = Metric { kind, labels };
            metrics.extend(words(cells[0]).into_iter().map(|name| (name, metric.clone())));
        }
    }
    metrics
}

/// What the answer tells: each metric with a `HELP` and a `TYPE`, and its series.
fn told(answer: &Answer) -> BTreeMap<String, Metric> {
    let text = answer.text();
    let mut helped = BTreeSet::new();
    let mut metrics: BTreeMap<String, Metric> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let mut words = line.splitn(4, ' ');
        if line.starts_with("# HELP ") {
            let name = words.nth(2).expect("a name");
            assert!(words.next().is_some_and(|help| !help.is_empty()), "{line}");
            assert!(helped.insert(name.to_owned()), "two helps: {line}");
        } else if line.starts_with("# TYPE ") {
            let (name, kind) = (words.nth(2).expect("a name"), words.next().expect("a kind"));
            let metric = Metric { kind: kind.to_owned(), labels: BTreeSet::new() };
            assert!(metrics.insert(name.to_owned(), metric).is_none(), "two types: {line}");
        } else {
            let (series, labels) = series(line);
            let ends = ["_bucket", "_sum", "_count"];
            let base = ends.iter().find_map(|end| series.strip_suffix(end));
            let base =
                base.filter(|base| metrics.get(*base).is_some_and(|it| it.kind == "histogram"));
            let metric = metrics.get_mut(base.unwrap_or(series));
            let metric = metric.unwrap_or_else(|| panic!("no TYPE before {line}"));
            metric.labels.extend(labels.into_iter().filter(|label| label != "le"));
        }
    }
    let unhelped: Vec<_> = metrics.keys().filter(|name| !helped.contains(*name)).collect();
    assert!(unhelped.is_empty(), "without a HELP: {unhelped:?}");
    metrics
}

/// The name of a series, and those of its labels.
fn series(line: &str) -> (&str, Vec<String>) {
    let Some((name, rest)) = line.split_once('{') else {
        return (line.split(' ').next().expect("a name"), Vec::new());
    };
    let (labels, _) = rest.rsplit_once('}').expect("an end");
    // No value of ours holds a quote; a route holds braces.
    let names = labels.split('"').step_by(2).filter_map(|part| part.strip_suffix('='));
    (name, names.map(|name| name.trim_start_matches(',').to_owned()).collect())
}

#[tokio::test]
async fn what_is_documented_is_told_and_nothing_else() {
    let shop = Shop::open().await;
    let event = shop.event(1).await;
    let _ = shop.claim(&event, &shop.user("first").await).await.expect(201);
    let _ = shop.claim(&event, &shop.user("second").await).await.expect(409);
    let body = json!({"email": "shopper@example.com", "password": "correct horse"});
    let _ = shop.api.post("/v1/users").json(body).await.expect(201);
    let _ = shop.api.get("/nowhere").await.expect(404);

    let documented = documented();
    assert!(documented.len() > 30, "the page was read: {documented:#?}");
    let ask = || async { shop.api.get("/metrics").await.expect(200) };
    // The runtime's come after its first five seconds.
    let all = |answer: &Answer| documented.keys().all(|name| told(answer).contains_key(name));
    let answer = eventually("the metrics", ask, all).await;
    assert_eq!(told(&answer), documented);
}

/// The value of a series.
fn value(answer: &Answer, series: &str) -> f64 {
    let text = answer.text();
    let found = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    found.unwrap_or_else(|| panic!("no {series} in:\n{text}")).parse().expect("a number")
}

#[tokio::test]
async fn a_pool_tells_of_its_connections() {
    let shop = Shop::open().await;
    let event = shop.event(1).await;
    let _ = shop.read_event(&event).await;
    let metrics = shop.api.get("/metrics").await.expect(200);
    let one = |name: &str, pool: &str| {
        value(&metrics, &format!("firstcome_ledger_{name}{{pool=\"{pool}\"}}"))
    };
    for (pool, max) in [("read", 4.0), ("write", 1.0)] {
        assert!((one("connections_max", pool) - max).abs() < 0.1, "{pool}: {metrics}");
        assert!(one("acquire_seconds_count", pool) >= 1.0, "{pool}: {metrics}");
        for nothing in ["waiting_calls", "acquire_failures_total"] {
            assert!(one(nothing, pool) < 0.1, "{nothing} of {pool}: {metrics}");
        }
        let idle = format!("firstcome_ledger_connections{{pool=\"{pool}\",state=\"idle\"}}");
        // A connection comes back a moment after its answer.
        let ask = || async { shop.api.get("/metrics").await.expect(200) };
        eventually(&idle, ask, |metrics| value(metrics, &idle) >= 1.0).await;
    }
}
