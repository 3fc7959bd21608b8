//! Serving: connections in, drained on the way out. `docs/adr/0003-serving.md` has the reasons.

mod patience;
mod threads;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use metrics::{Counter, Unit, counter, describe_counter};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tower::Service;

use crate::middleware::RequestId;
use crate::problem::{Code, Problem};
use patience::{Noted, Patience, RunOut};
pub use threads::ConnectionThreads;

/// Most bytes of a request's head that are read at all. The edge refuses heads far below this with
/// a problem; above it nothing is parsed, and hyper answers a bare 431.
const HEAD_BYTES_MAX: usize = 128 * 1024;
const TURNED_AWAY: &str = "firstcome_connections_refused_total";
/// How long accepting pauses when the process has run out of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The bounds that hold for every connection.
#[derive(Debug, Clone, Copy)]
pub struct ServeOptions {
    /// Most connections at once; one more is answered 503 `unavailable` and closed at once.
    pub connections_max: usize,
    /// Longest time from a head's first byte (on a new connection, from its beginning) to its
    /// last; then the connection is closed.
    pub head_timeout: Duration,
    /// Shortest time that a connection without a request is kept; at most twice as long.
    pub idle_timeout: Duration,
    /// Longest time that accepted requests are given when the server stops.
    pub drain_deadline: Duration,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            head_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(75),
            drain_deadline: Duration::from_secs(30),
        }
    }
}

/// How serving ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were still answering at the drain's deadline, and were cut.
    pub cut: usize,
}

/// Serves HTTP/1.1 on the listener until `shutdown` completes, then drains: nothing more is
/// accepted, idle connections close, requests under way are answered with `Connection: close`, and
/// what is left at the deadline is cut. The threads serve this one listener in their life.
///
/// Each thread gets an `app` of its own: what the threads share is counted in memory that their
/// processors would pass to and fro with each request.
pub async fn serve<A>(
    listener: TcpListener,
    threads: &ConnectionThreads,
    app: impl Fn() -> A,
    options: ServeOptions,
    shutdown: impl Future<Output = ()>,
) -> Drained
where
    A: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    A::Future: Send,
{
    let server = Server::new((0..threads.count()).map(|_| app()).collect(), options);
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => server.admit(threads, stream, peer),
                Err(error) => pause_after(&error).await,
            },
        }
    }
    drop(listener);
    server.drain(threads).await
}

/// A connection that failed before it was accepted concerns nobody; any other failure is the
/// process's own and does not pass at once.
async fn pause_after(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    if !matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
        tracing::error!(error.message = %error, "cannot accept connections");
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}

/// Everything that connections share.
struct Server<A> {
    /// The app of each thread.
    apps: Vec<A>,
    options: ServeOptions,
    http: http1::Builder,
    seats: Arc<Semaphore>,
    /// Answer what is under way, then close.
    closing: CancellationToken,
    /// Close now.
    cutting: CancellationToken,
    /// Connections beyond the limit; it shows zero before the first.
    turned_away: Counter,
}

impl<A> Server<A>
where
    A: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    A::Future: Send,
{
    fn new(apps: Vec<A>, options: ServeOptions) -> Self {
        let mut http = http1::Builder::new();
        // The connection keeps its own time: see `patience`.
        // Answers are small: one piece is sent faster than two.
        http.header_read_timeout(None).max_header_size(HEAD_BYTES_MAX).writev(false);
        Self {
            apps,
            options,
            http,
            seats: Arc::new(Semaphore::new(options.connections_max)),
            closing: CancellationToken::new(),
            cutting: CancellationToken::new(),
            turned_away: counter!(TURNED_AWAY),
        }
    }

    /// Gives the connection a task of its own, or turns it away.
    fn admit(&self, threads: &ConnectionThreads, stream: TcpStream, peer: SocketAddr) {
        let Ok(seat) = Arc::clone(&self.seats).try_acquire_owned() else {
            self.turned_away.increment(1);
            return turn_away(&stream);
        };
        // An answer is one write: to wait for more would only delay it.
        if stream.set_nodelay(true).is_ok()
            && let Ok(stream) = stream.into_std()
        {
            let thread = threads.idlest();
            threads.spawn(thread, self.connection(&self.apps[thread], stream, peer, seat));
        }
    }

    /// Serves one connection to its end, on the runtime that polls it.
    fn connection(
        &self,
        app: &A,
        stream: std::net::TcpStream,
        peer: SocketAddr,
        seat: OwnedSemaphorePermit,
    ) -> impl Future<Output = ()> + Send + use<A> {
        let ServeOptions { head_timeout, idle_timeout, .. } = self.options;
        let (app, http) = (app.clone(), self.http.clone());
        // A child is looked at without a lock that other threads take.
        let (closing, cutting) = (self.closing.child_token(), self.cutting.clone());
        async move {
            let _seat = seat;
            let stream = match TcpStream::from_std(stream) {
                Ok(stream) => stream,
                Err(error) => {
                    tracing::error!(error.message = %error, "cannot serve a connection");
                    return;
                }
            };
            let patience = Patience::new();
            let run_out = RunOut::new(Arc::clone(&patience), head_timeout, idle_timeout);
            let stream = TokioIo::new(Noted::new(stream, Arc::clone(&patience)));
            let service = service_fn(move |mut request: hyper::Request<Incoming>| {
                request.extensions_mut().insert(ConnectInfo(peer));
                let answering = patience.answering();
                let response = app.clone().call(request.map(Body::new));
                async move {
                    let response = response.await;
                    drop(answering);
                    response
                }
            });
            let connection = http.serve_connection(stream, service);
            let (mut connection, mut run_out) = (pin!(connection), pin!(run_out));
            let mut draining = false;
            loop {
                tokio::select! {
                    biased;
                    ended = connection.as_mut() => {
                        if let Err(error) = ended {
                            let client = peer.ip();
                            tracing::debug!(
                                client.ip = %client, error.message = %error, "a connection ended"
                            );
                        }
                        return;
                    }
                    () = closing.cancelled(), if !draining => {
                        draining = true;
                        connection.as_mut().graceful_shutdown();
                    }
                    () = cutting.cancelled(), if draining => return,
                    () = run_out.as_mut() => return,
                }
            }
        }
    }

    async fn drain(self, threads: &ConnectionThreads) -> Drained {
        self.closing.cancel();
        if timeout(self.options.drain_deadline, threads.all_ended()).await.is_ok() {
            return Drained { cut: 0 };
        }
        let cut = threads.connections();
        self.cutting.cancel();
        threads.all_ended().await;
        Drained { cut }
    }
}

/// Declares the metric of serving with its help text. Call it once a recorder is installed.
pub fn describe_metrics() {
    describe_counter!(TURNED_AWAY, Unit::Count, "Connections refused beyond connections_max.");
}

/// Says 503 without reading anything, and closes. A peer that is slow to listen may miss it.
fn turn_away(stream: &TcpStream) {
    let problem = Problem::new(Code::Unavailable, "too many connections");
    let body = problem.render(RequestId::make().as_str());
    let mut answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: {}\r\nretry-after: 1\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n",
        crate::problem::MEDIA_TYPE,
        body.len()
    )
    .into_bytes();
    answer.extend(body);
    if stream.try_write(&answer).is_err() {
        tracing::debug!("turned a connection away without a word");
    }
}
