//! The product as a benchmark sees it: a process, an admin's calls, tokens of shoppers.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::Workshop;
use super::http::Connection;
use super::ledger::Home;
use super::processor::{self, Used};
use super::served::Served;
use super::server::{Database, Server};
use crate::process::{capture, show};

/// Above any number of claims of one run.
pub(crate) const QUANTITY_MAX: u32 = 10_000_000;

/// A running product.
pub(crate) struct Product {
    // Before its home, so that it has gone when its database is dropped.
    pub(crate) served: Served,
    pub(crate) home: Home,
    program: PathBuf,
    admin_token: String,
    coupon_id: String,
}

/// An audit of ten million winners takes longer than a server is usually given.
const CONFIG: &str = "[server]\nanswer_timeout_seconds = 300\n";

impl Product {
    /// Starts the product and creates a coupon. With an instrument, the product runs as its last
    /// arguments.
    ///
    /// # Errors
    /// When it does not start or refuses what an admin may do.
    pub(crate) fn start(
        workshop: &Workshop,
        home: Home,
        instrument: Option<Command>,
    ) -> anyhow::Result<Self> {
        let served = serve(workshop, &home, &[], instrument)?;
        Self::of(workshop, home, served)
    }

    /// A product that has started, with a coupon.
    ///
    /// # Errors
    /// When it refuses what an admin may do.
    pub(crate) fn of(workshop: &Workshop, home: Home, served: Served) -> anyhow::Result<Self> {
        let program = workshop.program("firstcome");
        let mut token = token_command(&program, &home.data_dir, "bench-admin");
        let admin_token = capture(token.args(["--scope", "admin"]))?.trim().to_owned();
        let coupon_id = String::new();
        let mut product = Self { served, home, program, admin_token, coupon_id };
        let coupon = product.post("/v1/coupons", &coupon())?;
        product.coupon_id = id(&coupon)?;
        Ok(product)
    }

    /// Processor time that the product and its database server have used so far.
    ///
    /// # Errors
    /// When one of them has ended.
    pub(crate) fn processor_time(&self) -> anyhow::Result<Used> {
        let server = self.home.database.as_ref().map(Database::server);
        let database_ticks = server.map(Server::processor_ticks).transpose()?.flatten();
        Ok(Used { product_ticks: self.served.processor_ticks()?, database_ticks })
    }

    /// Waits until product and database server do nothing any more, and gives the time that took.
    ///
    /// # Errors
    /// When they go on working, or have ended.
    pub(crate) fn wait_until_idle(&self) -> anyhow::Result<Duration> {
        let server = self.home.database.as_ref().map(Database::server);
        let idle_ticks_max = server.map_or(processor::IDLE_TICKS_MAX, Server::idle_ticks_max);
        processor::wait_until_idle("firstcome", idle_ticks_max, || {
            Ok(self.processor_time()?.ticks())
        })
    }

    /// Makes the database server do what it has put off, and waits until nothing is left to do.
    ///
    /// # Errors
    /// When they go on working, or have ended.
    pub(crate) fn come_to_rest(&self) -> anyhow::Result<()> {
        if let Some(database) = &self.home.database {
            database.rest()?;
        }
        self.wait_until_idle().map(|_| ())
    }

    /// Creates an event that is open, and gives the path of its claims.
    ///
    /// # Errors
    /// When the product refuses it.
    pub(crate) fn open_event(&self, quantity: u32) -> anyhow::Result<String> {
        let event = json!({
            "coupon_id": self.coupon_id,
            "name": "Bench",
            "quantity": quantity,
            "opens_at": "2020-01-01T00:00:00Z",
            "closes_at": "2099-01-01T00:00:00Z",
        });
        let event = self.post("/v1/events", &event)?;
        Ok(format!("/v1/events/{}/claims", id(&event)?))
    }

    /// Audits the event of these claims, and gives the number of coupons it has issued.
    ///
    /// # Errors
    /// When the verdict is not `pass`.
    pub(crate) fn audit(&self, claims_path: &str) -> anyhow::Result<u64> {
        let path = claims_path.replace("/claims", "/audit");
        let answer = self.connect()?.call("GET", &path, Some(&self.admin_token), None)?;
        let audit = answer.json(200)?;
        anyhow::ensure!(audit["verdict"] == "pass", "the audit failed: {audit}");
        audit["issued"].as_u64().context("the audit counts nothing")
    }

    /// Claims once and gives the size of the answer's body, in bytes.
    ///
    /// # Errors
    /// When the status is another than the expected one.
    pub(crate) fn claim_once(
        &self,
        path: &str,
        token: &str,
        expected_status: u16,
    ) -> anyhow::Result<usize> {
        let answer = self.connect()?.call("POST", path, Some(token), None)?;
        answer.json(expected_status)?;
        Ok(answer.body.len())
    }

