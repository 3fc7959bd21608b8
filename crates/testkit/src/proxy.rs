//! A TCP proxy on loopback that breaks, for tests of what a fault of the network does.
//!
//! It runs in the runtime of the test: a test that blocks its only thread stops it. Faults at a
//! `COMMIT` are found in what the client says, which must be plain text and not TLS.
//!
//! Below it, `link` carries the bytes of one connection, `commit` knows a `COMMIT` and its reply,
//! and `fuse` counts what is asked of several servers.

mod commit;
mod fuse;
mod link;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::launch::POLL;
pub use fuse::Fuse;
use link::Link;

/// Longest that a test waits for a fault.
const FAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// A way through the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    ToServer,
    /// From the server to the client.
    ToClient,
}

/// What happens to a `COMMIT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitFault {
    /// The server never hears of it: the connection is closed on both sides.
    LoseRequest,
    /// The server hears of it when [`release`](Proxy::release) is called, and the client hears no
    /// answer. It counts once when it comes, and once when the server has answered.
    DelayRequest,
    /// The server has answered, and then the connection is closed; the client hears no answer.
    LoseReply,
    /// The server has answered, and the client hears nothing any more, on a connection that stays
    /// open.
    HideReply,
}

/// A proxy in front of one server. Dropping it closes everything.
#[derive(Debug)]
pub struct Proxy {
    authority: String,
    shared: Arc<Shared>,
    acceptor: JoinHandle<()>,
}

/// What the proxy and its connections share.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Wakes who waits to write.
    cut: Notify,
    /// Commits that were hit since the trigger was set.
    hits: watch::Sender<usize>,
    /// Whether what is delayed may go on.
    released: watch::Sender<bool>,
}

#[derive(Debug)]
struct State {
    upstream: String,
    refuses: bool,
    cuts: Vec<Direction>,
    trigger: Option<Trigger>,
    fuse: Option<Fuse>,
    links: HashMap<u64, Link>,
    accepted: u64,
}

/// A fault that waits for its commits.
#[derive(Debug)]
struct Trigger {
    fault: CommitFault,
    pass: usize,
    hit: usize,
}

impl Proxy {
    /// Starts a proxy in front of `upstream`: `host:port`, or a URL, of which only that matters.
    /// When nobody listens there, a client is accepted and closed.
    ///
    /// # Panics
    /// When it cannot listen.
    pub async fn start(upstream: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port on loopback");
        let authority = listener.local_addr().expect("a bound address").to_string();
        let state = State {
            upstream: authority_of(upstream),
            refuses: false,
            cuts: Vec::new(),
            trigger: None,
            fuse: None,
            links: HashMap::new(),
            accepted: 0,
        };
        let (cut, hits) = (Notify::new(), watch::Sender::new(0));
        let released = watch::Sender::new(false);
        let shared = Arc::new(Shared { state: Mutex::new(state), cut, hits, released });
        let acceptor = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self { authority, shared, acceptor }
    }

    /// Where it listens, as `127.0.0.1:1234`.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The URL with the proxy in place of the server.
    ///
    /// # Panics
    /// When it is no URL.
    #[must_use]
    pub fn url(&self, url: &str) -> String {
        let (before, _, after) = split(url).expect("a URL");
        format!("{before}{}{after}", self.authority)
    }

    /// From now on no byte goes this way: what comes is read and dropped, on connections that live
    /// and on new ones. They all stay open; that one side closes is not passed on either.
    pub fn cut(&self, direction: Direction) {
        self.shared.state().cuts.push(direction);
        self.shared.cut.notify_waiters();
    }

    /// Ends all cuts. Connections that have lost something are closed: what would come next is not
    /// what the other side expects.
    pub async fn heal(&self) {
        let closed = {
            let mut state = self.shared.state();
            state.cuts.clear();
            state.take_links(|link| link.has_lost)
        };
        close(closed).await;
    }

    /// From now on what is asked must pass this fuse, which other proxies may have, too.
    pub fn fuse(&self, fuse: &Fuse) {
        self.shared.state().fuse = Some(fuse.clone());
    }

    /// Closes all connections; new ones are welcome.
    pub async fn reset(&self) {
        let closed = self.shared.state().take_links(|_| true);
        close(closed).await;
    }

    /// Whether new connections are accepted and closed at once.
    pub fn refuse(&self, refuses: bool) {
        self.shared.state().refuses = refuses;
    }

    /// New connections go to this server; those that live stay where they are.
    pub fn set_upstream(&self, upstream: &str) {
        self.shared.state().upstream = authority_of(upstream);
    }

    /// Lets so many commits pass, on whatever connections, does this to as many as `hit` says, and
    /// then nothing more; `usize::MAX` is all of them, and zero ends an earlier trigger. [`hits`]
    /// begins at zero again.
    ///
    /// A commit is a client's message of exactly `COMMIT`, as sqlx sends it: a simple query of
    /// PostgreSQL or a `COM_QUERY` of MySQL.
    ///
    /// [`hits`]: Self::hits
    pub fn on_commit(&self, fault: CommitFault, pass: usize, hit: usize) {
        self.shared.state().trigger = Some(Trigger { fault, pass, hit });
        self.shared.hits.send_replace(0);
        self.shared.released.send_replace(false);
    }

