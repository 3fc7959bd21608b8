//! Serving on real sockets: time-outs, limits, and the drain.

use std::future::Future;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::routing::{get, post};
use firstcome_web::{Body, ConnectionThreads, Drained, EdgeOptions, ServeOptions, edge, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

/// Longest that a test waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(20);
const HEAD_TIMEOUT: Duration = Duration::from_millis(250);
const IDLE_TIMEOUT: Duration = Duration::from_millis(1500);

/// A server under test.
struct Server {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<Drained>,
    /// Permits that `/held` takes before it answers.
    gate: Arc<Semaphore>,
    /// A permit for each request that has reached `/held`.
    reached: Arc<Semaphore>,
}

impl Server {
    async fn start(options: ServeOptions) -> Self {
        let (gate, reached) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let held = {
            let (gate, reached) = (Arc::clone(&gate), Arc::clone(&reached));
            async move || {
                reached.add_permits(1);
                gate.acquire().await.expect("the gate stays").forget();
                "held"
            }
        };
        let router = Router::new()
            .route("/", get(async || "fine"))
            .route("/held", get(held))
            .route("/echo", post(async |Body(text): Body<String>| text))
            .route("/peer", get(async |peer: ConnectInfo<SocketAddr>| peer.0.to_string()));
        let app = edge(router, EdgeOptions::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("the listener is bound");
        let (stop, stopped) = oneshot::channel();
        let ended = tokio::spawn(async move {
            let shutdown = async { stopped.await.expect("the test stops the server") };
            let threads = ConnectionThreads::start().expect("threads and files are left");
            serve(listener, &threads, || app.clone(), options, shutdown).await
        });
        Self { address, stop, ended, gate, reached }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("the server accepts")
    }

    async fn stop(self) -> Drained {
        self.stop.send(()).expect("the server listens to its stop");
        within(self.ended).await.expect("the server ends")
    }
}

fn options() -> ServeOptions {
    ServeOptions {
        head_timeout: HEAD_TIMEOUT,
        idle_timeout: IDLE_TIMEOUT,
        drain_deadline: PATIENCE,
        ..Default::default()
    }
}

async fn within<T>(work: impl Future<Output = T>) -> T {
    timeout(PATIENCE, work).await.expect("it happens in time")
}

async fn send(stream: &mut TcpStream, text: &str) {
    within(stream.write_all(text.as_bytes())).await.expect("the server reads");
}

/// Reads one answer with a `Content-Length`.
async fn answer(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    let mut length = None;
    while length != Some(text.len()) {
        let mut bytes = [0; 4096];
        let read = within(stream.read(&mut bytes)).await.expect("the server answers");
        assert_ne!(read, 0, "closed after: {text}");
        text.push_str(std::str::from_utf8(&bytes[..read]).expect("answers are UTF-8"));
        length = text.find("\r\n\r\n").map(|head| {
            let lower = text.to_ascii_lowercase();
            let (_, rest) = lower.split_once("content-length: ").expect("an answer has a length");
            let digits = rest.split("\r\n").next().expect("a header ends");
            head + 4 + digits.parse::<usize>().expect("a length is a number")
        });
    }
    text
}

/// Reads until the server closes.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset is an end too: the server may close while our bytes are on their way.
    let _ended = within(stream.read_to_end(&mut bytes)).await;
    String::from_utf8(bytes).expect("answers are UTF-8")
}

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
const GET_HELD: &str = "GET /held HTTP/1.1\r\nhost: a\r\n\r\n";

#[tokio::test]
async fn a_connection_is_kept_for_many_requests() {
    let server = Server::start(options()).await;
    let mut stream = server.connect().await;
    for _ in 0..3 {
        send(&mut stream, GET).await;
        assert!(answer(&mut stream).await.ends_with("\r\n\r\nfine"));
    }
    send(&mut stream, &format!("{GET}{GET}")).await;
    let mut pipelined = String::new();
    while pipelined.matches("fine").count() < 2 {
        pipelined += &some(&mut stream).await;
    }
    send(&mut stream, "GET /peer HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let own = stream.local_addr().unwrap().to_string();
    assert!(answer(&mut stream).await.ends_with(&own));
}

#[tokio::test]
async fn a_slow_head_is_cut() {
    let server = Server::start(options()).await;
    for start in ["", "G", "GET / HTTP/1.1\r\nhost: a\r\nx: "] {
        let mut stream = server.connect().await;
        let began = Instant::now();
        send(&mut stream, start).await;
        assert_eq!(rest(&mut stream).await, "", "{start}");
        assert!((HEAD_TIMEOUT..IDLE_TIMEOUT).contains(&began.elapsed()), "{:?}", began.elapsed());
    }
}

#[tokio::test]
async fn a_head_that_trickles_is_cut_too() {
    let server = Server::start(options()).await;
    let mut stream = server.connect().await;
    send(&mut stream, GET).await;
    answer(&mut stream).await;
    let (mut read, mut write) = stream.into_split();
    let trickle = tokio::spawn(async move {
        let mut pace = tokio::time::interval(HEAD_TIMEOUT / 10);
        while write.write_all(b"x").await.is_ok() {
            pace.tick().await;
        }
    });
    let began = Instant::now();
    let _ended = within(read.read_to_end(&mut Vec::new())).await;
    assert!(began.elapsed() < IDLE_TIMEOUT, "{:?}", began.elapsed());
    within(trickle).await.expect("the trickle ends with the connection");
}

#[tokio::test]
async fn an_idle_connection_outlives_the_time_of_a_head() {
    let server = Server::start(options()).await;
    let mut stream = server.connect().await;
    send(&mut stream, GET).await;
    answer(&mut stream).await;
    let began = Instant::now();
    assert_eq!(rest(&mut stream).await, "");
    // The server began to wait when it had written, a little before the answer was read here.
    let idle = began.elapsed() + HEAD_TIMEOUT / 2;
    assert!((IDLE_TIMEOUT..IDLE_TIMEOUT * 4).contains(&idle), "{idle:?}");
}

#[tokio::test]
async fn an_answer_may_take_longer_than_a_head() {
    let server = Server::start(options()).await;
    let mut stream = server.connect().await;
    send(&mut stream, GET_HELD).await;
    let early = timeout(IDLE_TIMEOUT * 2, stream.read_u8()).await;
    assert!(early.is_err(), "neither answered nor closed while the request is under way");
    server.gate.add_permits(1);
    assert!(answer(&mut stream).await.ends_with("held"));
}

#[tokio::test]
async fn one_connection_too_many_is_refused_at_once() {
    let server = Server::start(ServeOptions { connections_max: 1, ..options() }).await;
    let mut first = server.connect().await;
    send(&mut first, GET).await;
    answer(&mut first).await;

    let refused = rest(&mut server.connect().await).await;
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    assert!(refused.contains("application/problem+json"), "{refused}");
    assert!(refused.contains(r#""code":"unavailable""#), "{refused}");

    drop(first);
    let seated = async {
        loop {
            let mut stream = server.connect().await;
            let _refused_already = stream.write_all(GET.as_bytes()).await;
            if some(&mut stream).await.contains(" 200 ") {
                return;
            }
        }
    };
    within(seated).await;
}

/// Whatever comes first; nothing at the end.
async fn some(stream: &mut TcpStream) -> String {
    let mut bytes = [0; 4096];
    let read = within(stream.read(&mut bytes)).await.unwrap_or(0);
    String::from_utf8_lossy(&bytes[..read]).into_owned()
}

#[tokio::test]
async fn the_drain_answers_what_is_under_way_and_closes_the_rest() {
    let server = Server::start(options()).await;
    let (address, gate) = (server.address, Arc::clone(&server.gate));
    let mut busy = server.connect().await;
    send(&mut busy, GET_HELD).await;
    within(server.reached.acquire()).await.expect("the request arrives").forget();
    // Later ones on every thread: each thread tells its connections in the order of their coming.
    let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let mut idle = Vec::new();
    for _ in 0..2 * threads {
        let mut stream = server.connect().await;
        send(&mut stream, GET).await;
        answer(&mut stream).await;
        idle.push(stream);
    }

    let drained = tokio::spawn(server.stop());
    for mut stream in idle {
        assert_eq!(rest(&mut stream).await, "");
    }
    TcpStream::connect(address).await.expect_err("nothing more is accepted");
    gate.add_permits(1);
    let last = rest(&mut busy).await;
    assert!(last.contains("connection: close") && last.ends_with("held"), "{last}");
    assert_eq!(within(drained).await.unwrap(), Drained { cut: 0 });
}

#[tokio::test]
async fn the_drain_ends_at_its_deadline() {
    let drain_deadline = Duration::from_millis(100);
    let server = Server::start(ServeOptions { drain_deadline, ..options() }).await;
    let mut busy = server.connect().await;
    send(&mut busy, GET_HELD).await;
    within(server.reached.acquire()).await.expect("the request arrives").forget();
    assert_eq!(server.stop().await, Drained { cut: 1 });
    assert_eq!(rest(&mut busy).await, "");
}

#[tokio::test]
async fn a_large_body_is_refused_also_to_a_sender_that_does_not_listen() {
    let server = Server::start(options()).await;
    let mut stream = server.connect().await;
    let body = "[".repeat(500_000);
    let head = format!(
        "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    send(&mut stream, &head).await;
    send(&mut stream, &body).await;
    let refused = answer(&mut stream).await;
    assert!(refused.starts_with("HTTP/1.1 413 ") && refused.contains("too_large"), "{refused}");
    send(&mut stream, GET).await;
    assert!(answer(&mut stream).await.ends_with("fine"), "the connection is still good");
}

#[tokio::test]
async fn a_large_body_is_refused_before_it_is_sent_to_a_sender_that_asks() {
    let server = Server::start(options()).await;
    let mut stream = server.connect().await;
    let head = "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n\
                expect: 100-continue\r\ncontent-length: 500000\r\n\r\n";
    send(&mut stream, head).await;
    let refused = answer(&mut stream).await;
    assert!(refused.starts_with("HTTP/1.1 413 "), "{refused}");
}

#[tokio::test]
async fn heads_that_cannot_be_read_are_refused() {
    let server = Server::start(options()).await;
    let large = |bytes| format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "a".repeat(bytes));
    for (head, status) in [
        (large(16 * 1024), "431"),
        (large(100 * 1024), "431"),
        ("NOT HTTP\r\n\r\n".to_owned(), "400"),
        ("GET / HTTP/1.1\r\nhost: a\r\nx y: 1\r\n\r\n".to_owned(), "400"),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n"
                .to_owned(),
            "400",
        ),
    ] {
        let mut stream = server.connect().await;
        send(&mut stream, &head).await;
        let refused = some(&mut stream).await;
        assert!(refused.starts_with(&format!("HTTP/1.1 {status} ")), "{refused}");
    }
}
