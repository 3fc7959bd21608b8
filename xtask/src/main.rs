//! `cargo xtask`: the tasks of the workspace, in Rust, so that a fresh machine needs no other tool.
//!
//! In reading order: [`ci`] is what CI runs, [`tidy`] what it checks beyond the compiler,
//! [`mod@test`] the one command that runs every test, [`watch`] what ends a test that hangs,
//! [`services`] the servers that tests talk to, [`node`] and [`python`] what of them runs on
//! Node.js and Python, [`mod@bench`] the measurements behind `docs/benchmarks.md`.
#![expect(clippy::print_stdout, reason = "a command line program prints its progress")]

mod bench;
mod ci;
mod node;
mod process;
mod python;
mod services;
mod stopwatch;
mod test;
mod tidy;
mod watch;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The tasks of the workspace.
#[derive(Parser)]
#[command(name = "cargo xtask", disable_help_subcommand = true)]
struct CommandLine {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Everything CI checks: format, lints, documentation, tidy, tests.
    Ci,
    /// Run every test of the workspace; what follows is passed on to `cargo test`.
    Test {
        /// Arguments for `cargo test`, such as the part of a test's name.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Check the rules of the house that no compiler knows.
    Tidy,
    /// The servers that tests talk to: PostgreSQL, MariaDB, Redis and Kafka.
    #[command(subcommand)]
    Services(services::Action),
    /// Measure the product against the limit of this machine.
    #[command(subcommand)]
    Bench(bench::Scenario),
}

fn main() -> ExitCode {
    match run(CommandLine::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> anyhow::Result<()> {
    let root = workspace_root();
    match task {
        Task::Ci => ci::run(&root),
        Task::Test { arguments } => test::run(&root, &arguments),
        Task::Tidy => tidy::run(&root),
        Task::Services(action) => action.run(&root),
        Task::Bench(scenario) => scenario.run(&root),
    }
}

/// The directory of the workspace's `Cargo.toml`, wherever the task was started.
fn workspace_root() -> PathBuf {
    let manifest_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest_dir.parent().expect("xtask lies in the workspace").to_path_buf()
}
