//! Whether claims are as fast beside a thousand clients that send a byte a second.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::ledger::Home;
use super::product::{Product, QUANTITY_MAX};
use super::report::{against, median, table, thousands};
use super::wrk::{self, Load, Requests};
use super::{Workshop, machine, progress, report};
use crate::process::need;

/// Claims beside slow clients may have this share of their speed alone.
const SHARE_MIN: f64 = 0.8;
/// Between two bytes of a slow client.
const PACE: Duration = Duration::from_secs(1);
/// A head that never ends at this pace.
const HEAD: &[u8] = b"GET /v1/events HTTP/1.1\r\nhost: slow.example.com\r\nx-padding: ";

/// How many, how long, and how often.
#[derive(Args)]
pub(crate) struct Options {
    /// Slow clients; one that is cut comes again.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u16).range(1..=8_000))]
    clients: u16,
    /// Rounds; each measures claims alone and beside the slow clients in turns.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds of one measurement: at least twice as long as a slow head is waited for.
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Tokens prepared for each second of a measurement: more than the product can answer.
    #[arg(long, default_value_t = 160_000)]
    tokens_per_second: u32,
}

/// Clients that send a byte a second, each on a connection, and come again when they are cut.
struct SlowClients {
    enough: Arc<AtomicBool>,
    cut: Arc<AtomicU64>,
    thread: JoinHandle<anyhow::Result<()>>,
}

/// Measures and writes the section `slow-clients`.
///
/// # Errors
/// When an answer is another than expected, no slow client is cut, or an audit fails.
pub(crate) fn run(workshop: &Workshop, options: &Options) -> anyhow::Result<()> {
    need("wrk", "wrk")?;
    let Options { clients, rounds, seconds, tokens_per_second } = *options;
    allow_files(u64::from(clients) + 256)?;
    let bar = progress(u64::from(rounds) * 2);
    let mut product = Product::start(workshop, Home::embedded(workshop, "data"), None)?;
    let tokens = workshop.file("tokens");
    product.write_tokens("u", u64::from(seconds) * u64::from(tokens_per_second), &tokens)?;
    wrk::deal_tokens(&tokens)?;
    let (mut alone, mut beside, mut cut) = (Vec::new(), Vec::new(), 0);
    for round in 1..=rounds {
        bar.set_message(format!("round {round}: claims alone"));
        alone.push(claims(workshop, &mut product, &tokens, seconds)?);
        bar.inc(1);
        bar.set_message(format!("round {round}: claims beside {clients} slow clients"));
        let slow = SlowClients::start(product.served.address, clients.into());
        let load = claims(workshop, &mut product, &tokens, seconds);
        cut += slow.stop()?;
        beside.push(load?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    product.stop()?;
    anyhow::ensure!(cut > 0, "no slow client was cut: raise --seconds");
    let text = text(options, &alone, &beside, cut, &workshop.root);
    report::write(&workshop.root, "slow-clients", &text)
}

/// Claims of a new event, which all win.
fn claims(
    workshop: &Workshop,
    product: &mut Product,
    tokens: &Path,
    seconds: u32,
) -> anyhow::Result<Load> {
    let paths = [product.open_event(QUANTITY_MAX)?];
    let requests = Requests::claims(&paths, tokens);
    let load = wrk::send(workshop, product.served.address, &requests, seconds)?;
    anyhow::ensure!(load.refused == 0, "not every claim won: {load:?}");
    anyhow::ensure!(load.rewinds == 0, "the tokens ran out: raise --tokens-per-second");
    product.wait_until_idle()?;
    product.audit(&paths[0])?;
    Ok(load)
}

/// Lets this process open so many files.
fn allow_files(wanted: u64) -> anyhow::Result<()> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_some_and(|current| current < wanted) {
        let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum });
        raised
            .with_context(|| format!("{wanted} files must be open at once: raise `ulimit -n`"))?;
    }
    Ok(())
}

