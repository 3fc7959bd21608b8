//! `cargo xtask services`: PostgreSQL, MariaDB, Redis and Kafka for the tests, on loopback.
//!
//! A server that the environment names is only asked whether it answers; else a container engine
//! that answers runs it; else it is a process of this machine, installed where it is missing.
//!
//! In reading order: [`origin`] chooses between the three, [`place`] is where a service's files
//! lie, [`start`] brings one up; [`daemon`] runs programs and waits for them, [`install`] finds
//! them, [`recorded`] knows a process again, [`compose`] speaks with the engine. One file for
//! each server says how it is created, started and asked.

mod answer;
mod compose;
pub(crate) mod daemon;
mod install;
mod kafka;
mod mariadb;
mod origin;
pub(crate) mod place;
mod postgres;
mod recorded;
mod redis;
mod start;
mod status;

use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use clap::Subcommand;
use indicatif::ProgressBar;
use rustix::process::Signal;

use place::Place;
use recorded::Recorded;

/// Every service, in the order in which they are shown.
static SERVICES: [Service; 4] =
    [postgres::SERVICE, mariadb::SERVICE, redis::SERVICE, kafka::SERVICE];

/// Longest that a server may take to end by itself; then it is killed.
const END_WAIT_MAX: Duration = Duration::from_secs(30);

/// What to do with the servers.
#[derive(Clone, Copy, Subcommand)]
pub(crate) enum Action {
    /// Start what does not run yet, and wait until all of them answer.
    Up,
    /// End what `up` has started; their data stay.
    Down,
    /// Show where each server is, whether it answers, and its URL.
    Status,
}

impl Action {
    /// Does it.
    ///
    /// # Errors
    /// When a server cannot be installed, started or ended: the message has its last log lines.
    pub(crate) fn run(self, root: &Path) -> anyhow::Result<()> {
        match self {
            Self::Up => {
                up(root, &SERVICES)?;
                status::print(root)
            }
            Self::Down => down(root, &[]),
            Self::Status => status::print(root),
        }
    }
}

/// A server that tests and a deployment of several nodes talk to.
struct Service {
    /// Also the name of its directory and of its service for Compose.
    name: &'static str,
    /// The variable that names another server instead, and that tells the tests which it is.
    variable: &'static str,
    /// How its URL may begin; none where it is a list of brokers.
    schemes: &'static [&'static str],
    /// Where it listens when its URL names no port.
    usual_port: u16,
    /// Where ours listens; a higher one where somebody else does.
    port: u16,
    /// The URL of ours, by its port.
    url: fn(u16) -> String,
    /// The programs it needs, each with its package of Debian.
    programs: &'static [(&'static str, &'static str)],
    /// Fetches what is no package of Debian; every time, so that a new version is noticed.
    fetch: fn(&Place) -> anyhow::Result<()>,
    /// Makes its first data in a directory that exists and is empty.
    create: fn(&Place, &Path) -> anyhow::Result<()>,
    /// The server itself, on a port and on the data that were made.
    command: fn(&Place, u16) -> anyhow::Result<Command>,
    /// Whether it answers, by its own protocol, on a connection just made.
    answers: fn(&mut TcpStream) -> std::io::Result<bool>,
    /// Asks it to end without waiting for its clients.
    end_signal: Signal,
}

/// Makes sure that what tests talk to answers, and gives the variables that tell them where.
///
/// # Errors
/// When one does not: the message has its last log lines. The others go on running.
pub(crate) fn up_for_tests(root: &Path) -> anyhow::Result<Vec<(&'static str, String)>> {
    let mut variables = up(root, &SERVICES)?;
    // Tests that kill a broker start it themselves, wherever the others' broker is.
    let _turn = place::take_turn(root)?;
    let log = place::services_dir(root).join("install.log");
    install::programs(&[&kafka::SERVICE], &log, &ProgressBar::hidden())?;
    let jars = kafka::jars(&Place::of(root, kafka::SERVICE.name))?;
    variables.push((kafka::JARS_VARIABLE, jars));
    Ok(variables)
}

/// A service that answers.
pub(crate) struct Running {
    pub(crate) url: String,
    /// Its host and port.
    pub(crate) address: String,
    /// Its first process, where that is one of this machine, started from here.
    pub(crate) pid: Option<u32>,
    /// Whether it was not up before.
    pub(crate) is_new: bool,
}

/// Makes sure that the service of that name answers.
///
/// # Errors
/// When it does not: the message has its last log lines; or when there is no such service.
pub(crate) fn up_one(root: &Path, name: &str) -> anyhow::Result<Running> {
    let index = SERVICES.iter().position(|service| service.name == name);
    let index = index.with_context(|| format!("there is no service {name}"))?;
    let service = &SERVICES[index];
    let is_new = !running(root)?.contains(&name);
    let urls = up(root, &SERVICES[index..=index])?;
    let (_, url) = urls.into_iter().next().context("a service without a URL")?;
    let is_named = std::env::var(service.variable).is_ok_and(|value| !value.is_empty());
    let process = service.running(&Place::of(root, name))?.filter(|_| !is_named);
    let pid = process.map(|recorded| recorded.pid);
    Ok(Running { address: origin::address_of(service, &url)?, url, pid, is_new })
}

