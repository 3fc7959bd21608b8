//! MariaDB: data of its own, and a user who may make databases.

use std::io::{Read as _, Result};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::Signal;

use super::place::Place;
use super::{Service, daemon, install};
use crate::process;

/// The service.
pub(crate) const SERVICE: Service = Service {
    name: "mariadb",
    variable: "FIRSTCOME_TEST_MARIADB_URL",
    schemes: &["mysql"],
    usual_port: 3306,
    port: 23_306,
    url: |port| format!("mysql://firstcome:firstcome@127.0.0.1:{port}/firstcome"),
    programs: &[
        ("mariadbd", "mariadb-server-core"),
        ("mariadb-install-db", "mariadb-server-core"),
        // Which the one before calls.
        ("my_print_defaults", "mariadb-client-core"),
    ],
    fetch: |_| Ok(()),
    create,
    command,
    answers,
    end_signal: Signal::TERM,
};

/// Longest that new data may take.
const CREATE_WAIT_MAX: Duration = Duration::from_secs(120);
/// The version of the protocol, with which a server that lets clients in begins.
const PROTOCOL_VERSION: u8 = 10;

fn create(place: &Place, data: &Path) -> anyhow::Result<()> {
    let mut command = Command::new(install::program("mariadb-install-db")?);
    command.args(["--no-defaults", "--auth-root-authentication-method=normal"]);
    command.args(["--skip-test-db", "--skip-name-resolve"]).arg(option("datadir", data));
    command.arg(temporary_files(place)?);
    daemon::run(as_this_user(&mut command), &place.setup_log(), CREATE_WAIT_MAX)
}

fn command(place: &Place, port: u16) -> anyhow::Result<Command> {
    let mut command = Command::new(install::program("mariadbd")?);
    command.args(["--no-defaults", "--bind-address=127.0.0.1", "--skip-name-resolve"]);
    // Sized for some million rows; memory is taken as it is needed.
    command.args(["--innodb-buffer-pool-size=1G", "--innodb-log-file-size=512M"]);
    // Relative to the data: the path of a socket must be short, that of a workspace need not be.
    command.args(["--socket=mariadb.sock", "--pid-file=mariadb.pid"]);
    command.arg(option("datadir", &place.data())).arg(format!("--port={port}"));
    command.arg(option("init-file", &place.definition("mariadb.sql"))).arg(temporary_files(place)?);
    as_this_user(&mut command);
    Ok(command)
}

/// MariaDB runs as root only when it is told to.
fn as_this_user(command: &mut Command) -> &mut Command {
    if process::is_root() {
        command.arg("--user=root");
    }
    command
}

/// Where temporary files lie: a server that starts removes those of others that share the place.
fn temporary_files(place: &Place) -> anyhow::Result<std::ffi::OsString> {
    let directory = place.file("files");
    std::fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
    Ok(option("tmpdir", &directory))
}

/// An option whose value is a path; MariaDB takes it in one word only.
fn option(name: &str, path: &Path) -> std::ffi::OsString {
    let mut option = std::ffi::OsString::from(format!("--{name}="));
    option.push(path);
    option
}

/// The server speaks first; where it lets nobody in, its first packet is an error.
fn answers(stream: &mut TcpStream) -> Result<bool> {
    // Three bytes of length and one of sequence, then the packet.
    let mut packet = [0; 5];
    stream.read_exact(&mut packet)?;
    Ok(packet[4] == PROTOCOL_VERSION)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::answer::probe;

    #[test]
    fn a_server_that_greets_is_ready_and_one_that_refuses_is_not() {
        assert!(probe(answers, b"\x5a\0\0\0\x0a10.11.6-MariaDB\0").0);
        assert!(!probe(answers, b"\x17\0\0\0\xff\x10\x04Too many connections").0);
        assert!(!probe(answers, b"\x5a\0").0);
    }
}
