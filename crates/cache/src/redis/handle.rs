//! The handle that calls go through.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ::redis::{Cmd, FromRedisValue, RedisResult, Value, cmd, from_redis_value};
use firstcome_core::Invalid;
use futures_util::future::join_all;
use tokio::runtime::Handle;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout, timeout_at};

use crate::breaker::Change;

use super::breakers::{Breakers, key_of};
use super::connect::Connector;
use super::link::{Link, Live};
use super::metrics::Metrics;
use super::script::Message;
use super::{RedisConfig, RedisError, RedisKind, ScriptCall, Subscription};

/// Calls are made.
const USED: u8 = 0;
/// None is made before it is known what Redis is.
const WITHHELD: u8 = 1;
/// None is made: it is not what its use needs.
const REFUSED: u8 = 2;

/// Redis, over one connection that all calls share; cheap to clone.
///
/// Every call ends within `redis.answer_timeout_ms`, whatever the network does. A call whose future
/// is dropped may still be executed.
#[derive(Clone)]
pub struct Redis {
    shared: Arc<Shared>,
    answer_timeout: Duration,
    /// Whether it is called though it is refused.
    judges: bool,
}

struct Shared {
    connector: Arc<Connector>,
    link: Link,
    breakers: Breakers,
    metrics: Metrics,
    used_for: &'static str,
    runtime: Handle,
    /// Whether it is called: [`USED`], [`WITHHELD`] or [`REFUSED`].
    state: AtomicU8,
    /// Why, where it is refused.
    refusal: Mutex<String>,
}

