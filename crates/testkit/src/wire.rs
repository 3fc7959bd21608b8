//! One connection, byte by byte: for requests that no HTTP client would send, for clients that go
//! away, and for many requests at little cost.

use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::Answer;

/// Longest that a test waits for one answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// One connection. Dropping it closes it, whatever is under way.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    /// What has come and was not read yet.
    received: Vec<u8>,
}

impl Wire {
    /// Connects to `authority`, as `127.0.0.1:8080`.
    ///
    /// # Errors
    /// When nobody listens there.
    pub async fn connect(authority: &str) -> std::io::Result<Self> {
        let stream = TcpStream::connect(authority).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, received: Vec::new() })
    }

    /// Sends these bytes.
    ///
    /// # Errors
    /// When the other side has gone.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.stream.write_all(bytes.as_ref()).await
    }

    /// Sends a request, with a JSON body unless it is empty.
    ///
    /// # Errors
    /// When the other side has gone.
    pub async fn request(&mut self, what: &str, token: &str, body: &str) -> std::io::Result<()> {
        let media_type = if body.is_empty() { "" } else { "content-type: application/json\r\n" };
        self.send(format!(
            "{what} HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {token}\r\n{media_type}\
             content-length: {}\r\n\r\n{body}",
            body.len()
        ))
        .await
    }

    /// The next answer; it must tell its length.
    ///
    /// # Errors
    /// When the other side goes before the answer is whole.
    ///
    /// # Panics
    /// When the answer is not HTTP, or is late.
    pub async fn answer(&mut self) -> std::io::Result<Answer> {
        let head_end = loop {
            if let Some(place) = self.received.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break place + 4;
            }
            self.receive().await?;
        };
        let head: Vec<u8> = self.received.drain(..head_end).collect();
        let mut answer = parse_head(&String::from_utf8_lossy(&head));
        let length = answer.header("content-length").parse().expect("the answer tells its length");
        while self.received.len() < length {
            self.receive().await?;
        }
        answer.bytes = self.received.drain(..length).collect();
        Ok(answer)
    }

    /// Everything that comes until the other side closes.
    ///
    /// # Panics
    /// When it does not close in time.
    pub async fn until_closed(mut self) -> Vec<u8> {
        while self.receive().await.is_ok() {}
        self.received
    }

    async fn receive(&mut self) -> std::io::Result<()> {
        let reading = self.stream.read_buf(&mut self.received);
        let read = timeout(ANSWER_TIMEOUT, reading).await.expect("an answer in time")?;
        if read == 0 { Err(std::io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }
}

fn parse_head(head: &str) -> Answer {
    let mut lines = head.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let status = first.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    let mut headers = HeaderMap::new();
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        let name: HeaderName = name.parse().expect("a header's name");
        headers.append(name, HeaderValue::from_str(value).expect("a header's value"));
    }
    let status = status.unwrap_or_else(|| panic!("{head:?} is no HTTP answer"));
    Answer { call: "a request on the wire".to_owned(), status, headers, bytes: Vec::new() }
}
