//! `cargo xtask test`: what the tests need, then every test of the workspace.

use std::path::Path;

use crate::process;

/// Runs every test, documentation tests included; `arguments` go to `cargo test`.
///
/// # Errors
/// When the services cannot be started or a test fails.
pub(crate) fn run(root: &Path, arguments: &[String]) -> anyhow::Result<()> {
    start_services();
    let mut command = process::cargo(root);
    process::run(command.args(["test", "--workspace", "--locked"]).args(arguments))
}

/// Starts the servers that tests talk to.
///
/// The embedded ledger needs none: each test makes a data directory of its own, and the kernel
/// gives it a free port. A missing service fails the tests that need it; none is skipped.
fn start_services() {
    println!("services: none needed, the ledger is embedded");
}
