//! `cargo xtask test`: what the tests need, then every test of the workspace.

use std::path::Path;

use crate::{node, process, python, services};

/// The OpenID provider that tests start themselves.
const PROVIDER: &str = "crates/server/tests/oidc";
/// The client that tests make of the OpenAPI document.
const CLIENT: &str = "crates/server/tests/client";
/// What holds the server against the OpenAPI document: its packages, and where they lie.
const SCHEMATHESIS: (&str, &str) =
    ("crates/server/tests/schemathesis/requirements.txt", "target/schemathesis");

/// Runs every test, documentation tests included; `arguments` go to `cargo test`.
///
/// The servers that tests talk to are started first and go on running: the next call finds them.
/// A missing one fails the tests that need it; none is skipped.
///
/// # Errors
/// When a server cannot be started, packages cannot be fetched, or a test fails.
pub(crate) fn run(root: &Path, arguments: &[String]) -> anyhow::Result<()> {
    node::ensure_node()?;
    for packages in [PROVIDER, CLIENT] {
        node::npm_ci(&root.join(packages))?;
    }
    let (requirements, environment) = SCHEMATHESIS;
    python::ensure_python()?;
    python::environment(&root.join(environment), &root.join(requirements))?;
    let variables = services::up_for_tests(root)?;
    let mut command = process::cargo(root);
    command.args(["test", "--workspace", "--locked"]).args(arguments);
    process::run(command.envs(variables))
}
