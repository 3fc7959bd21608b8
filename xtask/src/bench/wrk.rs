//! The load generator: `wrk` with the script of `bench/wrk`, and what it saw.

use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;

use super::Workshop;
use crate::process::capture;

/// Threads of wrk; each has its own slice of the tokens.
pub(crate) const THREADS: usize = 2;
/// Connections of a crowd.
pub(crate) const CONNECTIONS: usize = 256;

/// What one run of wrk saw.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Load {
    pub(crate) requests: u64,
    pub(crate) duration_us: u64,
    /// Answers with a status above 399.
    pub(crate) refused: u64,
    pub(crate) socket_errors: u64,
    /// How often a thread came to the end of its tokens and began again.
    pub(crate) rewinds: u64,
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
}

impl Load {
    /// Answers in a second.
    #[expect(clippy::cast_precision_loss, reason = "counts of one run are far below 2^52")]
    pub(crate) fn requests_per_second(&self) -> f64 {
        self.requests as f64 * 1e6 / self.duration_us as f64
    }

    /// Reads the line that the script prints at the end.
    fn parse(output: &str) -> anyhow::Result<Self> {
        let line = output.lines().find_map(|line| line.strip_prefix("RESULT "));
        let line = line.with_context(|| format!("wrk printed no result:\n{output}"))?;
        let value = |name: &str| -> anyhow::Result<u64> {
            let pairs = line.split_whitespace().filter_map(|pair| pair.split_once('='));
            let found = pairs.into_iter().find(|(found, _)| *found == name);
            Ok(found.with_context(|| format!("wrk printed no {name}: {line}"))?.1.parse()?)
        };
        Ok(Self {
            requests: value("requests")?,
            duration_us: value("duration_us")?,
            refused: value("refused")?,
            socket_errors: value("socket_errors")?,
            rewinds: value("rewinds")?,
            p50_us: value("p50_us")?,
            p99_us: value("p99_us")?,
        })
    }
}

/// What is sent: the paths in turn, each request with the next user's token, if with any.
#[derive(Clone, Copy)]
pub(crate) struct Requests<'a> {
    pub(crate) method: &'static str,
    pub(crate) paths: &'a [String],
    /// A file that was dealt out to the threads by [`deal_tokens`].
    pub(crate) tokens: Option<&'a Path>,
    /// Each has one request under way.
    pub(crate) connections: usize,
}

impl<'a> Requests<'a> {
    /// Claims of a crowd at these paths.
    pub(crate) fn claims(paths: &'a [String], tokens: &'a Path) -> Self {
        Self { method: "POST", paths, tokens: Some(tokens), connections: CONNECTIONS }
    }
}

/// Sends requests for some seconds.
///
/// # Errors
/// When wrk fails or a connection does.
pub(crate) fn send(
    workshop: &Workshop,
    address: SocketAddr,
    requests: &Requests<'_>,
    seconds: u32,
) -> anyhow::Result<Load> {
    let path_file = workshop.file("paths");
    std::fs::write(&path_file, requests.paths.join("\n") + "\n")?;
    let output = capture(
        Command::new("wrk")
            .arg(format!("-t{THREADS}"))
            .arg(format!("-c{}", requests.connections))
            .arg(format!("-d{seconds}s"))
            .arg("-s")
            .arg(workshop.root.join("bench/wrk/requests.lua"))
            .arg(format!("http://{address}"))
            .args(["--", requests.method])
            .arg(path_file)
            .args(requests.tokens),
    )?;
    let load = Load::parse(&output)?;
    anyhow::ensure!(load.socket_errors == 0, "connections failed: {load:?}");
    Ok(load)
}

/// Deals a file of tokens out to the threads: `FILE.0`, `FILE.1`, …
///
/// # Errors
/// When a file cannot be read or written.
pub(crate) fn deal_tokens(tokens: &Path) -> anyhow::Result<()> {
    let mut slices = Vec::new();
    for thread in 0..THREADS {
        let mut name = tokens.as_os_str().to_owned();
        name.push(format!(".{thread}"));
        slices.push(BufWriter::new(std::fs::File::create(name)?));
    }
    let mut turn = 0;
    for token in BufReader::new(std::fs::File::open(tokens)?).lines() {
        writeln!(slices[turn], "{}", token?)?;
        turn = (turn + 1) % THREADS;
    }
    for mut slice in slices {
        slice.flush()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "Running 1s test\n  2 threads\nRESULT requests=200 duration_us=2000000 \
                          refused=3 socket_errors=0 rewinds=1 p50_us=10 p99_us=20\n";

    #[test]
    fn the_result_is_read() {
        let load = Load::parse(OUTPUT).unwrap();
        assert_eq!((load.requests, load.refused, load.rewinds), (200, 3, 1));
        assert_eq!((load.p50_us, load.p99_us), (10, 20));
        assert!((load.requests_per_second() - 100.0).abs() < 1e-9);
    }

    #[test]
    fn a_result_that_lacks_something_is_an_error() {
        assert!(Load::parse("Running 1s test").is_err());
        assert!(Load::parse(&OUTPUT.replace("p99_us=20", "")).is_err());
        assert!(Load::parse(&OUTPUT.replace("refused=3", "refused=x")).is_err());
    }

    #[test]
    fn no_two_threads_share_a_user() {
        let directory = tempfile::tempdir().unwrap();
        let tokens = directory.path().join("tokens");
        std::fs::write(&tokens, "a\nb\nc\n").unwrap();
        deal_tokens(&tokens).unwrap();
        let slice = |number: &str| {
            std::fs::read_to_string(directory.path().join(format!("tokens.{number}"))).unwrap()
        };
        assert_eq!((slice("0").as_str(), slice("1").as_str()), ("a\nc\n", "b\n"));
    }
}
