//! Python for the tests: programs of its packages, by a file of versions and hashes.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use indicatif::ProgressBar;

use crate::process::{self, capture, show};
use crate::services::{daemon, place};

/// The oldest that is good: the one of Debian 12, for which the versions were chosen.
const VERSION_MIN: (u32, u32) = (3, 11);
/// Longest that the packages may take to be fetched.
const FETCH_WAIT_MAX: Duration = Duration::from_secs(10 * 60);
/// In an environment once all of it is there: what it was made of.
const MADE_OF: &str = "made-of";

/// Makes sure that Python and its module for environments are there.
///
/// # Errors
/// When one is missing and cannot be installed from here, or Python is too old: the message says
/// what to install.
pub(crate) fn ensure_python() -> anyhow::Result<()> {
    process::need("python3", "python3-venv")?;
    if capture(python().args(["-c", "import ensurepip, venv"])).is_err() {
        process::install("Python's module venv", "python3-venv")?;
    }
    let version = capture(python().arg("--version"))?;
    let found = parsed(&version).with_context(|| format!("python3 says {version:?}"))?;
    let (major, minor) = VERSION_MIN;
    anyhow::ensure!(
        found >= VERSION_MIN,
        "{} is too old: install Python {major}.{minor} or later as python3",
        version.trim()
    );
    Ok(())
}

/// Makes an environment of exactly the packages that `requirements` names with their hashes,
/// unless it is there already.
///
/// # Errors
/// When Python is missing, or a package cannot be fetched or is not the one that was named: the
/// message has the last lines that were said.
pub(crate) fn environment(directory: &Path, requirements: &Path) -> anyhow::Result<()> {
    let named = std::fs::read_to_string(requirements);
    let named = named.with_context(|| requirements.display().to_string())?;
    let made_of = format!("{}{named}", capture(python().arg("--version"))?);
    let made = directory.join(MADE_OF);
    if std::fs::read_to_string(&made).is_ok_and(|made| made == made_of) {
        return Ok(());
    }
    place::remove(directory)?;
    let [dir, file] = [directory.as_os_str(), requirements.as_os_str()];
    let words = ["--no-input", "--disable-pip-version-check", "--require-hashes"].map(OsStr::new);
    let mut make = python();
    make.args(["-m", "venv"].map(OsStr::new)).arg(dir);
    let mut fetch = Command::new(directory.join("bin/pip"));
    fetch.arg("install").args(words).args(["--only-binary", ":all:", "--requirement"]).arg(file);
    let bar = ProgressBar::new_spinner();
    bar.enable_steady_tick(Duration::from_millis(200));
    let log = tempfile::NamedTempFile::new()?;
    for command in [&mut make, &mut fetch] {
        bar.set_message(format!("`{}`", show(command)));
        let done = daemon::run(command, log.path(), FETCH_WAIT_MAX);
        done.with_context(|| format!("the packages of {}", requirements.display()))?;
    }
    bar.finish_and_clear();
    std::fs::write(&made, made_of).with_context(|| made.display().to_string())
}

fn python() -> Command {
    Command::new("python3")
}

/// The version in `Python 3.11.2`.
fn parsed(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.trim().strip_prefix("Python ")?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(parsed("Python 3.11.2\n"), Some((3, 11)));
        assert!(parsed("Python 3.9.18").unwrap() < VERSION_MIN);
        assert!(parsed("Python 3.13.0rc1").unwrap() > VERSION_MIN);
        assert_eq!(parsed("Python three"), None);
    }

    #[test]
    fn an_environment_that_is_there_is_not_made_again() {
        let root = tempfile::tempdir().unwrap();
        let requirements = root.path().join("requirements.txt");
        std::fs::write(&requirements, "no-such-package==1 --hash=sha256:00").unwrap();
        let made_of =
            capture(python().arg("--version")).unwrap() + "no-such-package==1 --hash=sha256:00";
        let directory = root.path().join("environment");
        std::fs::create_dir(&directory).unwrap();
        std::fs::write(directory.join(MADE_OF), made_of).unwrap();
        environment(&directory, &requirements).unwrap();
    }
}
