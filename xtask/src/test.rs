//! `cargo xtask test`: what the tests need, then every test of the workspace.

use std::path::Path;

use crate::{node, process, services};

/// The OpenID provider that tests start themselves.
const PROVIDER: &str = "crates/server/tests/oidc";

/// Runs every test, documentation tests included; `arguments` go to `cargo test`.
///
/// The servers that tests talk to are started first and go on running: the next call finds them.
/// A missing one fails the tests that need it; none is skipped.
///
/// # Errors
/// When a server cannot be started, packages cannot be fetched, or a test fails.
pub(crate) fn run(root: &Path, arguments: &[String]) -> anyhow::Result<()> {
    node::ensure_node()?;
    node::npm_ci(&root.join(PROVIDER))?;
    let variables = services::up_for_tests(root)?;
    let mut command = process::cargo(root);
    command.args(["test", "--workspace", "--locked"]).args(arguments);
    process::run(command.envs(variables))
}
