//! `cargo xtask ci`: every check, cheapest first, stopping at the first that fails.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

use crate::process::{self, cargo};
use crate::stopwatch::Stopwatch;
use crate::{services, test, tidy};

/// A check by name.
type Step<'a> = (&'a str, &'a dyn Fn() -> anyhow::Result<()>);

/// Runs everything CI checks, and ends the servers that were started for it, whatever the outcome.
///
/// # Errors
/// When a step fails: the message names it.
pub(crate) fn run(root: &Path) -> anyhow::Result<()> {
    let kept = services::running(root)?;
    let format = || process::run(cargo(root).args(["fmt", "--all", "--check"]));
    let tidy = || tidy::run(root);
    let lints = || {
        let clippy = ["clippy", "--workspace", "--all-targets", "--locked"];
        process::run(cargo(root).args(clippy).args(["--", "-D", "warnings"]))
    };
    // The flags reach only our crates, so what clippy has checked of the others is taken as it is.
    let documentation = || {
        let doc = ["doc", "--workspace", "--no-deps", "--document-private-items", "--locked"];
        process::run(cargo(root).args(doc).env("RUSTDOCFLAGS", "-D warnings"))
    };
    let tests = || test::run(root, &[]);
    let outcome = in_order(&[
        ("format", &format),
        ("tidy", &tidy),
        ("lints", &lints),
        ("documentation", &documentation),
        ("tests", &tests),
    ]);
    let ended = services::down(root, &kept);
    outcome.and(ended)
}

/// Runs the steps with a header and the time of each.
fn in_order(steps: &[Step<'_>]) -> anyhow::Result<()> {
    let mut summary = Vec::new();
    let whole = Stopwatch::start();
    for (index, (name, step)) in steps.iter().enumerate() {
        println!("\n==> [{}/{}] {name}", index + 1, steps.len());
        let time = Stopwatch::start();
        let outcome = step();
        let word = if outcome.is_ok() { "ok" } else { "FAILED" };
        summary.push(format!("{name:<15} {word:<7} {}", seconds(time.elapsed())));
        println!("<== {name}: {word} after {}", seconds(time.elapsed()));
        outcome.with_context(|| format!("ci stopped at the step \"{name}\""))?;
    }
    println!("\nci passed in {}", seconds(whole.elapsed()));
    for line in summary {
        println!("  {line}");
    }
    Ok(())
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_failing_step_is_named_and_ends_the_run() {
        let reached = Cell::new(0);
        let good = || {
            reached.set(reached.get() + 1);
            Ok(())
        };
        let bad = || anyhow::bail!("seen");
        in_order(&[("first", &good), ("second", &good)]).unwrap();
        assert_eq!(reached.get(), 2);
        let error = in_order(&[("first", &good), ("second", &bad), ("third", &good)]).unwrap_err();
        assert_eq!(format!("{error:#}"), "ci stopped at the step \"second\": seen");
        assert_eq!(reached.get(), 3, "the third step did not run");
    }
}
