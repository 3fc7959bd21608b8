//! What a page says is tested: each row of its tables of tests names some, and they exist.
//!
//! Such a table's last column is headed `test` or `tests`. A test is set as code by the name that
//! libtest gives it: its modules lead to a file, and the file has the function. Modules behind the
//! file's are within it, or a macro's of a module around it, as one for each database. `*` stands
//! for one module or more, and at the end for every test there.
//!
//! Tests are of the crate that the table is about, or of the one that is named behind them, up to
//! the next `;`: `` `faults::*` and `recording::*` of the ledger ``.

use super::tree::{File, Finding, Tree};

const RULE: &str = "named-tests";
/// The pages, and the crate that each of their tables is about; the last is of all that follow.
const PAGES: [(&str, &[&str]); 2] =
    [("docs/security.md", &["server"]), ("docs/guarantees.md", &["server", "issuance"])];
/// Where the tests of a crate are, besides `tests/it` in it.
const HOMES: [(&str, &[&str]); 1] = [("issuance", &["tests/it/redis/", "src/"])];
const HOME: &str = "tests/it/";

/// Finds rows without a test, and tests that are gone. A project without the pages says nothing.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let pages = PAGES.iter().filter_map(|(path, crates)| Some((tree.file(path)?, *crates)));
    pages.flat_map(|(page, crates)| check_page(tree, page, crates)).collect()
}

fn check_page(tree: &Tree, page: &File, crates: &[&str]) -> Vec<Finding> {
    let (mut found, mut rows) = (Vec::new(), 0);
    let mut add = |line, message| {
        found.push(Finding { rule: RULE, path: page.path.clone(), line, message });
    };
    for (table, line, cell) in cells(&page.text) {
        rows += 1;
        let own = crates[table.min(crates.len() - 1)];
        let tests = tests(cell, own);
        if tests.is_empty() {
            add(line, "the row names no test in its last column".to_owned());
        }
        for (test, of) in tests.into_iter().filter(|(test, of)| !exists(tree, of, test)) {
            add(line, format!("there is no test `{test}` in crates/{of}"));
        }
    }
    if rows == 0 {
        add(0, "no table has a row with tests".to_owned());
    }
    found
}

/// The last cell of each row of the tables of tests: the table's number, the line's, and the cell.
fn cells(text: &str) -> Vec<(usize, usize, &str)> {
    let (mut cells, mut tables, mut in_table, mut heads) = (Vec::new(), 0, false, "");
    for (index, line) in text.lines().enumerate() {
        if !line.starts_with('|') {
            in_table = false;
        } else if line.starts_with("|-") {
            in_table = ["test", "tests"].contains(&last_cell(heads));
            tables += usize::from(in_table);
        } else if in_table {
            cells.push((tables - 1, index + 1, last_cell(line)));
        }
        heads = line;
    }
    cells
}

fn last_cell(row: &str) -> &str {
    row.trim_end().trim_end_matches('|').rsplit('|').next().unwrap_or_default().trim()
}

/// The tests that a cell names, and the crate that each is of.
fn tests<'a>(cell: &'a str, own: &'a str) -> Vec<(&'a str, &'a str)> {
    let mut tests = Vec::new();
    // How many of them are known to be of a crate.
    let mut known = 0;
    for (index, part) in cell.split('`').enumerate() {
        if index % 2 == 1 {
            tests.push((part, own));
            continue;
        }
        let said = part.split(';').next().unwrap_or_default().trim_start();
        if let Some(of) = said.strip_prefix("of ") {
            let of = of.strip_prefix("the ").unwrap_or(of);
            let of = of.split(|letter: char| !letter.is_alphanumeric()).next().unwrap_or_default();
            tests[known..].iter_mut().for_each(|test| test.1 = of);
            known = tests.len();
        } else if part.contains(';') {
            known = tests.len();
        }
    }
    tests
}

/// Whether a crate has a test of that name.
fn exists(tree: &Tree, of: &str, test: &str) -> bool {
    let Some((modules, function)) = test.rsplit_once("::") else { return false };
    let modules: Vec<&str> = modules.split("::").collect();
    let others = HOMES.iter().filter(|(name, _)| *name == of).flat_map(|(_, homes)| *homes);
    let mut homes = std::iter::once(&HOME).chain(others);
    homes.any(|home| exists_in(tree, &format!("crates/{of}/{home}"), &modules, function))
}

