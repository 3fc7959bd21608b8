//! What decides and keeps claims beside the ledger: Redis, and Kafka.

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use super::processor;
use super::server::with_database;
use super::service::Service;
use crate::process::{capture, need};

/// The numbered database of Redis that benchmarks have for themselves.
const REDIS_DATABASE: &str = "9";

/// A broker and those who ask it for records never rest: it uses some five by itself.
const IDLE_TICKS_OF_KAFKA: u64 = 9;

/// What must hold a won claim before its answer, where Redis decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Commit {
    Ledger,
    Kafka,
    RedisStream,
}

/// Redis, and Kafka where that keeps the wins.
pub(crate) struct Beside {
    commit: Commit,
    redis: Service,
    kafka: Option<Service>,
    redis_url: String,
}

impl Beside {
    /// Brings them up, and empties the database that benchmarks have in Redis.
    ///
    /// # Errors
    /// When one of them does not start, or Redis's client is missing.
    pub(crate) fn up(root: &Path, commit: Commit) -> anyhow::Result<Self> {
        need("redis-cli", "redis-tools")?;
        let redis = Service::up(root, "redis")?;
        let kafka = (commit == Commit::Kafka).then(|| Service::up(root, "kafka")).transpose()?;
        let redis_url = with_database(&redis.running.url, REDIS_DATABASE)?;
        let beside = Self { commit, redis, kafka, redis_url };
        beside.empty()?;
        Ok(beside)
    }

    /// Tells a product where they are, and that they decide. Not as arguments, which errors show: a
    /// URL may hold a password.
    pub(crate) fn tell(&self, command: &mut Command) {
        let commit = match self.commit {
            Commit::Ledger => "ledger",
            Commit::Kafka => "kafka",
            Commit::RedisStream => "redis_stream",
        };
        command.env("FIRSTCOME_STRATEGY", "redis").env("FIRSTCOME_COMMIT", commit);
        command.env("FIRSTCOME_REDIS_URL", &self.redis_url);
        if let Some(kafka) = &self.kafka {
            command.env("FIRSTCOME_KAFKA_BROKERS", &kafka.running.url);
        }
    }

    /// The lines of a product's configuration that it needs for them: a topic of its own.
    pub(crate) fn config(&self) -> String {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        if self.kafka.is_none() {
            return String::new();
        }
        let (process, count) = (std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        format!(
            "[kafka]\ntopic = \"firstcome-bench-{process}-{count}\"\ncreate_topic = true\n\
             replication_factor_min = 1\nmin_insync_replicas_min = 1\n"
        )
    }

    /// Processor time that they have used so far, in the kernel's ticks; none where one of them is
    /// no process of this machine that we have started.
    ///
    /// # Errors
    /// When one of them has ended.
    pub(crate) fn processor_ticks(&self) -> anyhow::Result<Option<u64>> {
        let mut all = 0;
        for service in [Some(&self.redis), self.kafka.as_ref()].into_iter().flatten() {
            let Some(pid) = service.running.pid else { return Ok(None) };
            all += processor::family_ticks(pid)?;
        }
        Ok(Some(all))
    }

    /// What Redis answers to a command: a text as it is, anything else as JSON. It has to be a
    /// process that we have started: the URL is among the arguments of the client, and one of
    /// somebody else's may hold a password.
    ///
    /// # Errors
    /// When it is another's, or refuses.
    pub(crate) fn ask(&self, words: &[&str]) -> anyhow::Result<String> {
        capture(self.client()?.args(words))
    }

    /// Has Redis do the commands of a file, one a line, each after the answer to the one before.
    ///
    /// # Errors
    /// Like [`Beside::ask`].
    pub(crate) fn ask_all(&self, commands: File) -> anyhow::Result<()> {
        capture(self.client()?.stdin(commands)).map(|_| ())
    }

    fn client(&self) -> anyhow::Result<Command> {
        anyhow::ensure!(self.redis.running.pid.is_some(), "this Redis is not ours to ask");
        let mut client = Command::new("redis-cli");
        client.args(["-u", &self.redis_url, "-e", "--json"]);
        Ok(client)
    }

    /// Ticks that they may use in one sample and be idle.
    pub(crate) fn idle_ticks_max(&self) -> u64 {
        if self.kafka.is_some() { IDLE_TICKS_OF_KAFKA } else { 0 }
    }

    /// Deletes what benchmarks have left in a Redis that is ours.
    fn empty(&self) -> anyhow::Result<()> {
        if self.redis.running.pid.is_none() {
            return Ok(());
        }
        self.ask(&["FLUSHDB"]).map(|_| ())
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        if let Err(error) = self.empty() {
            println!("what was measured stays in Redis: {error:#}");
        }
    }
}
