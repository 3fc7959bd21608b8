//! Redis: every write in its append-only file, so that a later start finds it.

use std::io::{Read as _, Result, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use super::place::Place;
use super::{Service, install};

/// The service.
pub(crate) const SERVICE: Service = Service {
    name: "redis",
    variable: "FIRSTCOME_TEST_REDIS_URL",
    schemes: &["redis"],
    usual_port: 6379,
    port: 26_380,
    url: |port| format!("redis://127.0.0.1:{port}/"),
    programs: &[("redis-server", "redis-server")],
    fetch: |_| Ok(()),
    create,
    command,
    answers,
    end_signal: Signal::TERM,
};

/// Redis makes its files itself.
fn create(_place: &Place, _data: &Path) -> anyhow::Result<()> {
    Ok(())
}

fn command(place: &Place, port: u16) -> anyhow::Result<Command> {
    let mut command = Command::new(install::program("redis-server")?);
    command.args(["--bind", "127.0.0.1", "--port", &port.to_string()]);
    command.args(["--daemonize", "no", "--appendonly", "yes", "--save", ""]);
    command.arg("--dir").arg(place.data());
    Ok(command)
}

/// A server that loads its data refuses; one that wants a password first is up.
fn answers(stream: &mut TcpStream) -> Result<bool> {
    stream.write_all(b"PING\r\n")?;
    let mut answer = [0; 5];
    stream.read_exact(&mut answer)?;
    Ok(matches!(&answer, b"+PONG" | b"-NOAU"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::answer::probe;

    #[test]
    fn only_a_server_that_answers_a_ping_is_ready() {
        assert_eq!(probe(answers, b"+PONG\r\n"), (true, b"PING\r\n".to_vec()));
        assert!(probe(answers, b"-NOAUTH Authentication required.\r\n").0);
        assert!(!probe(answers, b"-LOADING Redis is loading the dataset in memory\r\n").0);
        assert!(!probe(answers, b"+PO").0);
    }
}
