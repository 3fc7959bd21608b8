//! As much of HTTP/1.1 as the benchmarks speak: one kept connection, answers with a length.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::Context as _;

/// Longest time that one answer may take; an audit of ten million rows takes its time.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(300);

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Answer {
    /// The body as JSON, when the status is the expected one.
    ///
    /// # Errors
    /// When it is another, with the body, or the body is not JSON.
    pub(crate) fn json(&self, expected_status: u16) -> anyhow::Result<serde_json::Value> {
        let Self { status, body } = self;
        anyhow::ensure!(*status == expected_status, "answered {status}: {body}");
        serde_json::from_str(body).with_context(|| format!("no JSON: {body}"))
    }
}

/// A connection that is used again for each request.
pub(crate) struct Connection {
    address: SocketAddr,
    stream: BufReader<TcpStream>,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens.
    pub(crate) fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).with_context(|| format!("connect {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_WAIT_MAX))?;
        Ok(Self { address, stream: BufReader::new(stream) })
    }

    /// Reads a resource without a token.
    ///
    /// # Errors
    /// When the connection breaks or the answer is not HTTP.
    pub(crate) fn get(&mut self, path: &str) -> anyhow::Result<Answer> {
        self.call("GET", path, None, None)
    }

    /// Sends one request and reads its answer.
    ///
    /// # Errors
    /// When the connection breaks or the answer is not HTTP.
    pub(crate) fn call(
        &mut self,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: Option<&serde_json::Value>,
    ) -> anyhow::Result<Answer> {
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.address);
        if let Some(token) = token {
            request += &format!("Authorization: Bearer {token}\r\n");
        }
        let body = body.map(ToString::to_string);
        if let Some(body) = &body {
            request +=
                &format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
        } else if method == "POST" {
            request += "Content-Length: 0\r\n";
        }
        request += "\r\n";
        request += body.as_deref().unwrap_or_default();
        self.stream.get_mut().write_all(request.as_bytes())?;
        self.read_answer().with_context(|| format!("{method} {path}"))
    }

    fn read_answer(&mut self) -> anyhow::Result<Answer> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let status = line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
        let status = status.with_context(|| format!("no status line: {line:?}"))?.parse()?;
        let mut length = 0;
        loop {
            line.clear();
            self.stream.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            anyhow::ensure!(!name.eq_ignore_ascii_case("transfer-encoding"), "no length");
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse()?;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok(Answer { status, body: String::from_utf8(body)? })
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// A server that reads one request, answers with these bytes, and gives what it read.
    fn exchange(answer: &'static str) -> (anyhow::Result<Answer>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            let mut request = vec![0; 4096];
            let length = stream.read(&mut request).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(request[..length].to_vec()).unwrap()
        });
        let body = serde_json::json!({"name": "x"});
        let mut connection = Connection::open(address).unwrap();
        let answer = connection.call("POST", "/v1/coupons", Some("t0k3n"), Some(&body));
        (answer, server.join().unwrap())
    }

    #[test]
    fn sends_a_request_and_reads_the_answer() {
        let (answer, request) =
            exchange("HTTP/1.1 201 Created\r\ncontent-length: 8\r\nX-A: b\r\n\r\n{\"id\":1}");
        let answer = answer.unwrap();
        assert_eq!(answer.json(201).unwrap()["id"], 1);
        assert!(answer.json(200).unwrap_err().to_string().contains("answered 201"));
        assert!(request.starts_with("POST /v1/coupons HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("Authorization: Bearer t0k3n\r\n"), "{request}");
        assert!(request.ends_with("Content-Length: 12\r\n\r\n{\"name\":\"x\"}"), "{request}");
    }

    #[test]
    fn what_is_not_an_answer_is_an_error() {
        assert!(exchange("SSH-2.0\r\n").0.is_err());
        assert!(exchange("").0.is_err());
        assert!(exchange("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n").0.is_err());
    }
}
