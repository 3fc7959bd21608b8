//! A server that runs as a process of its own: what one can do to it and see of it from outside.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::Context as _;

use super::http::Connection;
use super::processor;
use crate::process::{run, show};
use crate::stopwatch::Stopwatch;

/// Longest time that a server may take to answer first; under an instrument it is slow.
const READY_WAIT_MAX: Duration = Duration::from_secs(180);
/// Longest time that a server may take to end by itself.
const EXIT_WAIT_MAX: Duration = Duration::from_secs(180);

/// A running server; it is killed when the value goes.
pub(crate) struct Served {
    child: Child,
    shown: String,
    pub(crate) address: SocketAddr,
    /// From the start of the process to its first answer.
    pub(crate) time_to_first_answer: Duration,
}

impl Served {
    /// Starts a server with `--listen` on a free port, and waits until `GET ready_path` is
    /// answered, whatever the answer.
    ///
    /// # Errors
    /// When it cannot be started, ends by itself, or does not answer in time.
    pub(crate) fn start(
        mut command: Command,
        ready_path: &str,
        log: &Path,
    ) -> anyhow::Result<Self> {
        let address = free_address()?;
        let output = File::create(log)?;
        command.args(["--listen", &address.to_string()]).stdin(Stdio::null());
        command.stderr(output.try_clone()?).stdout(output);
        let shown = show(&command);
        let time = Stopwatch::start();
        let child = command.spawn().with_context(|| format!("cannot start `{shown}`"))?;
        let mut served = Self { child, shown, address, time_to_first_answer: Duration::ZERO };
        while Connection::open(address)
            .and_then(|mut connection| connection.get(ready_path))
            .is_err()
        {
            if let Some(status) = served.child.try_wait()? {
                let log = std::fs::read_to_string(log).unwrap_or_default();
                anyhow::bail!("`{}` ended ({status}):\n{log}", served.shown);
            }
            anyhow::ensure!(time.elapsed() < READY_WAIT_MAX, "`{}` does not answer", served.shown);
            sleep(Duration::from_millis(1));
        }
        served.time_to_first_answer = time.elapsed();
        Ok(served)
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The most memory it has held so far, in bytes.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub(crate) fn peak_memory_bytes(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kibibytes = line.and_then(|line| line.split_whitespace().next()).context("no VmHWM")?;
        Ok(kibibytes.parse::<u64>()? * 1024)
    }

    /// Processor time used so far, in the kernel's ticks.
    ///
    /// # Errors
    /// When it has ended.
    pub(crate) fn processor_ticks(&self) -> anyhow::Result<u64> {
        processor::own_ticks(self.pid())
    }

    /// Asks it to end (SIGTERM) and waits until it has.
    ///
    /// # Errors
    /// When it does not end, or not with success.
    pub(crate) fn terminate(mut self) -> anyhow::Result<()> {
        run(Command::new("kill").args(["-TERM", &self.pid().to_string()]))?;
        let time = Stopwatch::start();
        loop {
            if let Some(status) = self.child.try_wait()? {
                anyhow::ensure!(status.success(), "`{}` ended with {status}", self.shown);
                return Ok(());
            }
            anyhow::ensure!(time.elapsed() < EXIT_WAIT_MAX, "`{}` does not end", self.shown);
            sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // Both fail only when the process has ended already, which is what is wanted.
        if self.child.kill().is_ok() {
            drop(self.child.wait());
        }
    }
}

/// An address of this machine that nobody listens on at the moment.
fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_ends_at_once_is_an_error_with_its_log() {
        let log = tempfile::NamedTempFile::new().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo no such luck; exit 3"]);
        let error = Served::start(command, "/", log.path()).err().unwrap().to_string();
        assert!(error.contains("exit status: 3") && error.contains("no such luck"), "{error}");
    }

    #[test]
    fn memory_and_work_are_seen_from_outside() {
        let child = Command::new("sleep").arg("60").spawn().unwrap();
        let address = free_address().unwrap();
        let shown = "sleep".to_owned();
        let served = Served { child, shown, address, time_to_first_answer: Duration::ZERO };
        let ticks = || served.processor_ticks();
        let idle = processor::wait_until_idle("sleep", processor::IDLE_TICKS_MAX, ticks);
        assert_eq!(idle.unwrap(), Duration::ZERO);
        assert!(served.peak_memory_bytes().unwrap() > 0);
        assert!(served.terminate().is_err(), "sleep has no clean end");
    }
}
