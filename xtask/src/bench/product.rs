//! The product as a benchmark sees it: a process, an admin's calls, tokens of shoppers.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context as _;
use serde_json::{Value, json};

use super::Workshop;
use super::http::Connection;
use super::served::Served;
use crate::process::{capture, show};

/// Above any number of claims of one run.
pub(crate) const QUANTITY_MAX: u32 = 10_000_000;

/// A running product on a data directory of its own.
pub(crate) struct Product {
    pub(crate) served: Served,
    program: PathBuf,
    data_dir: PathBuf,
    admin_token: String,
    coupon_id: String,
}

impl Product {
    /// Starts the product on a data directory, new or not, and creates a coupon. With an
    /// instrument, the product runs as its last arguments.
    ///
    /// # Errors
    /// When it does not start or refuses what an admin may do.
    pub(crate) fn start(
        workshop: &Workshop,
        data_dir: &str,
        instrument: Option<Command>,
    ) -> anyhow::Result<Self> {
        let program = workshop.program("firstcome");
        let data_dir = workshop.file(data_dir);
        let mut command = match instrument {
            Some(mut instrument) => {
                instrument.arg(&program);
                instrument
            }
            None => Command::new(&program),
        };
        unconfigured(&mut command).arg("serve").arg("--data-dir").arg(&data_dir);
        let served = Served::start(command, "/readyz", &workshop.file("product.log"))?;
        let mut token = token_command(&program, &data_dir, "bench-admin");
        let admin_token = capture(token.args(["--scope", "admin"]))?.trim().to_owned();
        let coupon_id = String::new();
        let mut product = Self { served, program, data_dir, admin_token, coupon_id };
        let coupon = product.post("/v1/coupons", &coupon())?;
        product.coupon_id = id(&coupon)?;
        Ok(product)
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

    /// Writes tokens of `NAME-1` … `NAME-count` to a file, one a line.
    ///
    /// # Errors
    /// When the product cannot sign them.
    pub(crate) fn write_tokens(&self, name: &str, count: u64, file: &Path) -> anyhow::Result<()> {
        let mut command = token_command(&self.program, &self.data_dir, name);
        command.args(["--count", &count.to_string()]).stdin(Stdio::null());
        let status = command.stdout(File::create(file)?).status()?;
        anyhow::ensure!(status.success(), "`{}` failed ({status})", show(&command));
        Ok(())
    }

    /// The token of one shopper.
    ///
    /// # Errors
    /// When the product cannot sign it.
    pub(crate) fn token(&self, name: &str) -> anyhow::Result<String> {
        let mut command = token_command(&self.program, &self.data_dir, name);
        Ok(capture(&mut command)?.trim().to_owned())
    }

    /// Drains and ends the product.
    ///
    /// # Errors
    /// When it does not end cleanly.
    pub(crate) fn stop(self) -> anyhow::Result<()> {
        self.served.terminate()
    }

    /// A new connection: minutes may lie between two calls, and the product closes idle ones.
    fn connect(&self) -> anyhow::Result<Connection> {
        Connection::open(self.served.address)
    }

    fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.connect()?.call("POST", path, Some(&self.admin_token), Some(body))?.json(201)
    }
}

/// The command that signs tokens for a name with the product's own key.
fn token_command(program: &Path, data_dir: &Path, name: &str) -> Command {
    let mut command = Command::new(program);
    command.args(["token", "--sub", name, "--ttl", "2h", "--data-dir"]).arg(data_dir);
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
