//! The programs of the servers: found where they are, installed where we may.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use indicatif::ProgressBar;

use super::{Service, daemon};
use crate::process;

/// Longest that the packages may take to download and install.
const INSTALL_WAIT_MAX: Duration = Duration::from_secs(15 * 60);
/// Where Debian puts servers; `PATH` need not lead there.
const SERVER_DIRS: [&str; 2] = ["/usr/lib/postgresql/15/bin", "/usr/sbin"];

/// The path of a program.
///
/// # Errors
/// When it is missing.
pub(crate) fn program(name: &str) -> anyhow::Result<PathBuf> {
    let usual = SERVER_DIRS.iter().map(|directory| Path::new(directory).join(name));
    let found = usual.into_iter().find(|path| path.is_file()).or_else(|| process::find(name));
    found.with_context(|| format!("{name} is not found"))
}

/// Makes sure that the programs of these services are there.
///
/// # Errors
/// When one is missing and cannot be installed from here: the message says what can be done.
pub(crate) fn programs(services: &[&Service], log: &Path, bar: &ProgressBar) -> anyhow::Result<()> {
    let packages = missing_packages(services, |name| program(name).is_ok());
    if packages.is_empty() {
        return Ok(());
    }
    let list = packages.join(" ");
    anyhow::ensure!(
        process::is_root() && program("apt-get").is_ok(),
        "servers are missing: install them (on Debian: `sudo apt-get install {list}`), start a \
         container engine with Docker Compose, or name servers in the environment \
         (CONTRIBUTING.md, \"Servers for the tests\")"
    );
    bar.suspend(|| println!("services: installing {list}"));
    bar.set_message(format!("installing {list}"));
    daemon::run(apt_get().args(["update", "-qq"]), log, INSTALL_WAIT_MAX)?;
    let install = ["install", "-y", "-qq", "--no-install-recommends"];
    daemon::run(apt_get().args(install).args(packages), log, INSTALL_WAIT_MAX)
}

/// The packages of the programs that are not there, each once.
fn missing_packages(services: &[&Service], is_there: impl Fn(&str) -> bool) -> Vec<&'static str> {
    let programs = services.iter().flat_map(|service| service.programs);
    let mut packages: Vec<&str> =
        programs.filter(|(name, _)| !is_there(name)).map(|(_, package)| *package).collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

/// `apt-get` that asks nothing and waits for another one.
fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.args(["-o", "DPkg::Lock::Timeout=300"]).env("DEBIAN_FRONTEND", "noninteractive");
    command
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::{postgres, redis};

    #[test]
    fn only_what_is_missing_is_installed() {
        let services = [&postgres::SERVICE, &redis::SERVICE];
        let missing = |there: &[&str]| missing_packages(&services, |name| there.contains(&name));
        assert_eq!(missing(&[]), ["postgresql-15", "redis-server"]);
        assert_eq!(missing(&["postgres"]), ["postgresql-15", "redis-server"]);
        assert_eq!(missing(&["postgres", "initdb"]), ["redis-server"]);
        assert_eq!(missing(&["postgres", "initdb", "redis-server"]), [""; 0]);
    }

    #[test]
    fn a_program_outside_the_path_is_found() {
        assert!(program("sh").is_ok());
        let error = program("no-such-program").unwrap_err().to_string();
        assert_eq!(error, "no-such-program is not found");
    }
}
