//! `cargo xtask bench`: what the product does, as a share of what this machine can do.
//!
//! Absolute rates differ from machine to machine. Each scenario therefore measures two things in
//! turns within one run, and gives their ratio. Each writes its own section of
//! `docs/benchmarks.md`.

mod beside;
mod flood;
mod growth;
mod http;
mod ledger;
mod machine;
mod parts;
mod processor;
mod product;
mod report;
mod served;
mod server;
mod service;
mod shares;
mod slow_clients;
mod spread;
mod tokens;
mod wrk;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};

use crate::process::{cargo, run};
use ledger::Ledger;

/// What is measured.
#[derive(Subcommand)]
pub(crate) enum Scenario {
    /// Claims that win, claims that find the event sold out, and reads, against the limit server.
    Embedded(shares::Options),
    /// The same with the ledger on PostgreSQL, beside the embedded one.
    Postgres(shares::Options),
    /// The same with the ledger on MariaDB, beside the embedded one.
    Mariadb(shares::Options),
    /// The same with claims decided in Redis, and kept by PostgreSQL, Kafka or Redis itself.
    Redis(shares::Options),
    /// A worker against one `COPY`, and what Redis takes for a winner.
    Parts(parts::Options),
    /// Claims spread over many open events, against claims of one event.
    Spread(spread::Options),
    /// What checking a token costs, by how it is signed.
    Tokens(tokens::Options),
    /// Claims beside clients that send a byte a second, against claims alone.
    SlowClients(slow_clients::Options),
    /// What one claim costs when many coupons are issued, against few.
    Growth(growth::Options),
}

impl Scenario {
    /// Measures and writes the scenario's section of `docs/benchmarks.md`.
    ///
    /// # Errors
    /// When a tool is missing, a build fails, or a run shows anything but the answers expected.
    pub(crate) fn run(self, root: &Path) -> anyhow::Result<()> {
        let workshop = Workshop::open(root)?;
        let shares = |section, ledgers: &[Ledger], options| {
            shares::run(&workshop, section, ledgers, options)
        };
        match self {
            Self::Embedded(options) => shares("embedded", &[Ledger::Sqlite], &options),
            Self::Postgres(options) => {
                shares("postgres", &[Ledger::Sqlite, Ledger::Postgres], &options)
            }
            Self::Mariadb(options) => {
                shares("mariadb", &[Ledger::Sqlite, Ledger::Mariadb], &options)
            }
            Self::Redis(options) => {
                let behind = [Ledger::Redis, Ledger::Kafka, Ledger::RedisStream];
                shares("redis", &behind, &options)
            }
            Self::Parts(options) => parts::run(&workshop, &options),
            Self::Spread(options) => spread::run(&workshop, &options),
            Self::Tokens(options) => tokens::run(&workshop, &options),
            Self::SlowClients(options) => slow_clients::run(&workshop, &options),
            Self::Growth(options) => growth::run(&workshop, &options),
        }
    }
}

/// The programs that are measured, and where they may leave files.
pub(crate) struct Workshop {
    pub(crate) root: PathBuf,
    /// Removed at the end. On the disk of the build, not in memory: an fsync must cost what it
    /// costs.
    files: tempfile::TempDir,
}

impl Workshop {
    /// Builds the product and the limit server.
    fn open(root: &Path) -> anyhow::Result<Self> {
        let build = ["build", "--release", "--locked", "--package", "firstcome"];
        run(cargo(root).args(build).args(["--package", "bench"]))?;
        let files = tempfile::tempdir_in(root.join("target"))?;
        Ok(Self { root: root.to_path_buf(), files })
    }

    /// A program of the release build.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.root.join("target/release").join(name)
    }

    /// A path for a file that is needed during the run.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }
}

/// A bar that shows what is being measured and how much is left.
pub(crate) fn progress(steps: u64) -> ProgressBar {
    let template = "{bar:30} {pos}/{len} {msg} ({elapsed}, about {eta} left)";
    let style = ProgressStyle::with_template(template).expect("the template is well formed");
    let bar = ProgressBar::new(steps).with_style(style);
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
