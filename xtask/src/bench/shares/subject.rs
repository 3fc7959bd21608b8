//! One product under measurement.

use std::sync::Arc;

use indicatif::ProgressBar;

use super::kind::Kind;
use super::loads::Loads;
use crate::bench::flood;
use crate::bench::ledger::{Home, Ledger};
use crate::bench::processor::Cost;
use crate::bench::product::{Product, QUANTITY_MAX};
use crate::bench::server::Server;
use crate::bench::wrk::Load;

const MY_COUPONS: &str = "/v1/me/coupons";

/// What one run of the load generator saw, and what it has cost.
pub(crate) struct Sample {
    pub(crate) load: Load,
    pub(crate) cost: Cost,
}

/// A product, what it has been asked so far, and what was seen of it beside the rates.
pub(crate) struct Subject {
    pub(crate) ledger: Ledger,
    product: Product,
    /// Who claims outside of the measurements.
    outsider: String,
    latecomer: String,
    /// The claims of the event that the readers hold a coupon of.
    held_path: String,
    claims_won: u64,
    settled_seconds: Vec<f64>,
}

/// What was seen of a product beside the rates.
pub(crate) struct Account {
    pub(crate) ledger: Ledger,
    pub(crate) claims_won: u64,
    pub(crate) settled_seconds: Vec<f64>,
    pub(crate) peak_memory_bytes: u64,
    pub(crate) first_start_ms: u128,
    pub(crate) second_start_ms: u128,
    /// Of the database server; none without one.
    pub(crate) settings: Vec<String>,
}

impl Subject {
    /// Starts a product and has every reader win a coupon.
    ///
    /// # Errors
    /// When it does not start, or a claim does not win.
    pub(crate) fn start(
        ledger: Ledger,
        server: Option<&Arc<Server>>,
        loads: &Loads<'_>,
    ) -> anyhow::Result<Self> {
        let home = Home::on(server, loads.workshop, ledger.word())?;
        home.share_key_of(&loads.key_dir)?;
        let product = Product::start(loads.workshop, home, None)?;
        let held_path = product.open_event(QUANTITY_MAX)?;
        let address = product.served.address;
        let (connections, bar) = (flood::CONNECTIONS, ProgressBar::hidden());
        flood::claim_all(address, &held_path, &loads.readers, connections, &bar)?;
        product.come_to_rest()?;
        Ok(Self {
            ledger,
            outsider: product.token("outsider")?,
            latecomer: product.token("latecomer")?,
            claims_won: product.audit(&held_path)?,
            product,
            held_path,
            settled_seconds: Vec::new(),
        })
    }

    /// The size of the answers to one kind of request, in bytes.
    ///
    /// # Errors
    /// When the product answers otherwise than expected.
    pub(crate) fn body_bytes(&mut self, kind: Kind, loads: &Loads<'_>) -> anyhow::Result<usize> {
        match kind {
            Kind::Wins => {
                self.claims_won += 1;
                let path = self.product.open_event(1)?;
                self.product.claim_once(&path, &self.outsider, 201)
            }
            Kind::SoldOut => {
                let path = self.sold_out_event()?;
                self.product.claim_once(&path, &self.latecomer, 409)
            }
            Kind::EventPage => self.product.read_once(&self.page(), None),
            Kind::MyCoupons => self.product.read_once(MY_COUPONS, Some(&loads.first_reader()?)),
        }
    }

    /// Measures one kind of request.
    ///
    /// # Errors
    /// When an answer is another than expected, or an audit fails.
    pub(crate) fn measure(&mut self, kind: Kind, loads: &Loads<'_>) -> anyhow::Result<Sample> {
        let sample = match kind {
            Kind::Wins => self.wins(loads)?,
            Kind::SoldOut => self.sold_out(loads)?,
            Kind::EventPage => self.read(kind, &self.page(), loads)?,
            Kind::MyCoupons => self.read(kind, MY_COUPONS, loads)?,
        };
        // What the product and its server do afterwards must not weigh on the next measurement.
        self.product.come_to_rest()?;
        Ok(sample)
    }

    fn wins(&mut self, loads: &Loads<'_>) -> anyhow::Result<Sample> {
        let path = self.product.open_event(QUANTITY_MAX)?;
        let (sample, settled_seconds) = self.sample(Kind::Wins, &path, loads)?;
        let load = &sample.load;
        anyhow::ensure!(load.refused == 0, "not every claim won: {load:?}");
        anyhow::ensure!(load.rewinds == 0, "the tokens ran out: raise --tokens-per-second");
        self.settled_seconds.push(settled_seconds);
        let issued = self.product.audit(&path)?;
        anyhow::ensure!(issued >= load.requests, "{issued} issued, {} won", load.requests);
        self.claims_won += issued;
        Ok(sample)
    }

    fn sold_out(&mut self, loads: &Loads<'_>) -> anyhow::Result<Sample> {
        let path = self.sold_out_event()?;
        let (sample, _) = self.sample(Kind::SoldOut, &path, loads)?;
        let load = &sample.load;
        anyhow::ensure!(load.refused == load.requests, "a claim won: {load:?}");
        anyhow::ensure!(self.product.audit(&path)? == 1, "more than one coupon was issued");
        Ok(sample)
    }

    fn read(&self, kind: Kind, path: &str, loads: &Loads<'_>) -> anyhow::Result<Sample> {
        let (sample, _) = self.sample(kind, path, loads)?;
        anyhow::ensure!(sample.load.refused == 0, "a read was refused: {:?}", sample.load);
        Ok(sample)
    }

    /// One run of the load generator, and the seconds that the work has gone on after it.
    fn sample(&self, kind: Kind, path: &str, loads: &Loads<'_>) -> anyhow::Result<(Sample, f64)> {
        let before = self.product.processor_time()?;
        let load = loads.send(kind, self.product.served.address, path)?;
        let settled = self.product.wait_until_idle()?;
        let cost = self.product.processor_time()?.cost_since(before, load.requests);
        Ok((Sample { load, cost }, settled.as_secs_f64()))
    }

    fn sold_out_event(&mut self) -> anyhow::Result<String> {
        let path = self.product.open_event(1)?;
        self.product.claim_once(&path, &self.outsider, 201)?;
        self.claims_won += 1;
        Ok(path)
    }

    fn page(&self) -> String {
        self.held_path.replace("/claims", "")
    }

    /// Starts the product once more, on the full ledger, and tells what was seen.
    ///
    /// # Errors
    /// When it does not end or start.
    pub(crate) fn finish(self, loads: &Loads<'_>) -> anyhow::Result<Account> {
        let peak_memory_bytes = self.product.served.peak_memory_bytes()?;
        let first_start_ms = self.product.served.time_to_first_answer.as_millis();
        let home = self.product.stop()?;
        let settings = home.database.as_ref().map(|database| database.server().settings());
        let settings = settings.transpose()?.unwrap_or_default();
        let again = Product::start(loads.workshop, home, None)?;
        let second_start_ms = again.served.time_to_first_answer.as_millis();
        again.stop()?;
        Ok(Account {
            ledger: self.ledger,
            claims_won: self.claims_won,
            settled_seconds: self.settled_seconds,
            peak_memory_bytes,
            first_start_ms,
            second_start_ms,
            settings,
        })
    }
}
