//! PostgreSQL: a cluster of its own, reached over TCP only, with a password as in a deployment.

use std::io::{Read as _, Result, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use super::place::Place;
use super::{Service, daemon, install};
use crate::process;

/// The service.
pub(crate) const SERVICE: Service = Service {
    name: "postgres",
    variable: "FIRSTCOME_TEST_POSTGRES_URL",
    schemes: &["postgres", "postgresql"],
    usual_port: 5432,
    port: 25_432,
    url: |port| format!("postgres://firstcome:firstcome@127.0.0.1:{port}/postgres"),
    programs: &[("postgres", "postgresql-15"), ("initdb", "postgresql-15")],
    fetch: |_| Ok(()),
    create,
    command,
    answers,
    // A fast shutdown; SIGTERM would wait until every client has gone.
    end_signal: Signal::INT,
};

/// Longest that a new cluster may take.
const CREATE_WAIT_MAX: Duration = Duration::from_secs(120);
/// PostgreSQL refuses to run as root; this user comes with its packages.
const USER: &str = "postgres";

/// `SQLSTATE` of a server that starts up, shuts down or recovers.
const CANNOT_CONNECT_NOW: &[u8] = b"57P03";

fn create(place: &Place, data: &Path) -> anyhow::Result<()> {
    let password = place.file("password");
    std::fs::write(&password, "firstcome")?;
    if process::is_root() {
        process::run(Command::new("chown").arg(USER).arg(data))?;
    }
    let mut command = unprivileged("initdb")?;
    command.args(["--username=firstcome", "--auth=scram-sha-256", "--encoding=UTF8"]);
    command.args(["--locale=C.UTF-8", "--no-sync", "--pwfile"]).arg(password);
    command.arg("--pgdata").arg(data);
    daemon::run(&mut command, &place.setup_log(), CREATE_WAIT_MAX)
}

fn command(place: &Place, port: u16) -> anyhow::Result<Command> {
    let mut command = unprivileged("postgres")?;
    command.arg("-D").arg(place.data()).arg("-p").arg(port.to_string());
    command.args(["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]);
    // Sized for some million rows; memory is taken as it is needed.
    command.args(["-c", "shared_buffers=512MB", "-c", "max_wal_size=4GB"]);
    command.args(["-c", "min_wal_size=1GB", "-c", "checkpoint_timeout=15min"]);
    Ok(command)
}

/// A program as a user that it accepts. Root gives that user the one right it needs here: to reach
/// a workspace below a directory that is closed to others.
fn unprivileged(name: &str) -> anyhow::Result<Command> {
    let program = install::program(name)?;
    if !process::is_root() {
        return Ok(Command::new(program));
    }
    let mut command = Command::new(install::program("setpriv")?);
    command.args(["--reuid", USER, "--regid", USER, "--init-groups"]);
    command.args(["--inh-caps=+dac_override", "--ambient-caps=+dac_override", "--"]).arg(program);
    // PostgreSQL looks where it was started from.
    command.current_dir("/");
    Ok(command)
}

/// Asks for a session, as `pg_isready` does: who is asked for a password may come in.
fn answers(stream: &mut TcpStream) -> Result<bool> {
    let startup = b"\0\x03\0\0user\0firstcome\0\0";
    let length = u32::try_from(startup.len() + 4).map_err(std::io::Error::other)?;
    stream.write_all(&length.to_be_bytes())?;
    stream.write_all(startup)?;
    let mut answer = [0; 512];
    let read = stream.read(&mut answer)?;
    Ok(match answer[..read].first() {
        Some(b'R') => true,
        // Any other refusal comes from a server that is up.
        Some(b'E') => {
            !answer[..read].windows(CANNOT_CONNECT_NOW.len()).any(|part| part == CANNOT_CONNECT_NOW)
        }
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::answer::probe;

    #[test]
    fn a_server_that_asks_for_a_password_is_ready() {
        let (is_ready, heard) = probe(answers, b"R\0\0\0\x17\0\0\0\nSCRAM-SHA-256\0\0");
        assert!(is_ready);
        assert_eq!(heard, b"\0\0\0\x18\0\x03\0\0user\0firstcome\0\0");
        assert!(probe(answers, b"E\0\0\0\x20SFATAL\0C28P01\0Mno such user\0\0").0);
    }

    #[test]
    fn a_server_that_starts_up_is_not_ready() {
        assert!(!probe(answers, b"E\0\0\0\x20SFATAL\0C57P03\0Mstarting up\0\0").0);
        assert!(!probe(answers, b"-ERR what?\r\n").0);
        assert!(!probe(answers, b"").0);
    }
}