    /// Reads a resource and gives the size of the answer's body, in bytes.
    ///
    /// # Errors
    /// When the product refuses.
    pub(crate) fn read_once(&self, path: &str, token: Option<&str>) -> anyhow::Result<usize> {
        let answer = self.connect()?.call("GET", path, token, None)?;
        answer.json(200)?;
        Ok(answer.body.len())
    }

    /// Writes tokens of `NAME-1` … `NAME-count` to a file, one a line.
    ///
    /// # Errors
    /// When the product cannot sign them.
    pub(crate) fn write_tokens(&self, name: &str, count: u64, file: &Path) -> anyhow::Result<()> {
        write_tokens(&self.program, &self.home.data_dir, name, count, file)
    }

    /// The token of one shopper.
    ///
    /// # Errors
    /// When the product cannot sign it.
    pub(crate) fn token(&self, name: &str) -> anyhow::Result<String> {
        let mut command = token_command(&self.program, &self.home.data_dir, name);
        Ok(capture(&mut command)?.trim().to_owned())
    }

    /// Drains and ends the product, and gives what it has kept.
    ///
    /// # Errors
    /// When it does not end cleanly.
    pub(crate) fn stop(self) -> anyhow::Result<Home> {
        self.served.terminate()?;
        Ok(self.home)
    }

    /// A new connection: minutes may lie between two calls, and the product closes idle ones.
    fn connect(&self) -> anyhow::Result<Connection> {
        Connection::open(self.served.address)
    }

    fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.connect()?.call("POST", path, Some(&self.admin_token), Some(body))?.json(201)
    }
}

/// Starts a process of the product with these roles, or with all if there are none. With an
/// instrument, it runs as its last arguments.
///
/// # Errors
/// When it does not start.
pub(crate) fn serve(
    workshop: &Workshop,
    home: &Home,
    roles: &[&str],
    instrument: Option<Command>,
) -> anyhow::Result<Served> {
    let program = workshop.program("firstcome");
    let mut command = match instrument {
        Some(mut instrument) => {
            instrument.arg(&program);
            instrument
        }
        None => Command::new(&program),
    };
    unconfigured(&mut command).arg("serve").arg("--data-dir").arg(&home.data_dir);
    for role in roles {
        command.args(["--role", role]);
    }
    if let Some(database) = &home.database {
        // Not as an argument, which errors show: it may hold a password.
        command.env("FIRSTCOME_LEDGER_URL", &database.url);
        if let Some(beside) = &database.server().beside {
            beside.tell(&mut command);
        }
    }
    let config = home.data_dir.with_extension("toml");
    let lines = format!("{CONFIG}{}", home.more_config);
    std::fs::write(&config, lines).with_context(|| format!("write {}", config.display()))?;
    command.arg("--config").arg(&config);
    let log = [roles, &["log"]].concat().join(".");
    Served::start(command, "/readyz", &home.data_dir.with_extension(log))
}

/// Writes tokens of `NAME-1` … `NAME-count` to a file, one a line, signed with the key in a data
/// directory, which is made if there is none.
///
/// # Errors
/// When the product cannot sign them.
pub(crate) fn write_tokens(
    program: &Path,
    data_dir: &Path,
    name: &str,
    count: u64,
    file: &Path,
) -> anyhow::Result<()> {
    let mut command = token_command(program, data_dir, name);
    command.args(["--count", &count.to_string()]).stdin(Stdio::null());
    let status = command.stdout(File::create(file)?).status()?;
    anyhow::ensure!(status.success(), "`{}` failed ({status})", show(&command));
    Ok(())
}

/// The command that signs tokens for a name with the product's own key.
fn token_command(program: &Path, data_dir: &Path, name: &str) -> Command {
    let mut command = Command::new(program);
    command.args(["token", "--sub", name, "--ttl", "2h", "--data-dir"]).arg(data_dir);
    let config = data_dir.with_extension("toml");
    if config.exists() {
        command.arg("--config").arg(config);
    }
    unconfigured(&mut command);
    command
}

/// Takes away the configuration that the environment may hold: what is measured are the defaults.
fn unconfigured(command: &mut Command) -> &mut Command {
    let names = std::env::vars_os().map(|(name, _)| name);
    for name in names.filter(|name| name.to_string_lossy().starts_with("FIRSTCOME_")) {
        command.env_remove(name);
    }
    command
}

fn coupon() -> Value {
    json!({
        "name": "Bench",
        "benefit": {"type": "amount", "amount": 5000, "currency": "KRW"},
        "validity": {"type": "days", "days": 30},
    })
}

fn id(resource: &Value) -> anyhow::Result<String> {
    Ok(resource["id"].as_str().with_context(|| format!("no id: {resource}"))?.to_owned())
}
