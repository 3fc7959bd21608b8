//! `cargo xtask tidy`: the rules of the house that no compiler knows.
//!
//! Each check is a pure function from the files of the workspace, or what cargo says of it, to
//! findings; each has tests that show it passing and failing.

mod codes;
mod crates;
mod documents;
mod exceptions;
mod lengths;
mod links;
mod markdown;
mod metrics;
mod named_tests;
mod tree;
mod words;

use std::path::Path;

use tree::{Finding, Tree};

/// Checks the workspace and prints what breaks a rule.
///
/// # Errors
/// When anything does, or the workspace cannot be read.
pub(crate) fn run(root: &Path) -> anyhow::Result<()> {
    let tree = Tree::read(root)?;
    let workspace = crates::Workspace::read(root)?;
    let mut findings = crates::check(&workspace);
    findings.extend(check_files(&tree));
    let findings = exceptions::apply(findings, exceptions::EXCEPTIONS);
    for finding in &findings {
        println!("{finding}");
    }
    anyhow::ensure!(findings.is_empty(), "tidy found {}", findings.len());
    println!("tidy: {} files, nothing found", tree.files.len());
    Ok(())
}

/// Every check that needs nothing but the files.
fn check_files(tree: &Tree) -> Vec<Finding> {
    let checks: [fn(&Tree) -> Vec<Finding>; 8] = [
        crates::check_manifests,
        lengths::check,
        words::check,
        codes::check,
        documents::check,
        links::check,
        metrics::check,
        named_tests::check,
    ];
    checks.iter().flat_map(|check| check(tree)).collect()
}
