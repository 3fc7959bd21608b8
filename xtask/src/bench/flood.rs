//! An exact number of claims that all win, from many connections at once.
//!
//! wrk runs for a time and leaves requests unanswered at its end; filling a ledger and counting
//! instructions want a number.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Lines};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::Context as _;
use indicatif::ProgressBar;

use super::http::Connection;

/// Connections, each with one claim under way at a time.
pub(crate) const CONNECTIONS: usize = 64;

/// Sends one claim for each token of a file, over so many connections, and expects every one to
/// win.
///
/// # Errors
/// When a claim is answered otherwise, or not at all.
pub(crate) fn claim_all(
    address: SocketAddr,
    path: &str,
    tokens: &Path,
    connections: usize,
    progress: &ProgressBar,
) -> anyhow::Result<()> {
    let tokens = Mutex::new(BufReader::new(File::open(tokens)?).lines());
    std::thread::scope(|scope| {
        let connect = |_| scope.spawn(|| claim_until_done(address, path, &tokens, progress));
        let threads: Vec<_> = (0..connections).map(connect).collect();
        threads.into_iter().try_for_each(|thread| {
            thread.join().map_err(|_| anyhow::anyhow!("a connection's thread panicked"))?
        })
    })
}

fn claim_until_done(
    address: SocketAddr,
    path: &str,
    tokens: &Mutex<Lines<BufReader<File>>>,
    progress: &ProgressBar,
) -> anyhow::Result<()> {
    let mut connection = Connection::open(address)?;
    let next = || tokens.lock().unwrap_or_else(PoisonError::into_inner).next();
    while let Some(token) = next() {
        let answer = connection.call("POST", path, Some(&token?), None).context("a claim")?;
        anyhow::ensure!(answer.status == 201, "answered {}: {}", answer.status, answer.body);
        progress.inc(1);
    }
    Ok(())
}
