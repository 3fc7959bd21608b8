//! Processor time of processes, as the kernel counts it: user and system.

use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use anyhow::Context as _;

use crate::stopwatch::Stopwatch;

/// Longest time that something may go on working after the last request.
const IDLE_WAIT_MAX: Duration = Duration::from_secs(600);
/// Longer than the pauses of what works in the background.
const IDLE_SAMPLE: Duration = Duration::from_millis(1_500);
/// Ticks that a product and its database server may use in one sample and be idle.
pub(crate) const IDLE_TICKS_MAX: u64 = 6;
/// How often a family is counted again because one of it ended meanwhile.
const COUNTS_MAX: u32 = 100;

/// What a product and the database server behind it have used, in the kernel's ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Used {
    pub(crate) product_ticks: u64,
    /// None where there is no server, or its processes cannot be seen.
    pub(crate) database_ticks: Option<u64>,
}

/// Processor time for one of many requests, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Cost {
    pub(crate) product_us: f64,
    pub(crate) database_us: Option<f64>,
}

impl Used {
    pub(crate) fn ticks(self) -> u64 {
        self.product_ticks + self.database_ticks.unwrap_or(0)
    }

    /// What one of so many requests has cost since.
    #[expect(clippy::cast_precision_loss, reason = "ticks of one run are far below 2^52")]
    pub(crate) fn cost_since(self, earlier: Self, requests: u64) -> Cost {
        let tick_us = 1e6 / rustix::param::clock_ticks_per_second() as f64;
        let each = |ticks: u64| ticks as f64 * tick_us / requests as f64;
        let database = self.database_ticks.zip(earlier.database_ticks);
        Cost {
            product_us: each(self.product_ticks - earlier.product_ticks),
            database_us: database.map(|(now, before)| each(now - before)),
        }
    }
}

impl Cost {
    pub(crate) fn total_us(self) -> f64 {
        self.product_us + self.database_us.unwrap_or(0.0)
    }
}

/// Ticks that a process has used itself.
///
/// # Errors
/// When it has ended.
pub(crate) fn own_ticks(pid: u32) -> anyhow::Result<u64> {
    Ok(Stat::read(pid)?.own_ticks)
}

/// Ticks that a process and its children have used, those that have ended too.
///
/// # Errors
/// When it has ended, or its children come and go too fast to be counted.
pub(crate) fn family_ticks(pid: u32) -> anyhow::Result<u64> {
    for _ in 0..COUNTS_MAX {
        let before = Stat::read(pid)?;
        let children = children_ticks(pid)?;
        let after = Stat::read(pid)?;
        // A child that ends passes its ticks on to its parent: between the two they would count
        // twice, or not at all.
        if before.ended_ticks == after.ended_ticks {
            return Ok(after.own_ticks + after.ended_ticks + children);
        }
    }
    anyhow::bail!("the children of process {pid} come and go too fast to be counted")
}

/// Waits until something uses no more than so many of its ticks in one sample, and gives the time
/// that took.
///
/// # Errors
/// When it goes on working, or its ticks cannot be read.
pub(crate) fn wait_until_idle(
    name: &str,
    idle_ticks_max: u64,
    ticks: impl Fn() -> anyhow::Result<u64>,
) -> anyhow::Result<Duration> {
    let time = Stopwatch::start();
    let mut busy_until = Duration::ZERO;
    let mut before = ticks()?;
    while time.elapsed() < IDLE_WAIT_MAX {
        sleep(IDLE_SAMPLE);
        let now = ticks()?;
        if now - before <= idle_ticks_max {
            return Ok(busy_until);
        }
        busy_until = time.elapsed();
        before = now;
    }
    anyhow::bail!("`{name}` is still busy after {IDLE_WAIT_MAX:?}")
}

/// A process's line of `/proc`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    parent: u32,
    own_ticks: u64,
    /// Of the children that it has waited for.
    ended_ticks: u64,
}

impl Stat {
    fn read(pid: u32) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/stat"));
        Self::parse(&text.with_context(|| format!("process {pid} has ended"))?)
    }

    /// The fields are those of proc_pid_stat(5).
    fn parse(stat: &str) -> anyhow::Result<Self> {
        // The name in parentheses may hold spaces; behind it are the state and the parent, and as
        // the 12th to the 15th utime, stime, cutime and cstime.
        let behind = stat.rsplit_once(')').context("no process status")?.1;
        let fields: Vec<&str> = behind.split_whitespace().collect();
        let field = |index: usize| -> anyhow::Result<u64> {
            Ok(fields.get(index).context("a short process status")?.parse()?)
        };
        Ok(Self {
            parent: u32::try_from(field(1)?)?,
            own_ticks: field(11)? + field(12)?,
            ended_ticks: field(13)? + field(14)?,
        })
    }
}

fn children_ticks(pid: u32) -> anyhow::Result<u64> {
    let mut ticks = 0;
    for entry in Path::new("/proc").read_dir()? {
        let name = entry?.file_name();
        let Some(child) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        // One that has ended since the directory was read counts with its parent.
        if let Ok(stat) = Stat::read(child)
            && stat.parent == pid
        {
            ticks += stat.own_ticks + stat.ended_ticks;
        }
    }
    Ok(ticks)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn the_ticks_are_behind_the_name() {
        let stat = "7 (a) b) S 5 7 7 0 -1 4194304 100 0 0 0 11 22 33 44 20 0 1";
        let expected = Stat { parent: 5, own_ticks: 33, ended_ticks: 77 };
        assert_eq!(Stat::parse(stat).unwrap(), expected);
        assert!(Stat::parse("7 (a) S 5 7").is_err());
        assert!(Stat::parse("").is_err());
    }

    #[test]
    fn a_cost_is_what_was_used_for_each_request() {
        let used = |product_ticks, database_ticks| Used { product_ticks, database_ticks };
        let tick_us = 1e6 / rustix::param::clock_ticks_per_second() as f64;
        let cost = used(30, Some(50)).cost_since(used(10, Some(10)), 100);
        assert!((cost.product_us - 0.2 * tick_us).abs() < 1e-9);
        assert!((cost.total_us() - 0.6 * tick_us).abs() < 1e-9);
        assert_eq!(used(30, None).cost_since(used(10, None), 100).database_us, None);
    }

    #[test]
    fn children_count_while_they_run_and_after() {
        let mut shell = Command::new("sh");
        shell.args(["-c", "n=0; while [ $n -lt 100000 ]; do n=$((n+1)); done & wait; read _"]);
        let mut shell = shell.stdin(std::process::Stdio::piped()).spawn().unwrap();
        wait_until_idle("sh", IDLE_TICKS_MAX, || family_ticks(shell.id())).unwrap();
        let (own, family) = (own_ticks(shell.id()).unwrap(), family_ticks(shell.id()).unwrap());
        drop(shell.stdin.take());
        shell.wait().unwrap();
        assert!(family > own, "{family} of the family, {own} of them its own");
        assert!(family_ticks(shell.id()).is_err());
    }
}
