//! One connection through the proxy.

use std::future::pending;
use std::io::ErrorKind;
use std::pin::pin;
use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::task::JoinHandle;

use super::commit::Reply;
use super::{CommitFault, Direction, Fuse, Shared, State};

/// The most that is read at once, and all that is kept of a direction.
const CHUNK_BYTES: usize = 64 * 1024;

/// What the proxy knows of a connection.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) task: JoinHandle<()>,
    /// Whether a cut has swallowed something of it.
    pub(super) has_lost: bool,
    answer: Answer,
}

/// What becomes of what the server says.
#[derive(Debug)]
enum Answer {
    Passes,
    Awaited(CommitFault, Reply),
    Hidden,
}

/// Both sides are to be closed.
struct Closed;

/// What becomes of some bytes.
enum Verdict {
    Pass,
    /// Later, when the test says so.
    Delay,
    Vanish,
    Close,
}

/// One direction of a connection.
struct Way<'a> {
    shared: &'a Shared,
    id: u64,
    direction: Direction,
}

impl Link {
    pub(super) const fn new(task: JoinHandle<()>) -> Self {
        Self { task, has_lost: false, answer: Answer::Passes }
    }
}

impl Direction {
    const fn opposite(self) -> Self {
        match self {
            Self::ToServer => Self::ToClient,
            Self::ToClient => Self::ToServer,
        }
    }
}

/// Carries bytes until one side or the proxy closes.
pub(super) async fn run(shared: Arc<Shared>, id: u64, client: TcpStream, upstream: String) {
    if let Ok(server) = TcpStream::connect(&upstream).await {
        carry(&shared, id, client, server).await;
    }
    shared.state().links.remove(&id);
}

async fn carry(shared: &Shared, id: u64, mut client: TcpStream, mut server: TcpStream) {
    for stream in [&client, &server] {
        // Without it the bytes only come later.
        let _ = stream.set_nodelay(true);
    }
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let way = |direction| Way { shared, id, direction };
    // Ends when both sides have said their last, or one must not go on.
    let _ = tokio::try_join!(
        way(Direction::ToServer).run(from_client, to_server),
        way(Direction::ToClient).run(from_server, to_client),
    );
}

impl Way<'_> {
    async fn run(self, from: ReadHalf<'_>, mut to: WriteHalf<'_>) -> Result<(), Closed> {
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            from.readable().await.map_err(|_| Closed)?;
            let read = match from.try_read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(_) => {
                    self.wait_while_silent().await;
                    return Err(Closed);
                }
            };
            if self.direction == Direction::ToServer
                && let Some(fuse) = self.fuse()
            {
                fuse.pass(&buffer[..read]).await;
            }
            match self.judge(&buffer[..read]) {
                Verdict::Pass => self.write(&to, &buffer[..read]).await?,
                Verdict::Delay => {
                    let mut released = self.shared.released.subscribe();
                    released.wait_for(|released| *released).await.map_err(|_| Closed)?;
                    self.write(&to, &buffer[..read]).await?;
                }
                Verdict::Vanish => {}
                Verdict::Close => return Err(Closed),
            }
        }
        self.wait_while_silent().await;
        to.shutdown().await.map_err(|_| Closed)
    }

    fn fuse(&self) -> Option<Fuse> {
        self.shared.state().fuse.clone()
    }

    /// Decides about bytes that came, before any of them is passed on.
    fn judge(&self, chunk: &[u8]) -> Verdict {
        let mut state = self.shared.state();
        match self.direction {
            Direction::ToServer => self.judge_request(&mut state, chunk),
            Direction::ToClient => self.judge_answer(&mut state, chunk),
        }
    }

    fn judge_request(&self, state: &mut State, chunk: &[u8]) -> Verdict {
        if state.is_cut(self.direction) {
            self.lose(state);
            return Verdict::Vanish;
        }
        let Some(reply) = Reply::asked_by(chunk) else { return Verdict::Pass };
        let Some(fault) = state.next_fault() else { return Verdict::Pass };
        if fault == CommitFault::LoseRequest {
            self.shared.hits.send_modify(|hits| *hits += 1);
            return Verdict::Close;
        }
        let Some(link) = state.links.get_mut(&self.id) else { return Verdict::Close };
        link.answer = Answer::Awaited(fault, reply);
        if fault == CommitFault::DelayRequest {
            self.shared.hits.send_modify(|hits| *hits += 1);
            return Verdict::Delay;
        }
        Verdict::Pass
    }

    fn judge_answer(&self, state: &mut State, chunk: &[u8]) -> Verdict {
        let is_cut = state.is_cut(self.direction);
        let Some(link) = state.links.get_mut(&self.id) else { return Verdict::Close };
        let Answer::Awaited(fault, reply) = &mut link.answer else {
            let passes = matches!(link.answer, Answer::Passes) && !is_cut;
            link.has_lost |= is_cut;
            return if passes { Verdict::Pass } else { Verdict::Vanish };
        };
        if !reply.is_whole_with(chunk) {
            return Verdict::Vanish;
        }
        let fault = *fault;
        link.answer = Answer::Hidden;
        self.shared.hits.send_modify(|hits| *hits += 1);
        if fault == CommitFault::LoseReply { Verdict::Close } else { Verdict::Vanish }
    }

    /// Passes bytes on. Each write is under the lock that a cut takes: none comes after it.
    async fn write(&self, to: &WriteHalf<'_>, mut chunk: &[u8]) -> Result<(), Closed> {
        while !chunk.is_empty() {
            let mut cut = pin!(self.shared.cut.notified());
            cut.as_mut().enable();
            {
                let mut state = self.shared.state();
                if state.is_cut(self.direction) {
                    self.lose(&mut state);
                    return Ok(());
                }
                match to.try_write(chunk) {
                    Ok(written) => {
                        chunk = &chunk[written..];
                        continue;
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(_) if state.is_cut(self.direction.opposite()) => {
                        // That this side has gone is news for the other, and the way is cut.
                        self.lose(&mut state);
                        return Ok(());
                    }
                    Err(_) => return Err(Closed),
                }
            }
            tokio::select! {
                writable = to.writable() => writable.map_err(|_| Closed)?,
                () = cut => {}
            }
        }
        Ok(())
    }

    /// One side has gone: waits as long as the other must not know it.
    async fn wait_while_silent(&self) {
        let is_silent = {
            let mut state = self.shared.state();
            let is_cut = state.is_cut(self.direction);
            if is_cut {
                self.lose(&mut state);
            }
            let is_to_client = self.direction == Direction::ToClient;
            let link = state.links.get(&self.id);
            is_cut || is_to_client && link.is_some_and(|it| matches!(it.answer, Answer::Hidden))
        };
        if is_silent {
            // Until the proxy closes the connection.
            pending::<()>().await;
        }
    }

    fn lose(&self, state: &mut State) {
        if let Some(link) = state.links.get_mut(&self.id) {
            link.has_lost = true;
        }
    }
}
