//! Many connections at once.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use firstcome_testkit::Wire;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Mutex, MutexGuard};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::shop::Shop;

/// Files that the other tests of this process may open meanwhile.
const OTHERS: usize = 1_000;
/// Longest that a test waits for a place.
const WAIT_MAX: Duration = Duration::from_secs(20);
const REFUSED: &str = "firstcome_connections_refused_total";
const GET: &str = "GET /livez HTTP/1.1\r\nhost: a\r\n\r\n";

/// The turn of a test that opens many files: only one at a time does.
static TURN: Mutex<()> = Mutex::const_new(());

/// Waits for the turn to open so many files in this process, which it must be allowed to.
pub(crate) async fn many_files(count: usize) -> MutexGuard<'static, ()> {
    let turn = TURN.lock().await;
    let allowed = files_allowed();
    assert!(
        allowed >= count + OTHERS,
        "this test opens {count} files, its neighbours up to {OTHERS}, and the hard limit of open \
         files is {allowed}: raise it (`ulimit -Hn`)"
    );
    turn
}

/// Files that a process here may open, once its limit is as high as it can be.
fn files_allowed() -> usize {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    raised.expect("a process may raise its limit to the hard one");
    maximum.map_or(usize::MAX, |maximum| usize::try_from(maximum).unwrap_or(usize::MAX))
}

/// Opens an idle connection that has had an answer, from an address of its own for each 2,000: one
/// address has too few ports.
async fn idle(server: SocketAddr, number: usize) -> TcpStream {
    let host = u8::try_from(2 + number / 2_000).expect("few addresses");
    let socket = TcpSocket::new_v4().expect("a socket");
    let from = IpAddr::V4(Ipv4Addr::new(127, 0, 0, host));
    socket.bind(SocketAddr::new(from, 0)).expect("an address of the loopback");
    let mut stream = socket.connect(server).await.expect("the server accepts");
    stream.write_all(GET.as_bytes()).await.expect("the server reads");
    let mut answer = [0; 1024];
    let read = stream.read(&mut answer).await.expect("an answer");
    let answer = String::from_utf8_lossy(&answer[..read]);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    stream
}

/// 20,000 connections that are kept and do nothing take less than 400 MiB. Where a process may not
/// open that many files, as many as it may, at least 19,000, and the memory in proportion.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_take_little_memory() {
    const CONNECTIONS: usize = 20_000;
    const CONNECTIONS_MIN: usize = 19_000;
    const BYTES_MAX: u64 = 400 << 20;
    let _turn = many_files(CONNECTIONS_MIN).await;
    let connections = CONNECTIONS.min(files_allowed() - OTHERS);
    let shop = Shop::open_configured("[server]\nconnections_max = 20100\n").await;
    let server = shop.server.authority().parse().expect("an address");
    let (before, _) = shop.server.memory_bytes();
    let mut held = Vec::with_capacity(connections);
    let mut opening = JoinSet::new();
    for number in 0..connections {
        opening.spawn(idle(server, number));
        if opening.len() >= 64 {
            held.push(opening.join_next().await.expect("some").expect("no panic"));
        }
    }
    held.extend(opening.join_all().await);
    let (after, _) = shop.server.memory_bytes();
    let grown = (after - before) * CONNECTIONS as u64 / connections as u64;
    let needed = before + grown;
    assert!(needed < BYTES_MAX, "{CONNECTIONS} connections take {} MiB", needed >> 20);
    // The oldest of them is still good.
    let first = &mut held[0];
    first.write_all(GET.as_bytes()).await.expect("the server reads");
    assert_ne!(first.read(&mut [0; 1024]).await.expect("an answer"), 0);
}

/// Connects until there is a place.
async fn seat(authority: &str) -> Wire {
    let deadline = Instant::now() + WAIT_MAX;
    loop {
        let mut wire = Wire::connect(authority).await.expect("it is accepted or refused");
        // Who is refused may find the connection closed already.
        let _refused = wire.send(GET).await;
        if wire.answer().await.is_ok_and(|answer| answer.status == 200) {
            return wire;
        }
        assert!(Instant::now() < deadline, "there is no place");
    }
}

#[tokio::test]
async fn one_connection_too_many_is_refused_and_not_hung() {
    const CONNECTIONS: usize = 10;
    let config = format!("[server]\nconnections_max = {CONNECTIONS}\n");
    let shop = Shop::open_configured(&config).await;
    let authority = shop.server.authority();
    let mut seated = Vec::new();
    for _ in 0..CONNECTIONS {
        seated.push(seat(authority).await);
    }
    for _ in 0..5 {
        let refused = shop.wire().await.until_closed().await;
        let refused = String::from_utf8_lossy(&refused);
        assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
        assert!(refused.contains("retry-after: 1\r\n"), "{refused}");
        assert!(refused.contains("\"code\":\"unavailable\""), "{refused}");
    }
    let metrics = "GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n";
    seated[0].send(metrics).await.expect("the server reads");
    let counted = seated[0].answer().await.expect("an answer").text();
    let counted = counted.lines().find_map(|line| line.strip_prefix(REFUSED)?.strip_prefix(' '));
    let counted: usize = counted.and_then(|count| count.parse().ok()).expect("a count");
    assert!(counted >= 5, "{counted} are counted");
    drop(seated.pop());
    seat(authority).await;
}
