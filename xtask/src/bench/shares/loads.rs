//! What is sent in every measurement: the same tokens to the limit server and to each product.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context as _;

use super::kind::Kind;
use crate::bench::served::Served;
use crate::bench::wrk::{self, Load, Requests};
use crate::bench::{Workshop, product};

/// Users who hold one coupon, and read it.
pub(crate) const READERS: u64 = 20_000;

const NO_EVENT: &str = "/v1/events/00000000-0000-7000-8000-000000000000";

/// Tokens, and how long they are sent.
pub(crate) struct Loads<'a> {
    pub(crate) workshop: &'a Workshop,
    seconds: u32,
    /// Where the key lies that has signed the tokens.
    pub(crate) key_dir: PathBuf,
    /// One token a line, as the next one.
    claimers: PathBuf,
    pub(crate) readers: PathBuf,
}

impl<'a> Loads<'a> {
    /// Signs the tokens, so many of them for claims.
    ///
    /// # Errors
    /// When the product cannot sign them.
    pub(crate) fn prepare(
        workshop: &'a Workshop,
        claimers: u64,
        seconds: u32,
    ) -> anyhow::Result<Self> {
        let key_dir = workshop.file("key");
        let program = workshop.program("firstcome");
        let write = |name: &str, count: u64| {
            let file = workshop.file(name);
            product::write_tokens(&program, &key_dir, name, count, &file)?;
            wrk::deal_tokens(&file)?;
            anyhow::Ok(file)
        };
        let (claimers, readers) = (write("claimer", claimers)?, write("reader", READERS)?);
        Ok(Self { workshop, seconds, key_dir, claimers, readers })
    }

    /// The token of one who holds a coupon.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn first_reader(&self) -> anyhow::Result<String> {
        let mut tokens = BufReader::new(File::open(&self.readers)?).lines();
        Ok(tokens.next().context("there are no readers")??)
    }

    /// Sends one kind of request to a path for some seconds.
    ///
    /// # Errors
    /// When a connection fails.
    pub(crate) fn send(&self, kind: Kind, to: SocketAddr, path: &str) -> anyhow::Result<Load> {
        let tokens = match kind {
            Kind::Wins | Kind::SoldOut => Some(self.claimers.as_path()),
            Kind::EventPage => None,
            Kind::MyCoupons => Some(self.readers.as_path()),
        };
        let paths = [path.to_owned()];
        let connections = wrk::CONNECTIONS;
        let requests = Requests { method: kind.method(), paths: &paths, tokens, connections };
        wrk::send(self.workshop, to, &requests, self.seconds)
    }

    /// Measures the limit server with answers of this size.
    ///
    /// # Errors
    /// When it refuses one.
    pub(crate) fn limit(&self, kind: Kind, body_bytes: usize) -> anyhow::Result<Load> {
        let mut command = Command::new(self.workshop.program("limit"));
        command.args(["--body-bytes", &body_bytes.to_string()]);
        let served = Served::start(command, "/", &self.workshop.file("limit.log"))?;
        let path = match kind {
            Kind::Wins | Kind::SoldOut => format!("{NO_EVENT}/claims"),
            Kind::EventPage => NO_EVENT.to_owned(),
            Kind::MyCoupons => "/v1/me/coupons".to_owned(),
        };
        let load = self.send(kind, served.address, &path)?;
        anyhow::ensure!(load.refused == 0, "the limit server refused: {load:?}");
        Ok(load)
    }
}