fn exists_in(tree: &Tree, home: &str, modules: &[&str], function: &str) -> bool {
    let fixed = modules.iter().position(|module| *module == "*").unwrap_or(modules.len());
    let path = |count: usize| format!("{home}{}", modules[..count].join("/"));
    let file = |count: usize| tree.file(&format!("{}.rs", path(count)));
    // The longest part of the modules that is a file.
    let Some(count) = (1..=fixed).rev().find(|count| file(*count).is_some()) else { return false };
    let is_within = |module: &&str| {
        let mut around = (1..=count).filter_map(file);
        around.any(|file| file.text.contains(&format!("mod {module} ")))
    };
    if !modules[count..fixed].iter().all(is_within) {
        return false;
    }
    let wanted = if function == "*" { "fn ".to_owned() } else { format!("fn {function}(") };
    let has = |file: &File| file.text.contains(&wanted);
    let is_open = function == "*" || fixed < modules.len();
    let below = format!("{}/", path(count));
    file(count).is_some_and(has)
        || is_open && tree.files.iter().any(|file| file.path.starts_with(&below) && has(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECURITY: &str = "docs/security.md";
    const GUARANTEES: &str = "docs/guarantees.md";
    const HEAD: &str = "# Security\n\n| what | where | tests |\n|---|---|---|\n";

    fn found(page: &str, text: &str) -> Vec<(usize, String)> {
        let tree = Tree::of(&[
            (page, text),
            ("crates/server/tests/it/tokens.rs", "async fn a_bad_one() {}"),
            ("crates/server/tests/it/contract.rs", "mod claims; macro { mod postgres {} }"),
            ("crates/server/tests/it/contract/claims.rs", "mod twice { fn one_wins() {} }"),
            ("crates/issuance/tests/it/redis/losses.rs", "mod kafka { } fn nothing_is_lost() {}"),
            ("crates/issuance/tests/it/worker/churn.rs", "fn they_come_and_go() {}"),
            ("crates/issuance/src/worker/tests.rs", "fn two_at_once() {}"),
            ("crates/ledger/tests/it/applying.rs", "mod faults;"),
            ("crates/ledger/tests/it/applying/faults.rs", "fn a_lost_answer() {}"),
        ]);
        check(&tree).into_iter().map(|finding| (finding.line, finding.message)).collect()
    }

    fn found_in_row(rows: &str) -> Vec<(usize, String)> {
        found(SECURITY, &format!("{HEAD}{rows}"))
    }

    /// Cells of the table of the server's tests, and of that of issuance's.
    fn found_in_cells(server: &str, issuance: &str) -> Vec<(usize, String)> {
        let page = "| strategy | survives |\n|---|---|\n| `redis` | a crash |\n\n\
                    | what | test |\n|---|---|\n| a | SERVER |\n\n\
                    | hole | here | test |\n|---|---|---|\n| a | `b` | ISSUANCE |\n";
        found(GUARANTEES, &page.replace("SERVER", server).replace("ISSUANCE", issuance))
    }

    #[test]
    fn tests_that_exist_pass() {
        for row in [
            "| a | b | `tokens::a_bad_one`, `contract::claims::one_wins` |",
            "| `x` | [y](z) | `contract::claims::twice::one_wins` |\n\n| no row |",
            "| a | b | `contract::claims::postgres::one_wins` |",
        ] {
            assert_eq!(found_in_row(row), [], "{row}");
        }
        assert_eq!(check(&Tree::of(&[("README.md", "")])), []);
    }

    #[test]
    fn patterns_and_crates_are_followed() {
        for (server, issuance) in [
            ("`tokens::*`", "`losses::nothing_is_lost`, `losses::kafka::*::nothing_is_lost`"),
            ("`contract::*::one_wins`, `contract::claims::*`", "`losses::*`, `worker::churn::*`"),
            ("`losses::*` and `worker::churn::*` of issuance, `tokens::*`", "`worker::tests::*`"),
            (
                "`tokens::*`; `applying::*::a_lost_answer` of the ledger",
                "`tokens::*` of the server",
            ),
        ] {
            assert_eq!(found_in_cells(server, issuance), [], "{server} {issuance}");
        }
    }

    #[test]
    fn a_test_that_is_gone_is_found() {
        for gone in [
            "tokens::a_bad",
            "tokens::a_bad_one_more",
            "tokens::nobody::a_bad_one",
            "contract::a_bad_one",
            "contract::one_wins",
            "contract::*::a_bad_one",
            "contract::nobody::*",
            "nowhere::a_bad_one",
            "nowhere::*",
            "a_bad_one",
            "losses::*",
            "worker::tests::*",
        ] {
            let message = format!("there is no test `{gone}` in crates/server");
            let row = format!("| a | b | `{gone}` |");
            assert_eq!(found_in_row(&row), [(5, message.clone())]);
            assert_eq!(found_in_cells(&format!("`{gone}`"), "`losses::*`"), [(7, message)]);
        }
        for (gone, of) in [("tokens::*", "issuance"), ("losses::kafka::*::one_wins", "issuance")] {
            let message = format!("there is no test `{gone}` in crates/{of}");
            assert_eq!(found_in_cells("`tokens::*`", &format!("`{gone}`")), [(11, message)]);
        }
        let message = "there is no test `applying::*::one_wins` in crates/ledger".to_owned();
        let cell = "`applying::*::one_wins`, `applying::*` of the ledger";
        assert_eq!(found_in_cells(cell, "`losses::*`"), [(7, message)]);
    }

    #[test]
    fn a_row_without_a_test_is_found() {
        let none = "the row names no test in its last column".to_owned();
        assert_eq!(found_in_row("| a | `tokens::a_bad_one` | soon |"), [(5, none.clone())]);
        assert_eq!(found_in_row("| a |"), [(5, none)]);
        let no_table = "no table has a row with tests".to_owned();
        assert_eq!(found_in_row(""), [(0, no_table.clone())]);
        assert_eq!(found(GUARANTEES, "| a | b |\n|---|---|\n| a | `b` |"), [(0, no_table)]);
    }
}
