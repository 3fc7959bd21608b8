//! What `docs/security.md` says is tested: each row of its table names tests, and they exist.
//!
//! A row is `| what holds | where the guard is | tests |`. A test is set as code by the name that
//! libtest gives it in the server's tests: its modules lead to a file there, and the file has the
//! function. Modules behind the file's may be a macro's, as one for each database.

use super::tree::{Finding, Tree};

const RULE: &str = "security-tests";
const PAGE: &str = "docs/security.md";
const TESTS: &str = "crates/server/tests/it/";

/// Finds rows without a test, and tests that are gone. A project without the page says nothing.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let Some(page) = tree.file(PAGE) else { return Vec::new() };
    let (mut found, mut in_table, mut rows) = (Vec::new(), false, 0);
    let mut add = |line, message| {
        found.push(Finding { rule: RULE, path: PAGE.to_owned(), line, message });
    };
    for (index, line) in page.text.lines().enumerate() {
        in_table = line.starts_with('|') && (in_table || line.starts_with("|-"));
        if !in_table || line.starts_with("|-") {
            continue;
        }
        rows += 1;
        let cell = line.split('|').nth(3).unwrap_or_default();
        let tests: Vec<&str> = cell.split('`').skip(1).step_by(2).collect();
        if tests.is_empty() {
            add(index + 1, "the row names no test in its third column".to_owned());
        }
        for test in tests.into_iter().filter(|test| !exists(tree, test)) {
            add(index + 1, format!("there is no test `{test}` in {TESTS}"));
        }
    }
    if rows == 0 {
        add(0, "the table has no row".to_owned());
    }
    found
}

/// Whether the longest part of the modules that is a file has the function.
fn exists(tree: &Tree, test: &str) -> bool {
    let Some((modules, function)) = test.rsplit_once("::") else { return false };
    let parts: Vec<&str> = modules.split("::").collect();
    let path = |count: usize| format!("{TESTS}{}.rs", parts[..count].join("/"));
    let file = (1..=parts.len()).rev().find_map(|count| tree.file(&path(count)));
    file.is_some_and(|file| file.text.contains(&format!("fn {function}(")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "# Security\n\n| what | where | tests |\n|---|---|---|\n";

    fn found(rows: &str) -> Vec<(usize, String)> {
        let page = format!("{HEAD}{rows}");
        let tree = Tree::of(&[
            (PAGE, page.as_str()),
            ("crates/server/tests/it/tokens.rs", "async fn a_bad_one() {}"),
            ("crates/server/tests/it/contract.rs", "mod claims;"),
            ("crates/server/tests/it/contract/claims.rs", "mod twice { fn one_wins() {} }"),
        ]);
        check(&tree).into_iter().map(|finding| (finding.line, finding.message)).collect()
    }

    #[test]
    fn tests_that_exist_pass() {
        assert_eq!(found("| a | b | `tokens::a_bad_one`, `contract::claims::one_wins` |"), []);
        assert_eq!(
            found("| `x` | [y](z) | `contract::claims::twice::one_wins` |\n\n| no row |"),
            []
        );
        assert_eq!(check(&Tree::of(&[("README.md", "")])), []);
    }

    #[test]
    fn a_test_that_is_gone_is_found() {
        for gone in [
            "tokens::a_bad",
            "tokens::a_bad_one_more",
            "contract::a_bad_one",
            "nowhere::a_bad_one",
            "a_bad_one",
        ] {
            let message = format!("there is no test `{gone}` in crates/server/tests/it/");
            assert_eq!(found(&format!("| a | b | `{gone}` |")), [(5, message)]);
        }
    }

    #[test]
    fn a_row_without_a_test_is_found() {
        let none = "the row names no test in its third column".to_owned();
        assert_eq!(found("| a | `tokens::a_bad_one` | soon |"), [(5, none.clone())]);
        assert_eq!(found("| a |"), [(5, none)]);
        assert_eq!(found(""), [(0, "the table has no row".to_owned())]);
    }
}
