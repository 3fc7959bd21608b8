//! Every metric is declared once and explained: what the code records, what it describes, and the
//! tables of `docs/metrics.md` agree in name, kind and labels.
//!
//! A table's row is `| names | kind | labels | what it tells |`. Metrics that a library records for
//! us are known by their prefix; a test of the server holds those against what it really shows.

mod code;
mod page;

use std::collections::{BTreeMap, BTreeSet};

use super::tree::{Finding, Tree};
use code::Code;
use page::Row;

const RULE: &str = "metrics";
const PAGE: &str = "docs/metrics.md";
/// Where libraries' metrics are from: metrics-process and tokio-metrics.
const OF_LIBRARIES: [&str; 2] = ["process_", "tokio_"];

/// A place in a file.
#[derive(Debug, Clone)]
struct Place {
    path: String,
    line: usize,
}

impl Place {
    fn finding(&self, message: String) -> Finding {
        Finding { rule: RULE, path: self.path.clone(), line: self.line, message }
    }
}

/// A metric as the code records it.
#[derive(Debug, Clone)]
struct Recorded {
    place: Place,
    kind: String,
    labels: BTreeSet<String>,
}

/// Finds metrics that code and page do not tell the same of. A project without the page explains
/// none.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let Some(page) = tree.file(PAGE) else {
        return Vec::new();
    };
    let mut code = Code::default();
    for file in tree.ending(".rs").filter(|file| is_source(&file.path)) {
        code.read(file);
    }
    let mut found = std::mem::take(&mut code.found);
    let recorded = one_of_each(&code.recorded, &mut found);
    let rows = page::rows(&page.text);
    for (name, metric) in &recorded {
        check_described(name, metric, &code, &mut found);
        check_explained(name, metric, rows.get(name), &mut found);
    }
    for (name, (place, _)) in &code.described {
        if !recorded.contains_key(name) {
            found.push(place.finding(format!("`{name}` is described and never recorded")));
        }
    }
    for (name, row) in &rows {
        let of_library = OF_LIBRARIES.iter().any(|prefix| name.starts_with(prefix));
        if !of_library && !recorded.contains_key(name) {
            let place = Place { path: PAGE.to_owned(), line: row.line };
            found.push(place.finding(format!("no code records `{name}`")));
        }
    }
    found
}

fn is_source(path: &str) -> bool {
    path.starts_with("crates/") && path.contains("/src/")
}

/// The metrics by name: wherever one is recorded, kind and labels are the same.
fn one_of_each(
    recorded: &[(String, Recorded)],
    found: &mut Vec<Finding>,
) -> BTreeMap<String, Recorded> {
    let mut by_name: BTreeMap<String, Recorded> = BTreeMap::new();
    for (name, metric) in recorded {
        match by_name.get(name) {
            Some(first) if first.kind != metric.kind || first.labels != metric.labels => {
                let message = format!("`{name}` has another kind or other labels elsewhere");
                found.push(metric.place.finding(message));
            }
            Some(_) => {}
            None => {
                by_name.insert(name.clone(), metric.clone());
            }
        }
    }
    by_name
}

fn check_described(name: &str, metric: &Recorded, code: &Code, found: &mut Vec<Finding>) {
    let described: Vec<_> = code.described.iter().filter(|(other, _)| other == name).collect();
    match described.as_slice() {
        [] => found.push(metric.place.finding(format!("`{name}` has no help text"))),
        [(_, (_, kind))] if *kind == metric.kind => {}
        [(_, (place, kind))] => {
            let message = format!("`{name}` is described as {kind} and is a {}", metric.kind);
            found.push(place.finding(message));
        }
        [_, (_, (place, _)), ..] => {
            found.push(place.finding(format!("`{name}` has another help text elsewhere")));
        }
    }
}

