//! The same servers in containers, where an engine answers: `xtask/services/compose.yaml`.

use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::daemon;
use super::place::Place;
use crate::process::{self, capture};

/// Longest that an engine may take to say that it is there.
const ENGINE_WAIT_MAX: Duration = Duration::from_secs(10);
/// Longest that images may take to download.
const UP_WAIT_MAX: Duration = Duration::from_secs(15 * 60);
/// Longest that a container may take to end; the engine kills it after a while.
const DOWN_WAIT_MAX: Duration = Duration::from_secs(120);
/// Longest that the engine may take to print a log.
const LOG_WAIT_MAX: Duration = Duration::from_secs(20);

/// Whether an engine answers and knows Compose.
pub(crate) fn engine_answers(log: &Path) -> bool {
    let asked = |words: &[&str]| {
        daemon::run(Command::new("docker").args(words), log, ENGINE_WAIT_MAX).is_ok()
    };
    process::find("docker").is_some() && asked(&["compose", "version"]) && asked(&["info"])
}

/// Tells the engine to run a service.
///
/// # Errors
/// When it does not: the message has its last lines.
pub(crate) fn up(place: &Place, name: &str) -> anyhow::Result<()> {
    // Each call makes what is missing of the network that all share: two at once make two of one
    // name, and no container starts in either.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    place.record_composed()?;
    let mut command = compose(place);
    command.args(["up", "--detach", "--quiet-pull", name]);
    daemon::run(&mut command, &place.setup_log(), UP_WAIT_MAX)
}

/// Removes the container of a service; its data stay in a volume.
///
/// # Errors
/// When the engine does not: the message has its last lines.
pub(crate) fn down(place: &Place, name: &str) -> anyhow::Result<()> {
    let mut command = compose(place);
    command.args(["rm", "--stop", "--force", name]);
    daemon::run(&mut command, &place.setup_log(), DOWN_WAIT_MAX)
}

/// Since when the container of a service runs, as the engine says it.
pub(crate) fn age(place: &Place, name: &str) -> Option<String> {
    let shown = capture(compose(place).args(["ps", "--format", "{{.Status}}", name]));
    shown.ok().map(|text| text.trim().to_lowercase()).filter(|text| !text.is_empty())
}

/// The last lines that a service has said, as the end of a message.
pub(crate) fn last_lines(place: &Place, name: &str) -> String {
    let mut command = compose(place);
    command.args(["logs", "--no-color", "--no-log-prefix", "--tail", "30", name]);
    match daemon::run(&mut command, &place.log(), LOG_WAIT_MAX) {
        Ok(()) => daemon::last_lines(&place.log()),
        Err(error) => format!("; its log cannot be read: {error:#}"),
    }
}

fn compose(place: &Place) -> Command {
    let mut command = Command::new("docker");
    command.args(["compose", "--file"]).arg(place.definition("compose.yaml"));
    command.current_dir(place.root());
    command
}

#[cfg(test)]
mod tests {
    use crate::services::SERVICES;

    const FILE: &str = include_str!("../../services/compose.yaml");

    #[test]
    fn the_containers_listen_where_the_processes_would() {
        for service in &SERVICES {
            assert!(FILE.contains(&format!("\n  {}:\n", service.name)), "{}", service.name);
            let port = format!("\"127.0.0.1:{}:", service.port);
            assert!(FILE.contains(&port), "{port}");
        }
    }

    #[test]
    fn the_broker_is_the_one_of_the_pom() {
        let pom = include_str!("../../services/pom.xml");
        let version =
            FILE.split("image: apache/kafka:").nth(1).and_then(|rest| rest.lines().next());
        assert!(pom.contains(&format!("<version>{}</version>", version.unwrap())), "{version:?}");
    }
}
