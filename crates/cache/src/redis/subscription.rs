//! What is published on a channel. Redis delivers at most once: the stream says where it has gaps.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{FromRedisValue as _, PushInfo, PushKind, cmd};
use firstcome_tasks::anew;
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use super::address::RedisKind;
use super::connect::{Connector, Pushed};

/// Messages that wait to be taken; more are dropped, which is told as a gap.
const MESSAGES_MAX: usize = 4_096;
/// How often the server is asked whether it still hears of all.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How long until the next attempt to connect.
const RETRY_INTERVAL: Duration = Duration::from_millis(200);

/// What a subscription hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// Messages may have been missed until now; from here on they are heard. The first of all.
    Gap,
    /// The connection is lost: nothing is heard before the next [`Gap`](Self::Gap).
    Lost,
    /// What was published.
    Message(String),
}

/// A subscription to a channel; dropping it ends it.
#[derive(Debug)]
pub struct Subscription {
    heard: mpsc::Receiver<Heard>,
    /// Whether messages were dropped because too many waited.
    overflowed: Arc<AtomicBool>,
    task: AbortHandle,
}

impl Subscription {
    pub(super) fn start(
        connector: Arc<Connector>,
        channel: &str,
        answer_timeout: Duration,
        runtime: &Handle,
    ) -> Self {
        let (sender, heard) = mpsc::channel(MESSAGES_MAX);
        let overflowed = Arc::new(AtomicBool::new(false));
        let listener = Listener {
            connector,
            channel: channel.to_owned(),
            answer_timeout,
            sender,
            overflowed: Arc::clone(&overflowed),
        };
        let task = runtime.spawn(async move {
            let mut is_again = false;
            anew(|| listener.run(mem::replace(&mut is_again, true))).await;
        });
        let task = task.abort_handle();
        Self { heard, overflowed, task }
    }

    /// The next thing that is heard; waits for it. None when the runtime ends.
    pub async fn next(&mut self) -> Option<Heard> {
        if self.overflowed.swap(false, Ordering::AcqRel) {
            return Some(Heard::Gap);
        }
        self.heard.recv().await
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Listener {
    connector: Arc<Connector>,
    channel: String,
    answer_timeout: Duration,
    sender: mpsc::Sender<Heard>,
    overflowed: Arc<AtomicBool>,
}

impl Listener {
    /// Listens for ever; whoever did before has ended by a fault, if anybody did.
    async fn run(&self, is_again: bool) {
        if is_again && self.sender.send(Heard::Lost).await.is_err() {
            return;
        }
        let mut is_told = false;
        for turn in 0.. {
            let was_connected = self.listen(turn).await;
            if was_connected {
                is_told = false;
                if self.sender.send(Heard::Lost).await.is_err() {
                    return;
                }
            } else if !is_told {
                is_told = true;
                tracing::warn!(
                    redis.channel = self.channel,
                    "cannot subscribe at {}; trying again",
                    self.connector.address.shown()
                );
            }
            sleep(RETRY_INTERVAL).await;
        }
    }

    /// Listens on a new connection until it breaks; whether there was one.
    async fn listen(&self, turn: usize) -> bool {
        let broken = Arc::new(Notify::new());
        let pushed = self.pushed(Arc::clone(&broken));
        let Ok(mut connection) = self.connector.connect_to_one(turn, pushed).await else {
            return false;
        };
        let subscribed = timeout(self.answer_timeout, connection.subscribe(&self.channel)).await;
        let hears = matches!(subscribed, Ok(Ok(()))) && self.hears_all(&mut connection).await;
        if !hears || self.sender.send(Heard::Gap).await.is_err() {
            return false;
        }
        tracing::debug!(redis.channel = self.channel, "subscribed");
        loop {
            tokio::select! {
                () = broken.notified() => return true,
                () = sleep(LOOK_INTERVAL) => {}
            }
            if !self.hears_all(&mut connection).await {
                return true;
            }
        }
    }

    /// Whether the server still is there; and in a cluster, whether what others publish reaches it:
    /// a node that has left, or lost, its cluster hears of nobody, and answers all the same.
    async fn hears_all(&self, connection: &mut MultiplexedConnection) -> bool {
        let question = match self.connector.address.kind {
            RedisKind::Standalone | RedisKind::Sentinel => cmd("PING"),
            RedisKind::Cluster => cmd("CLUSTER").arg("INFO").take(),
        };
        let asked = question.query_async::<String>(connection);
        match timeout(self.answer_timeout, asked).await {
            Ok(Ok(said)) => !said.contains("cluster_state:fail"),
            // Who may not ask, or asks in vain, hears that at least.
            Ok(Err(error)) => error.code().is_some(),
            Err(_) => false,
        }
    }

    /// Takes what the server says unasked; never waits.
    fn pushed(&self, broken: Arc<Notify>) -> Pushed {
        let (sender, overflowed) = (self.sender.clone(), Arc::clone(&self.overflowed));
        Box::new(move |info| match info {
            PushInfo { kind: PushKind::Disconnection, .. } => broken.notify_one(),
            PushInfo { kind: PushKind::Message, mut data } => {
                let text = data.pop().and_then(|value| String::from_redis_value(value).ok());
                let heard = text.map_or(Heard::Gap, Heard::Message);
                if sender.try_send(heard).is_err() {
                    overflowed.store(true, Ordering::Release);
                }
            }
            _ => {}
        })
    }
}
