//! The metrics that the page explains.

use std::collections::{BTreeMap, BTreeSet};

/// What a row says of its metrics.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) line: usize,
    pub(super) kind: String,
    pub(super) labels: BTreeSet<String>,
}

/// The rows by metric: those whose first cell begins with a name set as code.
pub(super) fn rows(page: &str) -> BTreeMap<String, Row> {
    let mut rows = BTreeMap::new();
    for (index, line) in page.lines().enumerate().filter(|(_, line)| line.starts_with("| `")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let cell = |place: usize| cells.get(place).copied().unwrap_or_default();
        let kind = cell(1).split(' ').next().unwrap_or_default().to_owned();
        let labels: BTreeSet<String> = code_words(cell(2)).collect();
        for name in code_words(cell(0)) {
            let row = Row { line: index + 1, kind: kind.clone(), labels: labels.clone() };
            rows.insert(name, row);
        }
    }
    rows
}

/// The words between backticks.
fn code_words(cell: &str) -> impl Iterator<Item = String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned)
}
