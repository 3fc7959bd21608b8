//! A process that was started earlier, known again from outside.

use std::fmt;
use std::thread::sleep;
use std::time::Duration;

use anyhow::Context as _;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use crate::stopwatch::Stopwatch;

const END_SAMPLE: Duration = Duration::from_millis(20);
/// Longest that the kernel may take to end a process that was killed.
const KILL_WAIT_MAX: Duration = Duration::from_secs(10);

/// A process. When it began tells it from a later one that has its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Recorded {
    pub(crate) pid: u32,
    /// In the kernel's ticks since it booted.
    begun_ticks: u64,
    /// Where it listens.
    pub(crate) port: u16,
}

impl Recorded {
    /// The process of that number, when it runs; one that has ended and that nobody has waited for
    /// does not.
    pub(crate) fn of(pid: u32, port: u16) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Some(Self { pid, begun_ticks: begun_ticks(&stat)?, port })
    }

    /// Reads what [`fmt::Display`] has written.
    ///
    /// # Errors
    /// When the text is another.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let mut words = text.split_whitespace();
        let mut next = || words.next().context("too short: process, begin and port belong here");
        let (pid, begun_ticks, port) = (next()?.parse()?, next()?.parse()?, next()?.parse()?);
        anyhow::ensure!(words.next().is_none(), "too long");
        Ok(Self { pid, begun_ticks, port })
    }

    /// Whether it is still this process that has the number.
    pub(crate) fn is_running(&self) -> bool {
        Self::of(self.pid, self.port) == Some(*self)
    }

    /// How long it has been running.
    pub(crate) fn age(&self) -> Option<Duration> {
        let uptime = std::fs::read_to_string("/proc/uptime").ok()?;
        let uptime_s: f64 = uptime.split_whitespace().next()?.parse().ok()?;
        let begun_s = self.begun_ticks / rustix::param::clock_ticks_per_second();
        Duration::try_from_secs_f64(uptime_s).ok()?.checked_sub(Duration::from_secs(begun_s))
    }

    /// Asks it to end, kills it when the time is over, and says which it was.
    ///
    /// # Errors
    /// When it may not be signalled, or survives.
    pub(crate) fn end(&self, signal: Signal, wait_max: Duration) -> anyhow::Result<&'static str> {
        self.signal(signal)?;
        let is_polite = self.is_gone_after(wait_max);
        if !is_polite {
            self.signal(Signal::KILL)?;
            anyhow::ensure!(self.is_gone_after(KILL_WAIT_MAX), "process {} does not end", self.pid);
        }
        match waitpid(Some(self.pid()?), WaitOptions::NOHANG) {
            // This call has started it and had to wait for it, or an earlier call had.
            Ok(_) | Err(Errno::CHILD) => {}
            Err(error) => return Err(error).with_context(|| format!("waiting for {}", self.pid)),
        }
        Ok(if is_polite { "ended" } else { "did not end by itself and was killed" })
    }

    fn pid(&self) -> anyhow::Result<Pid> {
        i32::try_from(self.pid).ok().and_then(Pid::from_raw).context("no number of a process")
    }

    /// Signals it, unless it has gone.
    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        if !self.is_running() {
            return Ok(());
        }
        match kill_process(self.pid()?, signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("cannot signal {}", self.pid)),
        }
    }

    fn is_gone_after(&self, wait_max: Duration) -> bool {
        let time = Stopwatch::start();
        while self.is_running() {
            if time.elapsed() >= wait_max {
                return false;
            }
            sleep(END_SAMPLE);
        }
        true
    }
}

impl fmt::Display for Recorded {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{} {} {}", self.pid, self.begun_ticks, self.port)
    }
}

/// When a process began, from its line of `/proc`; none when it has ended.
fn begun_ticks(stat: &str) -> Option<u64> {
    // The name in parentheses may hold spaces; the state is the first field behind it, the begin
    // the 20th.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let has_ended = matches!(fields.next()?, "Z" | "X");
    fields.nth(18)?.parse().ok().filter(|_| !has_ended)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    const WAIT_MAX: Duration = Duration::from_secs(20);

    #[test]
    fn what_is_written_is_read_again() {
        let recorded = Recorded { pid: 12, begun_ticks: 345, port: 6 };
        assert_eq!(recorded.to_string(), "12 345 6\n");
        assert_eq!(Recorded::parse("12 345 6\n").unwrap(), recorded);
        for other in ["", "12", "12 345", "12 345 x", "12 345 70000", "12 345 6 7"] {
            assert!(Recorded::parse(other).is_err(), "{other}");
        }
    }

    #[test]
    fn the_begin_of_a_process_is_behind_its_name() {
        let stat = |state| format!("7 (a) b) {state} {} 99 100", "0 ".repeat(18).trim_end());
        assert_eq!(begun_ticks(&stat("S")), Some(99));
        assert_eq!(begun_ticks(&stat("Z")), None);
        assert_eq!(begun_ticks("7 (a) S 1"), None);
    }

    #[test]
    fn a_process_is_ended_politely_and_known_to_be_gone() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let recorded = Recorded::of(child.id(), 1).unwrap();
        assert!(recorded.is_running());
        assert!(recorded.age().unwrap() < WAIT_MAX);
        assert_eq!(recorded.end(Signal::TERM, WAIT_MAX).unwrap(), "ended");
        assert!(child.wait().is_err(), "it has been waited for");
        assert_eq!(recorded.end(Signal::TERM, WAIT_MAX).unwrap(), "ended");
    }

    #[test]
    fn a_process_that_does_not_listen_is_killed() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let recorded = Recorded::of(child.id(), 1).unwrap();
        // A signal that a process ignores unless it says otherwise.
        let how = recorded.end(Signal::WINCH, Duration::from_millis(50)).unwrap();
        assert_eq!(how, "did not end by itself and was killed");
        assert!(child.wait().is_err(), "it has been waited for");
    }

    #[test]
    fn a_later_process_of_the_same_number_is_left_alone() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let recorded = Recorded::of(child.id(), 1).unwrap();
        let earlier = Recorded { begun_ticks: recorded.begun_ticks - 1, ..recorded };
        assert!(!earlier.is_running());
        assert_eq!(earlier.end(Signal::KILL, WAIT_MAX).unwrap(), "ended");
        assert!(recorded.is_running(), "it was not ours");
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
