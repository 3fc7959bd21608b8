//! Bringing the servers up, all at once, with what each is doing shown.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::origin::{Origin, choose, named};
use super::place::{Place, remove, services_dir};
use super::recorded::Recorded;
use super::{Service, compose, daemon, install};
use crate::stopwatch::Stopwatch;

/// Longest that a server may take to answer first.
const READY_WAIT_MAX: Duration = Duration::from_secs(120);
/// Longest that we wait for a server that somebody else runs.
const NAMED_WAIT_MAX: Duration = Duration::from_secs(5);
/// How far apart the ports lie that are tried, and how many; Kafka needs two.
const PORT_STEP: u16 = 10;
const PORTS_MAX: u16 = 8;

/// One service that shall answer.
struct Start {
    service: &'static Service,
    place: Place,
    origin: Origin,
    /// Our process, when it runs already.
    running: Option<Recorded>,
}

/// Makes sure that each of these services answers, and gives its variable and URL.
///
/// # Errors
/// When one does not; the others go on running.
pub(crate) fn all(
    root: &Path,
    services: &'static [Service],
) -> anyhow::Result<Vec<(&'static str, String)>> {
    let starts = plan(root, services)?;
    let bars = MultiProgress::new();
    install_missing(root, &starts, &bars)?;
    let outcomes: Vec<anyhow::Result<String>> = thread::scope(|scope| {
        let run = |start| {
            let bars = &bars;
            scope.spawn(move || Start::run(start, bars))
        };
        let threads: Vec<_> = starts.iter().map(run).collect();
        threads.into_iter().map(|thread| thread.join().expect("a start does not panic")).collect()
    });
    let mut urls = Vec::new();
    let mut faults = Vec::new();
    for (start, outcome) in starts.iter().zip(outcomes) {
        match outcome {
            Ok(url) => urls.push((start.service.variable, url)),
            Err(error) => faults.push(format!("{}: {error:#}", start.service.name)),
        }
    }
    anyhow::ensure!(faults.is_empty(), "{}", faults.join("\n"));
    Ok(urls)
}

/// Where each service shall come from.
fn plan(root: &Path, services: &'static [Service]) -> anyhow::Result<Vec<Start>> {
    let mut engine = None;
    let mut starts = Vec::new();
    for service in services {
        let place = Place::of(root, service.name);
        place.make()?;
        let running = service.running(&place)?;
        let named = named(service, std::env::var(service.variable).ok())?;
        let log = services_dir(root).join("engine.log");
        let origin = choose(named, running.is_some(), || {
            *engine.get_or_insert_with(|| compose::engine_answers(&log))
        });
        starts.push(Start { service, place, origin, running });
    }
    Ok(starts)
}

/// Installs the programs of what is to be started here.
fn install_missing(root: &Path, starts: &[Start], bars: &MultiProgress) -> anyhow::Result<()> {
    let is_needed = |start: &&Start| start.origin == Origin::Native && start.running.is_none();
    let services: Vec<&Service> =
        starts.iter().filter(is_needed).map(|start| start.service).collect();
    let bar = bars.add(spinner("packages"));
    let outcome = install::programs(&services, &services_dir(root).join("install.log"), &bar);
    bar.finish_and_clear();
    outcome
}

impl Start {
    /// Brings the service up, says so, and gives its URL.
    fn run(&self, bars: &MultiProgress) -> anyhow::Result<String> {
        let bar = bars.add(spinner(self.service.name));
        let time = Stopwatch::start();
        let outcome = match &self.origin {
            Origin::Named(named) => self.ask(&named.address).map(|()| named.url.clone()),
            Origin::Compose => self.compose(&bar).map(|()| self.url(self.service.port)),
            Origin::Native => self.native(&bar).map(|port| self.url(port)),
        };
        bar.finish_and_clear();
        let seconds = time.elapsed().as_secs_f64();
        let word = if outcome.is_ok() { "answers" } else { "FAILED" };
        bars.suspend(|| {
            println!("services: {} {word} after {seconds:.1} s", self.service.name);
        });
        outcome
    }

    fn url(&self, port: u16) -> String {
        (self.service.url)(port)
    }

    fn answers_on(&self, port: u16) -> bool {
        self.service.answers_at(&local(port))
    }

    /// Waits for a server that somebody else runs.
    fn ask(&self, address: &str) -> anyhow::Result<()> {
        let is_ready = || self.service.answers_at(address);
        daemon::wait_until_ready(NAMED_WAIT_MAX, is_ready, || Ok(None))
            .with_context(|| format!("{address}, which {} names", self.service.variable))
    }

    fn compose(&self, bar: &ProgressBar) -> anyhow::Result<()> {
        let name = self.service.name;
        bar.set_message("starting its container");
        compose::up(&self.place, name)?;
        let is_ready = || self.answers_on(self.service.port);
        daemon::wait_until_ready(READY_WAIT_MAX, is_ready, || Ok(None)).map_err(|error| {
            anyhow::anyhow!("its container {error:#}{}", compose::last_lines(&self.place, name))
        })
    }