    /// Lets go of the commits that are delayed.
    pub fn release(&self) {
        self.shared.released.send_replace(true);
    }

    /// How many commits were hit since [`on_commit`](Self::on_commit). One whose reply is lost or
    /// hidden counts when the server has answered.
    #[must_use]
    pub fn hits(&self) -> usize {
        *self.shared.hits.borrow()
    }

    /// Waits until so many commits were hit.
    ///
    /// # Panics
    /// When they are not, in time.
    pub async fn wait_for_hits(&self, count: usize) {
        let mut hits = self.shared.hits.subscribe();
        let waited = timeout(FAULT_TIMEOUT, hits.wait_for(|hits| *hits >= count)).await;
        assert!(waited.is_ok(), "{} commits were hit, not {count}", self.hits());
    }

    /// Waits until so many connections that live have lost something to a cut.
    ///
    /// # Panics
    /// When they do not, in time.
    pub async fn wait_for_losses(&self, count: usize) {
        let deadline = Instant::now() + FAULT_TIMEOUT;
        loop {
            let lost = self.shared.state().links.values().filter(|link| link.has_lost).count();
            if lost >= count {
                return;
            }
            assert!(Instant::now() < deadline, "{lost} connections lost something, not {count}");
            sleep(POLL).await;
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.acceptor.abort();
        for task in self.shared.state().take_links(|_| true) {
            task.abort();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while held")
    }
}

impl State {
    fn is_cut(&self, direction: Direction) -> bool {
        self.cuts.contains(&direction)
    }

    /// Takes out the tasks of the connections that are to be closed.
    fn take_links(&mut self, is_taken: impl Fn(&Link) -> bool) -> Vec<JoinHandle<()>> {
        self.links.extract_if(|_, link| is_taken(link)).map(|(_, link)| link.task).collect()
    }

    /// The fault of the commit that is about to be sent.
    fn next_fault(&mut self) -> Option<CommitFault> {
        let trigger = self.trigger.as_mut()?;
        if trigger.pass > 0 {
            trigger.pass -= 1;
            return None;
        }
        trigger.hit = trigger.hit.checked_sub(1)?;
        Some(trigger.fault)
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let Ok((client, _)) = listener.accept().await else {
            // Out of descriptors: some may come back.
            sleep(POLL).await;
            continue;
        };
        let mut state = shared.state();
        if state.refuses {
            continue;
        }
        state.accepted += 1;
        let id = state.accepted;
        let upstream = state.upstream.clone();
        let task = tokio::spawn(link::run(Arc::clone(&shared), id, client, upstream));
        state.links.insert(id, Link::new(task));
    }
}

/// Closes connections, and waits until they are.
async fn close(tasks: Vec<JoinHandle<()>>) {
    for task in tasks {
        task.abort();
        // A task that was aborted ends with an error that says so.
        let _ = task.await;
    }
}

/// The host and port of a URL, or what is no URL as it is.
fn authority_of(upstream: &str) -> String {
    let Some((before, authority, _)) = split(upstream) else { return upstream.to_owned() };
    match authority.rsplit_once(':') {
        Some(_) => authority.to_owned(),
        None if before.starts_with("mysql") => format!("{authority}:3306"),
        None => format!("{authority}:5432"),
    }
}

/// What is before the host and port of a URL, these, and what is after.
fn split(url: &str) -> Option<(&str, &str, &str)> {
    let scheme_end = url.find("://")? + 3;
    let rest = &url[scheme_end..];
    let end = scheme_end + rest.find(['/', '?', '#']).unwrap_or(rest.len());
    // A password may hold an `@`, a host may not.
    let begin = url[..end].rfind('@').map_or(scheme_end, |place| place + 1);
    Some((&url[..begin], &url[begin..end], &url[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authority_of_a_url_is_found() {
        assert_eq!(authority_of("127.0.0.1:1"), "127.0.0.1:1");
        assert_eq!(authority_of("postgres://a:b@there:1/x"), "there:1");
        assert_eq!(authority_of("mysql://a:p@ss@there/x?y=@z"), "there:3306");
        assert_eq!(authority_of("postgres://there"), "there:5432");
    }

    #[tokio::test]
    async fn a_url_leads_through_the_proxy() {
        let proxy = Proxy::start("there:1").await;
        let authority = proxy.authority();
        let cases = [
            ("mysql://a:b@there:1/x?y=z", format!("mysql://a:b@{authority}/x?y=z")),
            ("postgres://there", format!("postgres://{authority}")),
        ];
        for (url, expected) in cases {
            assert_eq!(proxy.url(url), expected);
        }
    }
}
