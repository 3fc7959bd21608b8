//! Clients that are slow on purpose, and crowds that log in, while others claim.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use firstcome_testkit::{Answer, Wire};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep, timeout};

use crate::connections::many_files;
use crate::shop::Shop;

/// Between two bytes of a slow client.
const PACE: Duration = Duration::from_secs(1);
/// What a busy machine may add to a time-out.
const MARGIN: Duration = Duration::from_secs(10);
/// How often a test looks again at what it watches.
const POLL: Duration = Duration::from_millis(20);
/// Clients that claim beside the slow ones.
const CLAIMERS: usize = 4;
/// Longest that a claim may take beside them.
const CLAIM_MAX: Duration = Duration::from_secs(5);

/// Clients that claim, each for one user after another, until they are told that it is enough.
struct Claimers {
    clients: JoinSet<usize>,
    enough: Arc<AtomicBool>,
}

impl Claimers {
    async fn start(shop: &Shop) -> Self {
        let event = shop.event(10_000_000).await;
        let tokens = Arc::new(shop.server.tokens("shopper", 50_000).await);
        let next = Arc::new(AtomicUsize::new(0));
        let enough = Arc::new(AtomicBool::new(false));
        let mut clients = JoinSet::new();
        for _ in 0..CLAIMERS {
            let what = format!("POST /v1/events/{event}/claims");
            let (tokens, next) = (Arc::clone(&tokens), Arc::clone(&next));
            let enough = Arc::clone(&enough);
            let mut wire = shop.wire().await;
            clients.spawn(async move {
                let mut answered = 0;
                while !enough.load(Ordering::Relaxed) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let token = tokens.get(number).expect("a token for each claim");
                    let began = Instant::now();
                    let _ = claim(&mut wire, &what, token).await.expect(201);
                    let took = began.elapsed();
                    assert!(took < CLAIM_MAX, "a claim took {took:?}");
                    answered += 1;
                }
                answered
            });
        }
        Self { clients, enough }
    }

    /// Stops them; how many claims were answered, every one of which won.
    async fn stop(self) -> usize {
        self.enough.store(true, Ordering::Relaxed);
        self.clients.join_all().await.into_iter().sum()
    }
}

async fn claim(wire: &mut Wire, what: &str, token: &str) -> Answer {
    wire.request(what, token, "").await.expect("the server reads");
    wire.answer().await.expect("an answer")
}

/// Sends a byte each [`PACE`] until the server closes, and how long that took; with all that the
/// server said.
async fn trickle(mut stream: TcpStream, bytes: &[u8]) -> (Duration, String) {
    let (began, mut pace, mut said) = (Instant::now(), interval(PACE), Vec::new());
    let (mut read, mut write) = stream.split();
    let sending = async {
        for byte in bytes {
            pace.tick().await;
            if write.write_all(&[*byte]).await.is_err() {
                break;
            }
        }
        // Then nothing more, and the connection stays open.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = sending => {}
        // A reset is an end too: our bytes may be on their way while the server closes.
        _ended = read.read_to_end(&mut said) => {}
    }
    (began.elapsed(), String::from_utf8_lossy(&said).into_owned())
}

/// The default: a head must be there five seconds after it began.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_slow_heads_are_cut_while_claims_go_on() {
    const SLOW: usize = 1_000;
    const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
    const HEAD: &[u8] =
        b"GET /v1/events HTTP/1.1\r\nhost: slow.example.com\r\nx-padding: a\r\n\r\n";
    let _turn = many_files(2 * SLOW).await;
    let shop = Shop::open().await;
    let claimers = Claimers::start(&shop).await;
    let mut slow = JoinSet::new();
    for _ in 0..SLOW {
        let stream = TcpStream::connect(shop.server.authority()).await.expect("it accepts");
        slow.spawn(async move { timeout(HEAD_TIMEOUT + MARGIN, trickle(stream, HEAD)).await });
    }
    for cut in slow.join_all().await {
        let (after, said) = cut.expect("a slow head is cut in time");
        assert_eq!(said, "");
        assert!(after >= HEAD_TIMEOUT - PACE, "cut after {after:?}");
    }
    let answered = claimers.stop().await;
    assert!(answered >= 100, "only {answered} claims were answered beside");
}