impl SlowClients {
    fn start(address: SocketAddr, count: usize) -> Self {
        let (enough, cut) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (told, counted) = (Arc::clone(&enough), Arc::clone(&cut));
        let thread = spawn(move || {
            let mut clients = Vec::with_capacity(count);
            for _ in 0..count {
                clients.push((connect(address)?, 0));
            }
            while !told.load(Ordering::Relaxed) {
                for (stream, sent) in &mut clients {
                    if is_open(stream, HEAD.get(*sent).copied()) {
                        *sent += 1;
                    } else {
                        counted.fetch_add(1, Ordering::Relaxed);
                        (*stream, *sent) = (connect(address)?, 0);
                    }
                }
                sleep(PACE);
            }
            Ok(())
        });
        Self { enough, cut, thread }
    }

    /// Ends them; how often one was cut.
    fn stop(self) -> anyhow::Result<u64> {
        self.enough.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow::anyhow!("the slow clients' thread panicked"))??;
        Ok(self.cut.load(Ordering::Relaxed))
    }
}

fn connect(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(address).context("a slow client finds no place")?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}

/// Sends a byte; whether the server has not closed.
fn is_open(stream: &mut TcpStream, byte: Option<u8>) -> bool {
    let sent = stream.write(&[byte.unwrap_or(b'a')]);
    let blocked = |kind| kind == ErrorKind::WouldBlock;
    sent.is_ok_and(|count| count == 1)
        && stream.read(&mut [0; 256]).is_err_and(|error| blocked(error.kind()))
}

fn text(options: &Options, alone: &[Load], beside: &[Load], cut: u64, root: &Path) -> String {
    let Options { clients, rounds, seconds, .. } = options;
    let rate = |loads: &[Load]| median(loads.iter().map(Load::requests_per_second).collect());
    let p99 = |loads: &[Load]| {
        let milliseconds = |load: &Load| Duration::from_micros(load.p99_us).as_secs_f64() * 1e3;
        format!("{:.2}", median(loads.iter().map(milliseconds).collect()))
    };
    let shares = alone.iter().zip(beside);
    let shares = shares.map(|(one, other)| other.requests_per_second() / one.requests_per_second());
    let share = median(shares.collect());
    let row = vec![
        thousands(rate(alone)),
        thousands(rate(beside)),
        format!("**{share:.2}**"),
        against(share >= SHARE_MIN, "≥ 0.8"),
        format!("{} / {}", p99(alone), p99(beside)),
    ];
    format!(
        "Command: `cargo xtask bench slow-clients --clients {clients} --rounds {rounds} \
         --seconds {seconds}`  \nMachine: {}\n\nEvery claim wins. Slow clients send one byte of \
         their heads a second and come again when they are cut, which happened {cut} times. \
         Medians of {rounds} rounds of {seconds} s.\n\n{}",
        machine::describe(root),
        table(
            &[
                "alone, req/s",
                "beside slow clients, req/s",
                "share",
                "bar",
                "p99 ms, alone / beside"
            ],
            &[row]
        )
    )
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn the_share_is_what_is_left_of_the_speed() {
        let load = |requests| Load {
            requests,
            duration_us: 1_000_000,
            refused: 0,
            socket_errors: 0,
            rewinds: 0,
            p50_us: 1,
            p99_us: 1_500,
        };
        let options = Options { clients: 1_000, rounds: 1, seconds: 1, tokens_per_second: 1 };
        let shown = |beside| text(&options, &[load(1_000)], &[load(beside)], 7, Path::new("/"));
        assert!(shown(900).contains("| 1,000 | 900 | **0.90** | ≥ 0.8 (reached) | 1.50 / 1.50 |"));
        assert!(shown(500).contains("**0.50** | ≥ 0.8 (**not reached**) |"));
    }

    #[test]
    fn a_client_that_is_cut_comes_again() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let slow = SlowClients::start(listener.local_addr().unwrap(), 1);
        let mut byte = [0];
        for _ in 0..2 {
            let mut client = listener.accept().unwrap().0;
            client.read_exact(&mut byte).unwrap();
            assert_eq!(byte[0], HEAD[0]);
        }
        assert!(slow.stop().unwrap() >= 1);
    }
}