impl Redis {
    /// A handle for `used_for`, a word for the metrics. It connects when it is first used; the
    /// runtime that this is called in drives its connections.
    ///
    /// # Errors
    /// What is wrong with the configuration, a file of it that cannot be read included.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn new(config: &RedisConfig, used_for: &'static str) -> Result<Self, Invalid> {
        let connector = Arc::new(Connector::new(config)?);
        let runtime = Handle::current();
        let shared = Arc::new(Shared {
            link: Link::new(Arc::clone(&connector), runtime.clone()),
            connector,
            breakers: Breakers::new(config),
            metrics: Metrics::declare(used_for),
            used_for,
            runtime,
            state: AtomicU8::new(USED),
            refusal: Mutex::default(),
        });
        Ok(Self { shared, answer_timeout: config.answer_timeout(), judges: false })
    }

    /// The same for calls that are given up after `limit`, where that is shorter.
    #[must_use]
    pub fn within(&self, limit: Duration) -> Self {
        let answer_timeout = self.answer_timeout.min(limit);
        Self { answer_timeout, ..self.clone() }
    }

    /// The same for who judges it: its calls are made though it is [refused](Self::refuse).
    #[must_use]
    pub fn judging(&self) -> Self {
        Self { judges: true, ..self.clone() }
    }

    /// Where it is, without user and password.
    #[must_use]
    pub fn shown(&self) -> String {
        self.shared.connector.address.shown()
    }

    /// How the servers stand to each other, by the URL.
    #[must_use]
    pub fn kind(&self) -> RedisKind {
        self.shared.connector.address.kind
    }

    /// Makes every call from now on fail at once with this reason, of every copy of this handle:
    /// what Redis is was seen only after the start.
    pub fn refuse(&self, reason: String) {
        let Shared { state, refusal, .. } = self.shared.as_ref();
        *refusal.lock().unwrap_or_else(PoisonError::into_inner) = reason;
        state.store(REFUSED, Ordering::Release);
    }

    /// Makes every call fail at once until it is [accepted](Self::accept) or refused: nobody has
    /// looked yet what Redis is.
    pub fn withhold(&self) {
        self.shared.state.store(WITHHELD, Ordering::Release);
    }

    /// Whether it was found that it must not be called.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.shared.state.load(Ordering::Acquire) == REFUSED
    }

    /// Makes calls again.
    pub fn accept(&self) {
        self.shared.state.store(USED, Ordering::Release);
    }

    /// Sends a command, and gives its answer.
    ///
    /// # Errors
    /// Each kind of [`RedisError`] tells whether it may have been executed.
    pub async fn call<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, RedisError> {
        self.guarded(key_of(command), async |deadline| {
            let mut live = self.connected(deadline).await?;
            let answer = timeout_at(deadline, live.connection.query(command)).await;
            self.told(&live, answer)
        })
        .await
    }

    /// Runs a script, and gives its answer: by its digest, and by its text where the server does
    /// not know it.
    ///
    /// # Errors
    /// Each kind of [`RedisError`] tells whether it may have been executed.
    pub async fn run<T: FromRedisValue>(&self, script: &ScriptCall) -> Result<T, RedisError> {
        let message = Message::of(script);
        let mut answers = message.answers(self.run_message(message).await);
        answers.pop().expect("one for each call").and_then(read)
    }

    async fn run_message(&self, message: Message<'_>) -> Result<Value, RedisError> {
        self.guarded(message.key(), async |deadline| {
            let mut live = self.connected(deadline).await?;
            let asked = async {
                match live.connection.query(&message.by_digest()).await {
                    Err(error) if RedisError::is_unknown_script(&error) => {
                        live.connection.query(&message.by_text()).await
                    }
                    answer => answer,
                }
            };
            let answer = timeout_at(deadline, asked).await;
            self.told(&live, answer)
        })
        .await
    }

    /// Sends commands, each on its own, and gives their answers in their order. Unless Redis is a
    /// cluster they go in one message. Together they take no longer than one may.
    pub async fn call_all<T: FromRedisValue>(
        &self,
        commands: &[Cmd],
    ) -> Vec<Result<T, RedisError>> {
        if !self.takes_together(commands.len()) {
            return join_all(commands.iter().map(|command| self.call(command))).await;
        }
        let answers = self.call_together(commands.iter()).await.into_iter();
        answers.map(|answer| answer.unwrap_or_else(Err)).collect()
    }

    /// Runs scripts in the same way; those that may be [executed together](super::Script::for_each)
    /// are.
    pub async fn run_all<T: FromRedisValue>(
        &self,
        scripts: &[ScriptCall],
    ) -> Vec<Result<T, RedisError>> {
        if self.kind() == RedisKind::Cluster {
            return join_all(scripts.iter().map(|script| self.run(script))).await;
        }
        let messages: Vec<Message<'_>> = Message::of_all(scripts).collect();
        let answers = match messages[..] {
            [] => Vec::new(),
            [message] => vec![self.run_message(message).await],
            _ => self.run_messages(&messages).await,
        };
        let answers = messages.iter().zip(answers);
        let answers = answers.flat_map(|(message, answer)| message.answers(answer));
        answers.map(|answer| answer.and_then(read)).collect()
    }

    async fn run_messages(&self, messages: &[Message<'_>]) -> Vec<Result<Value, RedisError>> {
        let commands: Vec<Cmd> = messages.iter().map(|message| message.by_digest()).collect();
        let answers = self.call_together(commands.iter()).await;
        let known = messages.iter().zip(answers).map(async |(message, answer)| match answer {
            Ok(answer) => answer,
            Err(_) => self.run_message(*message).await,
        });
        join_all(known).await
    }

    /// Whether so many calls can and need go in one message.
    fn takes_together(&self, calls: usize) -> bool {
        calls > 1 && self.kind() != RedisKind::Cluster
    }

    /// Sends commands in one message. An error beside the answers is that of a script which the
    /// server does not know.
    async fn call_together<'a, T: FromRedisValue>(
        &self,
        commands: impl ExactSizeIterator<Item = &'a Cmd>,
    ) -> Vec<Result<Result<T, RedisError>, RedisError>> {
        let calls = commands.len();
        let answers = self.guarded(None, async |deadline| {
            let mut live = self.connected(deadline).await?;
            let answers = timeout_at(deadline, live.connection.query_all(commands)).await;
            let answers = self.told(&live, answers)?;
            let answers = answers.into_iter().map(|answer: RedisResult<T>| match answer {
                Err(error) if RedisError::is_unknown_script(&error) => {
                    Err(RedisError::of_call(&error))
                }
                answer => Ok(self.told(&live, Ok(answer))),
            });
            let answers: Vec<_> = answers.collect();
            let is_silent = |answer: &Result<Result<T, RedisError>, _>| {
                matches!(answer, Ok(Err(error)) if error.is_silence())
            };
            match answers.first() {
                Some(Ok(Err(error))) if answers.iter().all(is_silent) => Err(error.clone()),
                _ => Ok(answers),
            }
        });
        let all = |error: RedisError| (0..calls).map(|_| Ok(Err(error.clone()))).collect();
        answers.await.unwrap_or_else(all)
    }

    /// Asks the server, or each primary of the cluster, by its address.
    pub(super) async fn ask_each(&self, command: &Cmd) -> Result<Vec<(String, Value)>, RedisError> {
        self.guarded(None, async |deadline| {
            let mut live = self.connected(deadline).await?;
            let asked = timeout_at(deadline, live.connection.ask_each(command)).await;
            self.told(&live, asked)
        })
        .await
    }

    /// The sum of what all nodes of a cluster count for a name.
    pub(crate) async fn sum_of_nodes(&self, command: &Cmd) -> Result<usize, RedisError> {
        self.guarded(None, async |deadline| {
            let mut live = self.connected(deadline).await?;
            let asked = timeout_at(deadline, live.connection.sum_of_nodes(command)).await;
            self.told(&live, asked)
        })
        .await
    }

    /// Asks the server that has this key.
    pub(super) async fn ask_owner(&self, command: &Cmd, key: &str) -> Result<Value, RedisError> {
        self.guarded(Some(key.as_bytes()), async |deadline| {
            let mut live = self.connected(deadline).await?;
            let asked = timeout_at(deadline, live.connection.ask_owner(command, key)).await;
            self.told(&live, asked)
        })
        .await
    }

    /// Hears what is published on a channel, from a connection of its own, until it is dropped.
    #[must_use]
    pub fn subscribe(&self, channel: &str) -> Subscription {
        let (shared, limit) = (&self.shared, self.answer_timeout);
        Subscription::start(Arc::clone(&shared.connector), channel, limit, &shared.runtime)
    }

    /// Whether the last calls failed one after another, so that others fail at once; of a cluster
    /// those to one of its nodes.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.shared.breakers.is_any_open()
    }

    /// Makes a call about this key if the breaker lets it, and tells the breaker what became of it.
    async fn guarded<T>(
        &self,
        key: Option<&[u8]>,
        call: impl AsyncFnOnce(Instant) -> Result<T, RedisError>,
    ) -> Result<T, RedisError> {
        let Shared { breakers, metrics, state, refusal, .. } = self.shared.as_ref();
        match state.load(Ordering::Acquire) {
            REFUSED if !self.judges => {
                metrics.failed_at_once();
                let reason = refusal.lock().unwrap_or_else(PoisonError::into_inner);
                return Err(RedisError::unavailable(reason.as_str()));
            }
            WITHHELD if !self.judges => {
                metrics.failed_at_once();
                return Err(RedisError::unavailable("nobody could look yet what it is"));
            }
            _ => {}
        }
        let node = breakers.of(key);
        let Some(pass) = node.breaker.pass() else {
            metrics.failed_at_once();
            return Err(RedisError::unavailable("it did not answer the last calls"));
        };
        let started = Instant::now();
        let answer = call(started + self.answer_timeout).await;
        let failure = answer.as_ref().err();
        metrics.ended(failure, started.elapsed());
        match pass.ended(failure.is_some_and(RedisError::is_silence)) {
            Change::None => {}
            change => self.changed(change, &node.name, failure),
        }
        answer
    }

    fn changed(&self, change: Change, node: &str, failure: Option<&RedisError>) {
        let Shared { breakers, metrics, used_for, .. } = self.shared.as_ref();
        breakers.show(&metrics.breaker);
        breakers.doubt();
        if change == Change::Closed {
            tracing::info!(redis.use = used_for, redis.node = node, "Redis answers again");
            return;
        }
        let reason = failure.map(ToString::to_string).unwrap_or_default();
        tracing::warn!(
            redis.use = used_for,
            redis.address = self.shown(),
            redis.node = node,
            "calls to Redis fail at once until it answers again: {reason}"
        );
    }

    async fn connected(&self, deadline: Instant) -> Result<Live, RedisError> {
        let limit = self.answer_timeout;
        let live = timeout_at(deadline, self.shared.link.live()).await.unwrap_or_else(|_| {
            let limit = limit.as_millis();
            Err(RedisError::unavailable(format_args!("no connection within {limit} ms")))
        })?;
        if self.kind() == RedisKind::Cluster && self.shared.breakers.is_to_be_asked() {
            self.ask_for_nodes(live.clone());
        }
        Ok(live)
    }

    /// Asks a cluster which node has which keys, beside its calls.
    fn ask_for_nodes(&self, mut live: Live) {
        let (shared, limit) = (Arc::clone(&self.shared), self.answer_timeout);
        self.shared.runtime.spawn(async move {
            let mut slots = cmd("CLUSTER");
            slots.arg("SLOTS");
            if let Ok(Ok(answer)) = timeout(limit, live.connection.query(&slots)).await {
                shared.breakers.learn(answer);
                // A node whose breaker was open may have left.
                shared.breakers.show(&shared.metrics.breaker);
            }
        });
    }

    /// What became of a call on this connection, which is given up where another may do better.
    fn told<T>(
        &self,
        live: &Live,
        answer: Result<RedisResult<T>, Elapsed>,
    ) -> Result<T, RedisError> {
        let is_one = self.kind() != RedisKind::Cluster;
        let told = if is_one { RedisError::of_call } else { RedisError::of_call_to_cluster };
        let answer = match answer {
            Ok(answer) => answer.map_err(|error| told(&error)),
            Err(_) => Err(RedisError::late(self.answer_timeout)),
        };
        if is_one && answer.as_ref().err().is_some_and(RedisError::is_of_the_connection) {
            self.shared.link.forget(live);
        }
        answer
    }
}

fn read<T: FromRedisValue>(answer: Value) -> Result<T, RedisError> {
    from_redis_value(answer).map_err(|error| RedisError::of_call(&error.into()))
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Redis").field(&self.shown()).finish()
    }
}