/// The body counts to the time that an answer may take: slow ones are told so, and cut.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_bodies_are_given_up_while_claims_go_on() {
    const SLOW: usize = 100;
    const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
    let shop = Shop::open_configured("[server]\nanswer_timeout_seconds = 3\n").await;
    let event = shop.event(10).await;
    let token = shop.user("slow").await;
    let claimers = Claimers::start(&shop).await;
    let mut slow = JoinSet::new();
    for number in 0..SLOW {
        let path = match number % 2 {
            0 => "/v1/sessions".to_owned(),
            _ => format!("/v1/events/{event}/claims"),
        };
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: slow\r\nauthorization: Bearer {token}\r\n\
             content-type: application/json\r\ncontent-length: 60\r\n\r\n"
        );
        let mut stream = TcpStream::connect(shop.server.authority()).await.expect("it accepts");
        stream.write_all(head.as_bytes()).await.expect("it reads");
        slow.spawn(async move { timeout(MARGIN + MARGIN, trickle(stream, &[b' '; 60])).await });
    }
    for given_up in slow.join_all().await {
        let (after, said) = given_up.expect("a slow body is given up in time");
        assert!(said.starts_with("HTTP/1.1 503 ") && said.contains("\"timeout\""), "{said}");
        assert!(after >= ANSWER_TIMEOUT - PACE, "given up after {after:?}");
    }
    let answered = claimers.stop().await;
    assert!(answered >= 100, "only {answered} claims were answered beside");
}

/// Hashing is bounded: a crowd that logs in takes neither the memory nor the claims' threads.
///
/// The queue has a place for each of the crowd and no more, and there are more log-ins than places:
/// whoever is refused a place has met one that was not given back. A busy machine may only be slow
/// to read an account; that is told by the ledger's own count, and whoever meets it tries again
/// until the log-in succeeds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_log_ins_leaves_memory_and_claims_alone() {
    const PARALLEL: usize = 64;
    const EACH: usize = 3;
    const HASHES: usize = 2;
    const FLOOD_MAX: Duration = Duration::from_secs(120);
    const BYTES_MAX: u64 = 512 << 20;
    let waiting = PARALLEL - HASHES;
    let shop = Shop::open_configured(&format!(
        "[identity]\nhashes_parallel_max = {HASHES}\nhashes_waiting_max = {waiting}\n\
         [limits]\nlog_in_address_burst = 0\nlog_in_address_per_minute = 0\n"
    ))
    .await;
    let account = json!({"email": "kim@example.com", "password": "the right password"});
    let _ = shop.api.post("/v1/users").json(account.clone()).await.expect(201);
    let claimers = Claimers::start(&shop).await;
    let mut crowd = JoinSet::new();
    for _ in 0..PARALLEL {
        crowd.spawn(log_ins(shop.wire().await, account.to_string(), EACH));
    }
    let (began, mut at_work_max, mut unavailable) = (Instant::now(), 0, 0);
    loop {
        at_work_max = at_work_max.max(sum(&shop, "firstcome_passwords_at_work").await);
        match timeout(POLL, crowd.join_next()).await {
            Ok(Some(ended)) => unavailable += ended.expect("no panic"),
            Ok(None) => break,
            Err(_) => assert!(began.elapsed() < FLOOD_MAX, "{} still log in", crowd.len()),
        }
        assert_eq!(sum(&shop, "firstcome_password_refused_total").await, 0, "without a place");
    }
    assert!((1..=HASHES).contains(&at_work_max), "{at_work_max} passwords at once");
    let busy = sum(&shop, "firstcome_ledger_acquire_failures_total").await;
    assert!(unavailable <= busy, "{unavailable} were refused, {busy} by the ledger");
    let answered = claimers.stop().await;
    assert!(answered >= 100, "only {answered} claims were answered beside");
    let (_, most) = shop.server.memory_bytes();
    assert!(most < BYTES_MAX, "{} MiB", most >> 20);
}

/// Logs in so many times, and how often the server could not answer meanwhile.
async fn log_ins(mut wire: Wire, account: String, times: usize) -> usize {
    let (mut logged_in, mut unavailable) = (0, 0);
    while logged_in < times {
        wire.request("POST /v1/sessions", "none", &account).await.expect("it reads");
        let answer = wire.answer().await.expect("an answer");
        if answer.status == 200 {
            logged_in += 1;
        } else {
            let _ = answer.expect_problem(503, "unavailable");
            unavailable += 1;
            sleep(POLL).await;
        }
    }
    unavailable
}

/// The sum of a metric over its labels.
async fn sum(shop: &Shop, metric: &str) -> usize {
    let text = shop.api.get("/metrics").await.expect(200).text();
    let values = text.lines().filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let name = series.split('{').next().expect("a name");
        (name == metric).then(|| value.parse::<usize>().expect("a count"))
    });
    let values: Vec<_> = values.collect();
    assert!(!values.is_empty(), "there is no {metric}:\n{text}");
    values.into_iter().sum()
}
