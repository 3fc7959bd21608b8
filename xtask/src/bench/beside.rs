//! What decides and keeps claims beside the ledger: Redis, and Kafka.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Context as _;

use super::processor;
use super::server::with_database;
use super::service::Service;

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
    /// When one of them does not start.
    pub(crate) fn up(root: &Path, commit: Commit) -> anyhow::Result<Self> {
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

    /// Ticks that they may use in one sample and be idle.
    pub(crate) fn idle_ticks_max(&self) -> u64 {
        if self.kafka.is_some() { IDLE_TICKS_OF_KAFKA } else { 0 }
    }

    /// Deletes what benchmarks have left in a Redis that is ours.
    fn empty(&self) -> anyhow::Result<()> {
        if self.redis.running.pid.is_none() {
            return Ok(());
        }
        let mut stream = TcpStream::connect(&self.redis.running.address)?;
        write!(stream, "SELECT {REDIS_DATABASE}\r\nFLUSHDB\r\n")?;
        let mut answer = [0; 10];
        stream.read_exact(&mut answer).context("Redis does not empty its database")?;
        anyhow::ensure!(&answer == b"+OK\r\n+OK\r\n", "Redis does not empty its database");
        Ok(())
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        if let Err(error) = self.empty() {
            println!("what was measured stays in Redis: {error:#}");
        }
    }
}
