//! `cargo xtask test`: what the tests need, then every test of the workspace.

use std::io::IsTerminal as _;
use std::path::Path;
use std::time::Duration;

use crate::{node, process, python, services, watch};

/// The OpenID provider that tests start themselves.
const PROVIDER: &str = "crates/server/tests/oidc";
/// The client that tests make of the OpenAPI document.
const CLIENT: &str = "crates/server/tests/client";
/// What holds the server against the OpenAPI document: its packages, and where they lie.
const SCHEMATHESIS: (&str, &str) =
    ("crates/server/tests/schemathesis/requirements.txt", "target/schemathesis");

/// Longest that tests which nobody looks at may say nothing: several times what the slowest takes.
const SILENCE_MAX: Duration = Duration::from_secs(600);

/// Runs every test, documentation tests included; `arguments` go to `cargo test`.
///
/// The servers that tests talk to are started first and go on running: the next call finds them.
/// A missing one fails the tests that need it; none is skipped.
///
/// # Errors
/// When a server cannot be started, packages cannot be fetched, or a test fails.
pub(crate) fn run(root: &Path, arguments: &[String]) -> anyhow::Result<()> {
    // The READMEs are typed as they are.
    process::need("curl", "curl")?;
    node::ensure_node()?;
    for packages in [PROVIDER, CLIENT] {
        node::npm_ci(&root.join(packages))?;
    }
    let (requirements, environment) = SCHEMATHESIS;
    python::ensure_python()?;
    python::environment(&root.join(environment), &root.join(requirements))?;
    let variables = services::up_for_tests(root)?;
    let mut compile = process::cargo(root);
    process::run(compile.args(["test", "--workspace", "--locked", "--no-run"]))?;
    let mut command = process::cargo(root);
    command.args(["test", "--workspace", "--locked"]).args(arguments).envs(variables);
    // Who sees that a test hangs can end it; CI has nobody who looks.
    if std::io::stdout().is_terminal() {
        process::run(&mut command)
    } else {
        watch::run(&mut command, SILENCE_MAX)
    }
}