/// Ends the service of that name, if it was started from here.
///
/// # Errors
/// When it cannot be ended.
pub(crate) fn down_one(root: &Path, name: &str) -> anyhow::Result<()> {
    let _turn = place::take_turn(root)?;
    let service = SERVICES.iter().find(|service| service.name == name);
    service.map_or(Ok(()), |service| end(service, &Place::of(root, name)))
}

/// The names of the services that run here, as processes or containers.
///
/// # Errors
/// When what is known of one cannot be read.
pub(crate) fn running(root: &Path) -> anyhow::Result<Vec<&'static str>> {
    let mut running = Vec::new();
    for service in &SERVICES {
        let place = Place::of(root, service.name);
        if place.is_composed() || service.running(&place)?.is_some() {
            running.push(service.name);
        }
    }
    Ok(running)
}

fn up(root: &Path, services: &'static [Service]) -> anyhow::Result<Vec<(&'static str, String)>> {
    let _turn = place::take_turn(root)?;
    start::all(root, services)
}

/// Ends the processes and containers that were started from here, those of these names aside, and
/// nothing else.
///
/// # Errors
/// When one cannot be ended; the others are, all the same.
pub(crate) fn down(root: &Path, kept: &[&str]) -> anyhow::Result<()> {
    let _turn = place::take_turn(root)?;
    let mut faults = Vec::new();
    for service in SERVICES.iter().filter(|service| !kept.contains(&service.name)) {
        let place = Place::of(root, service.name);
        if let Err(error) = end(service, &place) {
            faults.push(format!("{}: {error:#}", service.name));
        }
    }
    anyhow::ensure!(faults.is_empty(), "{}", faults.join("\n"));
    Ok(())
}

/// Ends one service and forgets that it ran.
fn end(service: &Service, place: &Place) -> anyhow::Result<()> {
    if place.is_composed() {
        compose::down(place, service.name)?;
        place.forget_composed()?;
        println!("services: {} ended", service.name);
    }
    let Some(recorded) = place.recorded()? else { return Ok(()) };
    if recorded.is_running() {
        let how = recorded.end(service.end_signal, END_WAIT_MAX)?;
        println!("services: {} {how}", service.name);
    }
    place.forget_process()
}

impl Service {
    /// The server of this machine and its port, when it runs.
    fn running(&self, place: &Place) -> anyhow::Result<Option<Recorded>> {
        let recorded = place.recorded().with_context(|| format!("the state of {}", self.name))?;
        Ok(recorded.filter(Recorded::is_running))
    }

    /// Whether what listens at an address answers as this service does.
    fn answers_at(&self, address: &str) -> bool {
        answer::connect(address).and_then(|mut stream| (self.answers)(&mut stream)).unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_url_leads_to_the_port_of_its_service() {
        for service in &SERVICES {
            let url = (service.url)(service.port);
            let address = origin::address_of(service, &url).unwrap();
            assert_eq!(address, format!("127.0.0.1:{}", service.port));
        }
    }

    #[test]
    fn what_is_started_for_tests_is_what_they_talk_to() {
        let testkit = concat!(
            include_str!("../../crates/testkit/src/database.rs"),
            include_str!("../../crates/testkit/src/kafka_server.rs"),
            include_str!("../../crates/testkit/src/redis_server.rs")
        );
        for service in &SERVICES {
            let starts = |program: &str| testkit.contains(&format!("program(\"{program}\")"));
            let is_used = testkit.contains(service.variable)
                || service.programs.iter().any(|(program, _)| starts(program));
            assert!(is_used, "{}", service.name);
        }
    }

    #[test]
    fn what_ran_before_is_kept() {
        let root = tempfile::tempdir().unwrap();
        let mut children = Vec::new();
        for service in [&redis::SERVICE, &kafka::SERVICE] {
            let place = Place::of(root.path(), service.name);
            place.make().unwrap();
            let child = Command::new("sleep").arg("60").spawn().unwrap();
            place.record(&Recorded::of(child.id(), service.port).unwrap()).unwrap();
            children.push(child);
        }
        assert_eq!(running(root.path()).unwrap(), ["redis", "kafka"]);
        down(root.path(), &["kafka"]).unwrap();
        assert_eq!(running(root.path()).unwrap(), ["kafka"]);
        down(root.path(), &[]).unwrap();
        assert_eq!(running(root.path()).unwrap(), [""; 0]);
        for mut child in children {
            assert!(child.wait().is_err(), "it has been waited for");
        }
    }

    #[test]
    fn the_services_have_ports_and_variables_of_their_own() {
        let ports: std::collections::BTreeSet<_> =
            SERVICES.iter().map(|service| service.port).collect();
        let variables: std::collections::BTreeSet<_> =
            SERVICES.iter().map(|service| service.variable).collect();
        assert_eq!((ports.len(), variables.len()), (SERVICES.len(), SERVICES.len()));
        for service in &SERVICES {
            assert!(service.variable.starts_with("FIRSTCOME_TEST_"), "{}", service.variable);
        }
    }
}
