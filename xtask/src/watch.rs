//! Running the tests under watch: when nothing is said for long, what each process waits for is
//! shown and all of it is ended. A test that hangs fails the run, instead of holding it up for
//! ever.

use std::fs;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};

use crate::process;

/// Characters of a command line that are shown.
const SHOWN_MAX: usize = 120;

/// Runs a command with its output streamed, as long as it says something at least this often.
///
/// # Errors
/// Like [`process::run`], and when it was silent for `silence_max`: then it and all processes that
/// it has started are ended.
pub(crate) fn run(command: &mut Command, silence_max: Duration) -> anyhow::Result<()> {
    let shown = process::show(command);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let mut child = child.with_context(|| format!("cannot start `{shown}`"))?;
    let pipe = child.stdout.take().context("no pipe to read the output from")?;
    let (said, heard) = mpsc::channel();
    let passing_on = thread::spawn(move || pass_on(pipe, &said));
    loop {
        match heard.recv_timeout(silence_max) {
            Ok(()) => {}
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                let family = family(child.id());
                println!("\nsilent for {silence_max:?}; what each process waits for:");
                family.iter().for_each(|id| print!("{}", waits(*id)));
                family.iter().for_each(|id| kill(*id));
                child.wait().with_context(|| format!("cannot wait for `{shown}`"))?;
                anyhow::bail!("`{shown}` was silent for {silence_max:?} and was ended");
            }
        }
    }
    let status = child.wait().with_context(|| format!("cannot wait for `{shown}`"))?;
    let passed_on = passing_on.join().map_err(|_| anyhow::anyhow!("the output was not read"))?;
    passed_on.context("cannot pass the output on")?;
    anyhow::ensure!(status.success(), "`{shown}` failed ({status})");
    Ok(())
}

/// Passes on what comes, as it comes, until the other side ends; says so each time.
fn pass_on(mut from: impl Read, said: &Sender<()>) -> std::io::Result<()> {
    let mut chunk = [0; 8 * 1024];
    loop {
        let read = from.read(&mut chunk)?;
        if read == 0 {
            return Ok(());
        }
        let mut to = std::io::stdout().lock();
        to.write_all(&chunk[..read])?;
        to.flush()?;
        // Nobody waits any more once the end was decided.
        let _ = said.send(());
    }
}

/// A process and all that come from it, parents first.
fn family(first: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let parents: Vec<(u32, u32)> = ids.filter_map(|id| Some((id, parent(id)?))).collect();
    let mut family = vec![first];
    let mut at = 0;
    while let Some(of) = family.get(at).copied() {
        family.extend(parents.iter().filter(|(_, parent)| *parent == of).map(|(id, _)| *id));
        at += 1;
    }
    family
}

/// The parent of a process, while it is there.
fn parent(id: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

/// A process, and for each of its threads its state and where in the kernel it waits.
fn waits(id: u32) -> String {
    let line = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
    let line: String = String::from_utf8_lossy(&line).replace('\0', " ");
    let mut text = format!("{id} {}\n", line.chars().take(SHOWN_MAX).collect::<String>());
    for thread in fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten().flatten() {
        let tell = |what: &str| {
            let told = fs::read_to_string(thread.path().join(what)).unwrap_or_default();
            told.trim().to_owned()
        };
        let status = tell("status");
        let state = status.lines().find_map(|line| line.strip_prefix("State:")).unwrap_or_default();
        let (name, place, call) = (tell("comm"), tell("wchan"), tell("syscall"));
        text += &format!("  {name}: {} in {place}, system call {call}\n", state.trim());
    }
    text
}

/// Ends a process at once, if it is still there.
fn kill(id: u32) {
    let id = i32::try_from(id).ok().and_then(Pid::from_raw);
    // It may have ended by itself, or with its parent.
    let _ = id.map(|id| kill_process(id, Signal::KILL));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stopwatch::Stopwatch;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn what_ends_by_itself_is_left_alone() {
        run(&mut shell("echo seen"), Duration::from_secs(60)).unwrap();
        let error = run(&mut shell("exit 3"), Duration::from_secs(60)).unwrap_err().to_string();
        assert!(error.ends_with("failed (exit status: 3)"), "{error}");
    }

    #[test]
    fn what_is_silent_is_ended_with_all_that_it_started() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("id");
        // The grandchild waits for ever.
        let script = format!("sh -c 'echo $$ > {}; exec tail -f /dev/null' & wait", file.display());
        let error = run(&mut shell(&script), Duration::from_secs(2)).unwrap_err().to_string();
        assert!(error.ends_with("was silent for 2s and was ended"), "{error}");
        let id: u32 = fs::read_to_string(file).unwrap().trim().parse().unwrap();
        let time = Stopwatch::start();
        // What has ended is there until its parent has looked.
        while fs::read_to_string(format!("/proc/{id}/stat")).is_ok_and(|it| !it.contains(") Z ")) {
            assert!(time.elapsed() < Duration::from_secs(20), "{id} goes on");
            thread::yield_now();
        }
    }

    #[test]
    fn what_a_process_waits_for_is_told() {
        let told = waits(std::process::id());
        assert!(told.lines().count() > 1 && told.contains(": R (running)"), "{told}");
    }
}