    /// Starts the server here, unless it runs, and gives its port.
    fn native(&self, bar: &ProgressBar) -> anyhow::Result<u16> {
        if let Some(running) = self.running {
            bar.set_message("running, asking");
            return self.native_again(&running);
        }
        bar.set_message("fetching");
        (self.service.fetch)(&self.place)?;
        if !self.place.data().exists() {
            bar.set_message("making its data");
            self.create_data()?;
        }
        bar.set_message("starting");
        let port = free_port(self.service.port)?;
        let started = |pid| match Recorded::of(pid, port) {
            Some(process) => self.place.record(&process),
            None => Ok(()),
        };
        let mut command = (self.service.command)(&self.place, port)?;
        let is_ready = || self.answers_on(port);
        let outcome =
            daemon::start(&mut command, &self.place.log(), READY_WAIT_MAX, started, is_ready);
        if outcome.is_err() {
            self.place.forget_process()?;
        }
        outcome.map(|()| port)
    }

    /// Waits for a server that was started earlier.
    fn native_again(&self, running: &Recorded) -> anyhow::Result<u16> {
        let is_ready = || self.answers_on(running.port);
        let ended = || Ok((!running.is_running()).then(|| "while it was asked".to_owned()));
        daemon::wait_until_ready(READY_WAIT_MAX, is_ready, ended).map_err(|error| {
            anyhow::anyhow!("{error:#}{}", daemon::last_lines(&self.place.log()))
        })?;
        Ok(running.port)
    }

    /// Makes the first data beside their place, so that what was interrupted is not taken for data.
    fn create_data(&self) -> anyhow::Result<()> {
        let partial = self.place.file("data.partial");
        remove(&partial)?;
        std::fs::create_dir(&partial).with_context(|| partial.display().to_string())?;
        (self.service.create)(&self.place, &partial)?;
        Ok(std::fs::rename(partial, self.place.data())?)
    }
}

/// An address of this machine.
pub(crate) fn local(port: u16) -> String {
    format!("{}:{port}", Ipv4Addr::LOCALHOST)
}

/// The first port, from the service's own upwards, that nobody has, nor the one after it: another
/// workspace of this machine may have its servers up.
fn free_port(first: u16) -> anyhow::Result<u16> {
    let is_free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    let mut ports = (0..PORTS_MAX).map(|turn| first + turn * PORT_STEP);
    ports.find(|port| is_free(*port) && is_free(*port + 1)).with_context(|| {
        format!("port {first} and {} more are taken by other programs", PORTS_MAX - 1)
    })
}

/// A line that shows what is being done for a service, and that it has not stopped.
fn spinner(name: &'static str) -> ProgressBar {
    let template = "{spinner} {prefix:<9} {msg} ({elapsed})";
    let style = ProgressStyle::with_template(template).expect("the template is well formed");
    let bar = ProgressBar::new_spinner().with_style(style).with_prefix(name);
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::services::SERVICES;

    /// Where the kernel begins to give out ports by itself, on Linux.
    const EPHEMERAL_PORTS_MIN: u16 = 32_768;

    #[test]
    fn no_port_is_one_that_the_kernel_gives_to_others() {
        for service in &SERVICES {
            assert!(service.port + PORTS_MAX * PORT_STEP < EPHEMERAL_PORTS_MIN, "{}", service.name);
        }
    }

    #[test]
    fn a_port_that_is_taken_is_passed_over() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let given = |first| free_port(first).unwrap();
        assert_ne!(given(port), port);
        assert_ne!(given(port - 1), port - 1, "the next one is needed too");
    }

    /// A server that is a script, and creates nothing.
    const SCRIPT: Service = Service {
        name: "script",
        create: |_, _| Ok(()),
        command: |_, _| {
            let mut command = Command::new("sh");
            command.args(["-c", "echo no space left; exit 3"]);
            Ok(command)
        },
        answers: |_| Ok(false),
        ..crate::services::redis::SERVICE
    };

    /// Starts a service here, in a workspace of its own.
    fn start(service: &'static Service) -> (String, Place, tempfile::TempDir) {
        let root = tempfile::tempdir().unwrap();
        let place = Place::of(root.path(), service.name);
        place.make().unwrap();
        let start = Start { service, place: place.clone(), origin: Origin::Native, running: None };
        let error = start.run(&MultiProgress::new()).unwrap_err();
        (format!("{error:#}"), place, root)
    }

    #[test]
    fn a_start_that_fails_shows_what_the_server_said_and_is_forgotten() {
        let (error, place, _root) = start(&SCRIPT);
        assert!(error.contains("ended (exit status: 3)"), "{error}");
        assert!(error.ends_with("server.log:\n  no space left"), "{error}");
        assert_eq!(place.recorded().unwrap(), None);
        assert!(place.data().exists(), "the data are whole, only the server is not");
    }

    #[test]
    fn data_that_are_not_whole_are_no_data() {
        const HALF: Service = Service {
            create: |_, data| {
                std::fs::write(data.join("first"), "")?;
                anyhow::bail!("interrupted")
            },
            ..SCRIPT
        };
        let (error, place, _root) = start(&HALF);
        assert_eq!(error, "interrupted");
        assert!(!place.data().exists());
    }
}
