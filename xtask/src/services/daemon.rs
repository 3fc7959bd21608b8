//! Running programs with their output in a file, and waiting for them no longer than is sensible.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::Context as _;

use crate::process::show;
use crate::stopwatch::Stopwatch;

const SAMPLE: Duration = Duration::from_millis(20);
/// Lines of a log that an error shows.
const SHOWN_LINES_MAX: usize = 30;

/// Runs a command to its end.
///
/// # Errors
/// When it cannot be started, fails, or takes longer than `wait_max`: the message shows the last
/// lines of its output.
pub(crate) fn run(command: &mut Command, log: &Path, wait_max: Duration) -> anyhow::Result<()> {
    let shown = show(command);
    let mut child = spawn(command, log)?;
    let time = Stopwatch::start();
    loop {
        if let Some(status) = child.try_wait()? {
            anyhow::ensure!(status.success(), "`{shown}` failed ({status}){}", last_lines(log));
            return Ok(());
        }
        if time.elapsed() >= wait_max {
            end(&mut child)?;
            anyhow::bail!("`{shown}` takes longer than {wait_max:?}{}", last_lines(log));
        }
        sleep(SAMPLE);
    }
}

/// Starts a server that outlives us, and waits until it is ready. `started` hears of its process
/// before anything else happens to it.
///
/// # Errors
/// When it cannot be started, ends, or is not ready in time: the message shows the last lines of
/// its log, and it has been killed.
pub(crate) fn start(
    command: &mut Command,
    log: &Path,
    wait_max: Duration,
    started: impl FnOnce(u32) -> anyhow::Result<()>,
    is_ready: impl FnMut() -> bool,
) -> anyhow::Result<()> {
    let shown = show(command);
    // In a group of its own, so that an interrupt at the terminal is not for the server.
    let mut child = spawn(command.process_group(0), log)?;
    let outcome = started(child.id()).and_then(|()| {
        let ended = || Ok(child.try_wait()?.map(|status| status.to_string()));
        wait_until_ready(wait_max, is_ready, ended)
    });
    if outcome.is_err() {
        end(&mut child)?;
    }
    outcome.map_err(|error| anyhow::anyhow!("`{shown}` {error:#}{}", last_lines(log)))
}

/// Waits until a server is ready; `ended` says how it ended once it has.
///
/// # Errors
/// When it has ended, or the time is over.
pub(crate) fn wait_until_ready(
    wait_max: Duration,
    mut is_ready: impl FnMut() -> bool,
    mut ended: impl FnMut() -> anyhow::Result<Option<String>>,
) -> anyhow::Result<()> {
    let time = Stopwatch::start();
    loop {
        if let Some(how) = ended()? {
            anyhow::bail!("ended ({how})");
        }
        if is_ready() {
            return Ok(());
        }
        anyhow::ensure!(time.elapsed() < wait_max, "does not answer after {wait_max:?}");
        sleep(SAMPLE);
    }
}

/// The last lines of a log, as the end of a message.
pub(crate) fn last_lines(log: &Path) -> String {
    let bytes = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    let shown = &lines[lines.len().saturating_sub(SHOWN_LINES_MAX)..];
    if shown.is_empty() {
        return format!("; it has said nothing in {}", log.display());
    }
    format!("; the end of {}:\n  {}", log.display(), shown.join("\n  "))
}

fn spawn(command: &mut Command, log: &Path) -> anyhow::Result<Child> {
    let output = File::create(log).with_context(|| log.display().to_string())?;
    command.stdin(Stdio::null()).stderr(output.try_clone()?).stdout(output);
    command.spawn().with_context(|| format!("cannot start `{}`", show(command)))
}

/// Kills a child, if that is still needed, and waits for it.
fn end(child: &mut Child) -> anyhow::Result<()> {
    if child.try_wait()?.is_none() {
        child.kill()?;
        child.wait()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);
    /// Time enough for a shell to say a word, also on a busy machine.
    const SHORT: Duration = Duration::from_secs(2);

    fn script(text: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", text]);
        command
    }

    fn failure(text: &str, wait_max: Duration) -> (String, u32) {
        let log = tempfile::NamedTempFile::new().unwrap();
        let mut pid = 0;
        let started = |id| {
            pid = id;
            Ok(())
        };
        let error = start(&mut script(text), log.path(), wait_max, started, || false).unwrap_err();
        (error.to_string(), pid)
    }

    #[test]
    fn a_server_that_ends_shows_the_last_lines_of_its_log() {
        let (error, _) = failure("seq 100; echo no space left >&2; exit 3", LONG);
        assert!(error.contains("ended (exit status: 3)"), "{error}");
        assert!(error.ends_with("  99\n  100\n  no space left"), "{error}");
        assert!(!error.contains("  70\n"), "{error}");
        let (error, _) = failure("exit 4", LONG);
        assert!(error.contains("ended (exit status: 4); it has said nothing in /"), "{error}");
    }

    #[test]
    fn a_server_that_never_answers_is_killed_with_its_log_shown() {
        let (error, pid) = failure("echo waiting for nobody; exec sleep 60", SHORT);
        assert!(error.contains("does not answer after 2s"), "{error}");
        assert!(error.ends_with("waiting for nobody"), "{error}");
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }

    #[test]
    fn a_server_that_answers_goes_on_running() {
        let log = tempfile::NamedTempFile::new().unwrap();
        let mut pid = 0;
        let started = |id| {
            pid = id;
            Ok(())
        };
        let said = || std::fs::read_to_string(log.path()).is_ok_and(|text| text == "ready\n");
        let mut command = script("echo ready; exec sleep 60");
        start(&mut command, log.path(), LONG, started, said).unwrap();
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let group: u32 =
            stat.rsplit_once(')').unwrap().1.split(' ').nth(3).unwrap().parse().unwrap();
        assert_eq!(group, pid, "an interrupt at the terminal would reach it");
        let ended = super::super::recorded::Recorded::of(pid, 1).unwrap();
        ended.end(rustix::process::Signal::KILL, LONG).unwrap();
    }

    #[test]
    fn a_command_that_fails_or_hangs_shows_what_it_said() {
        let log = tempfile::NamedTempFile::new().unwrap();
        let run = |text, wait_max| run(&mut script(text), log.path(), wait_max);
        run("echo fine", LONG).unwrap();
        let error = run("echo no such package; exit 100", LONG).unwrap_err().to_string();
        assert!(error.contains("failed (exit status: 100)"), "{error}");
        assert!(error.ends_with("no such package"), "{error}");
        let error = run("echo asking; exec sleep 60", SHORT).unwrap_err().to_string();
        assert!(error.contains("takes longer than 2s"), "{error}");
        assert!(error.ends_with("asking"), "{error}");
    }
}
