//! Asking a server, over a connection of its own, whether it is ready.

use std::io::{Error, ErrorKind, Result};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

/// Longest that a connection, or one read or write on it, may take.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(2);

/// Connects to `host:port`.
///
/// # Errors
/// When there is no such host, or nobody listens.
pub(crate) fn connect(address: &str) -> Result<TcpStream> {
    let mut last = Error::new(ErrorKind::NotFound, "the host has no address");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, ANSWER_WAIT_MAX) {
            Ok(stream) => {
                stream.set_read_timeout(Some(ANSWER_WAIT_MAX))?;
                stream.set_write_timeout(Some(ANSWER_WAIT_MAX))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Whether a probe believes a server that says this; what the server was told comes back too.
#[cfg(test)]
pub(crate) fn probe(answers: fn(&mut TcpStream) -> Result<bool>, said: &[u8]) -> (bool, Vec<u8>) {
    use std::io::{Read as _, Write as _};

    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut client = connect(&address).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    server.write_all(said).unwrap();
    server.shutdown(std::net::Shutdown::Write).unwrap();
    let is_ready = answers(&mut client).unwrap_or(false);
    drop(client);
    let mut heard = Vec::new();
    server.read_to_end(&mut heard).unwrap_or_default();
    (is_ready, heard)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_listening_is_an_error() {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        connect(&address).unwrap();
        drop(listener);
        assert!(connect(&address).is_err());
        assert!(connect("127.0.0.1").is_err(), "no port");
    }
}