fn check_explained(name: &str, metric: &Recorded, row: Option<&Row>, found: &mut Vec<Finding>) {
    let Some(row) = row else {
        return found.push(metric.place.finding(format!("`{name}` is not in {PAGE}")));
    };
    let place = Place { path: PAGE.to_owned(), line: row.line };
    if row.kind != metric.kind {
        let message = format!("`{name}` is a {}, not a {}", metric.kind, row.kind);
        found.push(place.finding(message));
    }
    if row.labels != metric.labels {
        let (has, says) = (listed(&metric.labels), listed(&row.labels));
        found.push(place.finding(format!("`{name}` has the labels {has}, not {says}")));
    }
}

fn listed(labels: &BTreeSet<String>) -> String {
    format!("({})", labels.iter().map(String::as_str).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "const CLAIMS: &str = \"claims_total\";\n\
                          fn d() { describe_counter!(CLAIMS, \"Claims.\"); }\n\
                          fn f() { metrics::counter!(CLAIMS, \"verdict\" => v).increment(1); }";
    const ROW: &str = "| `claims_total` | counter | `verdict` | claims |";

    fn found(source: &str, page: &str) -> Vec<String> {
        let tree = Tree::of(&[("crates/web/src/metrics.rs", source), (PAGE, page)]);
        check(&tree).into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn a_metric_of_which_all_say_the_same_passes() {
        assert_eq!(found(SOURCE, ROW), [""; 0]);
        let library = format!("{ROW}\n| `process_threads`, `tokio_workers` | gauge | | threads |");
        assert_eq!(found(SOURCE, &library), [""; 0]);
        assert_eq!(found("fn counter() { counter(\"x\") }", "nothing"), [""; 0]);
        let test = Tree::of(&[("crates/web/tests/it/a.rs", "fn f() { gauge!(G); }"), (PAGE, "")]);
        assert_eq!(check(&test), []);
    }

    #[test]
    fn an_unexplained_metric_is_found() {
        assert_eq!(found(SOURCE, "`claims_total`"), ["`claims_total` is not in docs/metrics.md"]);
    }

    #[test]
    fn a_metric_that_is_gone_is_found() {
        let page = format!("{ROW}\n| `old`, `older` | gauge | | nothing |");
        assert_eq!(found(SOURCE, &page), ["no code records `old`", "no code records `older`"]);
    }

    #[test]
    fn another_kind_or_label_is_found() {
        for (row, message) in [
            (
                "| `claims_total` | gauge | `verdict` | |",
                "`claims_total` is a counter, not a gauge",
            ),
            ("| `claims_total` | counter | | |", "`claims_total` has the labels (verdict), not ()"),
            (
                "| `claims_total` | counter | `verdict`, `who` | |",
                "`claims_total` has the labels (verdict), not (verdict, who)",
            ),
        ] {
            assert_eq!(found(SOURCE, row), [message]);
        }
    }

    #[test]
    fn a_help_text_is_given_once() {
        let bare = SOURCE.replace("describe_counter!(CLAIMS, \"Claims.\");", "");
        assert_eq!(found(&bare, ROW), ["`claims_total` has no help text"]);
        let twice = format!("{SOURCE} fn e() {{ describe_counter!(CLAIMS, \"Other.\"); }}");
        assert_eq!(found(&twice, ROW), ["`claims_total` has another help text elsewhere"]);
        let other = SOURCE.replace("describe_counter", "describe_gauge");
        assert_eq!(found(&other, ROW), ["`claims_total` is described as gauge and is a counter"]);
        let unused = SOURCE.replace("metrics::counter!(CLAIMS, \"verdict\" => v)", "x");
        let expected =
            ["`claims_total` is described and never recorded", "no code records `claims_total`"];
        assert_eq!(found(&unused, ROW), expected);
    }

    #[test]
    fn a_metric_is_the_same_everywhere() {
        let more = format!("{SOURCE} fn g() {{ counter!(CLAIMS, \"who\" => w); }}");
        let expected = ["`claims_total` has another kind or other labels elsewhere"];
        assert_eq!(found(&more, ROW), expected);
    }

    #[test]
    fn a_name_that_cannot_be_read_is_found() {
        let expected = ["name the metric by a string, or by a `const` of this file"];
        assert_eq!(found("fn f() { gauge!(other::NAME) }", ""), expected);
    }
}
