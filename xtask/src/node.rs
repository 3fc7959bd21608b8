//! Node.js for the tests: the runtime itself, and packages by a lock file.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use indicatif::ProgressBar;

use crate::process::{capture, need, show};
use crate::services::daemon;

/// The oldest that is good: the one of Debian 12.
const MAJOR_MIN: u32 = 18;
/// Longest that the packages of one lock file may take to be fetched.
const FETCH_WAIT_MAX: Duration = Duration::from_secs(10 * 60);
/// Beside the packages once all of them are there: the lock file that they were fetched by.
const FETCHED: &str = "node_modules/.fetched-by";

/// Makes sure that Node.js and npm are there.
///
/// # Errors
/// When one is missing and cannot be installed from here, or Node.js is too old: the message says
/// what to install.
pub(crate) fn ensure_node() -> anyhow::Result<()> {
    need("node", "nodejs")?;
    need("npm", "npm")?;
    let version = capture(Command::new("node").arg("--version"))?;
    let major = major(&version).with_context(|| format!("node says {version:?}, no version"))?;
    anyhow::ensure!(
        major >= MAJOR_MIN,
        "Node.js {} is too old: install {MAJOR_MIN} or later",
        version.trim()
    );
    Ok(())
}

/// Fetches the packages that `package-lock.json` in this directory names, and no others, unless
/// they are there already.
///
/// # Errors
/// When Node.js is missing, or npm fails: the message has its last lines.
pub(crate) fn npm_ci(directory: &Path) -> anyhow::Result<()> {
    let lock = directory.join("package-lock.json");
    let lock = std::fs::read_to_string(&lock).with_context(|| lock.display().to_string())?;
    let fetched = directory.join(FETCHED);
    if std::fs::read_to_string(&fetched).is_ok_and(|by| by == lock) {
        return Ok(());
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(directory);
    let bar = ProgressBar::new_spinner();
    bar.enable_steady_tick(Duration::from_millis(200));
    bar.set_message(format!("`{}` in {}", show(&npm), directory.display()));
    let log = tempfile::NamedTempFile::new()?;
    let done = daemon::run(&mut npm, log.path(), FETCH_WAIT_MAX);
    bar.finish_and_clear();
    done.with_context(|| format!("the packages of {}", directory.display()))?;
    std::fs::write(&fetched, lock).with_context(|| fetched.display().to_string())
}

/// The first number of a version, as of `v20.11.1`.
fn major(version: &str) -> Option<u32> {
    version.trim().strip_prefix('v')?.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read() {
        assert_eq!(major("v20.11.1\n"), Some(20));
        assert_eq!(major("v18.20.4"), Some(18));
        for text in ["", "20.11.1", "v", "vx.1"] {
            assert_eq!(major(text), None, "{text:?}");
        }
    }

    #[test]
    fn packages_that_were_fetched_by_the_same_lock_file_are_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("node_modules")).unwrap();
        for name in ["package-lock.json", FETCHED] {
            std::fs::write(directory.path().join(name), "{}").unwrap();
        }
        npm_ci(directory.path()).unwrap();
    }

    #[test]
    fn a_directory_without_a_lock_file_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let error = npm_ci(directory.path()).unwrap_err().to_string();
        assert!(error.contains("package-lock.json"), "{error}");
    }
}
