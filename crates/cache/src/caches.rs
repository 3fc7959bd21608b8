//! The caches of a process: what they share is the way to Redis and the news from others.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, RwLock, Weak};
use std::time::Duration;

use async_trait::async_trait;
use firstcome_core::Invalid;
use firstcome_tasks::anew;
use metrics::Counter;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::cache::{Cache, Entries};
use crate::level_two::{self, Kept, Moment};
use crate::metrics::NewsMetrics;
use crate::news::{CHANNEL, Letter, Letters, News};
use crate::redis::{Heard, Redis, RedisConfig, RedisError, RedisKind, Subscription, cmd};

/// Longest that a read waits for Redis: the ledger answers about as fast.
const ANSWER_MAX: Duration = Duration::from_millis(100);
/// How old a value may be, counted from its reading of the ledger, at whatever level it is found.
const AGE_MAX: Duration = Duration::from_secs(10);
/// How old while no news come in: it may have been changed, and nobody could say so.
const AGE_MAX_ALONE: Duration = Duration::from_secs(1);
/// How often a change is told again that could not be told: until what was read before it is too
/// old everywhere.
const TELL_AGAIN_EVERY: Duration = Duration::from_millis(500);

/// The caches of a process; cheap to clone.
#[derive(Clone)]
pub struct Caches {
    /// None: there is no Redis, and every read goes to the ledger.
    listening: Option<(Arc<Shared>, Arc<Listener>)>,
}

/// What the caches of a process share.
pub(crate) struct Shared {
    redis: Redis,
    /// The same, with the patience of a read.
    reading: Redis,
    letters: Letters,
    /// Whether news come in.
    listens: AtomicBool,
    /// Grows with each gap in the news: what was read before may have been changed unheard.
    generation: AtomicU64,
    hearers: RwLock<Vec<(&'static str, Weak<dyn Hearer>)>>,
    metrics: NewsMetrics,
}

/// A cache that is told of changes.
#[async_trait]
pub(crate) trait Hearer: Send + Sync {
    /// The value has this version from now on.
    async fn heard(&self, id: Uuid, version: u64);
}

/// Hears the news, and ends with the last cache.
pub(crate) struct Listener(AbortHandle);

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Caches {
    /// The caches behind this configuration; without a Redis they keep nothing. Within a tokio
    /// runtime, after the metrics' recorder was installed.
    ///
    /// # Errors
    /// What is wrong with the configuration.
    pub fn start(config: &RedisConfig) -> Result<Self, Invalid> {
        if !config.is_set() {
            return Ok(Self { listening: None });
        }
        let redis = Redis::new(config, "cache")?;
        let shared = Arc::new(Shared {
            letters: Letters::new(),
            listens: AtomicBool::new(false),
            generation: AtomicU64::new(0),
            hearers: RwLock::default(),
            metrics: NewsMetrics::declare(),
            reading: redis.within(ANSWER_MAX),
            redis,
        });
        let listening = tokio::spawn(listen(Arc::clone(&shared)));
        let listener = Arc::new(Listener(listening.abort_handle()));
        Ok(Self { listening: Some((shared, listener)) })
    }

    /// The cache of one kind of value. `identify` tells the id and the version of a value; the name
    /// is the same in all processes.
    #[must_use]
    pub fn of<V>(&self, name: &'static str, identify: fn(&V) -> (Uuid, u64)) -> Cache<V>
    where
        V: Clone + Send + Sync + Serialize + DeserializeOwned + 'static,
    {
        let Some((shared, listener)) = &self.listening else { return Cache::none() };
        let entries = Entries::new(name, identify, Arc::clone(shared), Arc::clone(listener));
        let entries = Arc::new(entries);
        let hearer = Arc::downgrade(&entries);
        shared.hearers.write().expect("no panic while held").push((name, hearer));
        Cache::of(entries)
    }

    /// The Redis behind them.
    #[must_use]
    pub fn redis(&self) -> Option<&Redis> {
        self.listening.as_ref().map(|(shared, _)| &shared.redis)
    }

    /// Whether news of other processes come in; true without Redis, where nobody tells any.
    #[must_use]
    pub fn listens(&self) -> bool {
        self.listening.as_ref().is_none_or(|(shared, _)| shared.listens.load(Ordering::Acquire))
    }
}

impl Shared {
    /// Redis, as long as a read waits for it.
    pub(crate) const fn reading(&self) -> &Redis {
        &self.reading
    }

    /// How old a value may be.
    pub(crate) fn age_max(&self) -> Duration {
        if self.listens.load(Ordering::Acquire) { AGE_MAX } else { AGE_MAX_ALONE }
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Tells every process what was changed, writes it to Redis, and waits until all have heard.
    ///
    /// Told first: whatever Redis is sent is executed, however late, and this is right at any time.
    pub(crate) async fn tell(
        self: &Arc<Self>,
        cache: &'static str,
        id: Uuid,
        value: &Kept,
        read_at: Instant,
        refreshed: &Counter,
    ) {
        let sent = self.letters.write();
        let (version, letter) = (value.version, sent.letter);
        let news = News::Changed { cache: cache.to_owned(), id, version, letter }.to_json();
        let told = level_two::tell(&self.redis, cache, id, version, (CHANNEL, &news)).await;
        let confirmed = match told {
            Ok((heard, now)) => {
                let confirmed = async {
                    let listeners = self.listeners(heard).await?;
                    Ok(sent.confirmed_by(listeners).await)
                };
                let now = now.before(read_at.elapsed());
                let written = self.keep(cache, id, value, now, refreshed);
                tokio::join!(confirmed, written).0
            }
            Err(error) => Err(error),
        };
        match confirmed {
            Ok(true) => self.metrics.told.increment(1),
            Ok(false) => {
                self.metrics.unconfirmed.increment(1);
                tracing::debug!(cache, %id, "not every process confirms a change");
            }
            Err(error) => {
                self.metrics.failed.increment(1);
                tracing::debug!(cache, %id, "a change is not told yet: {error}");
                tokio::spawn(Arc::clone(self).tell_again(cache, id, version, news));
            }
        }
    }

    /// Others may reach Redis, and answer what they have read before.
    async fn tell_again(
        self: Arc<Self>,
        cache: &'static str,
        id: Uuid,
        version: u64,
        news: String,
    ) {
        let until = Instant::now() + AGE_MAX;
        while Instant::now() < until {
            sleep(TELL_AGAIN_EVERY).await;
            let told = level_two::tell(&self.redis, cache, id, version, (CHANNEL, &news)).await;
            if told.is_ok() {
                return;
            }
        }
    }

    /// Writes a value to Redis that was read at this moment or later; counted where it is kept.
    pub(crate) async fn keep(
        &self,
        cache: &'static str,
        id: Uuid,
        value: &Kept,
        read_at: Moment,
        refreshed: &Counter,
    ) {
        match level_two::write(&self.redis, cache, id, value, read_at).await {
            Ok(is_kept) => refreshed.increment(is_kept.into()),
            Err(error) => tracing::debug!(cache, %id, "a value is not kept in Redis: {error}"),
        }
    }

    /// How many listen, if `heard` of them are at the server that was asked.
    async fn listeners(&self, heard: usize) -> Result<usize, RedisError> {
        if self.redis.kind() != RedisKind::Cluster {
            return Ok(heard);
        }
        let mut command = cmd("PUBSUB");
        self.redis.sum_of_nodes(command.arg("NUMSUB").arg(CHANNEL)).await
    }

    async fn heard(self: &Arc<Self>, news: &str) {
        match serde_json::from_str(news) {
            Ok(News::Changed { cache, id, version, letter }) => {
                self.metrics.heard.increment(1);
                for hearer in self.hearers_of(&cache) {
                    hearer.heard(id, version).await;
                }
                tokio::spawn(Arc::clone(self).confirm(letter));
            }
            Ok(News::Heard(letter)) => self.letters.confirm(letter),
            Err(error) => tracing::warn!("a message on {CHANNEL} cannot be read: {error}"),
        }
    }

    fn hearers_of(&self, cache: &str) -> Vec<Arc<dyn Hearer>> {
        let hearers = self.hearers.read().expect("no panic while held");
        let of_cache = hearers.iter().filter(|(name, _)| *name == cache);
        of_cache.filter_map(|(_, hearer)| hearer.upgrade()).collect()
    }

    async fn confirm(self: Arc<Self>, letter: Letter) {
        let mut command = cmd("PUBLISH");
        command.arg(CHANNEL).arg(News::Heard(letter).to_json());
        if let Err(error) = self.redis.call::<usize>(&command).await {
            tracing::debug!("a change that was heard is not confirmed: {error}");
        }
    }
}

/// Hears the news until the process ends.
async fn listen(shared: Arc<Shared>) {
    anew(|| listen_on(&shared, shared.redis.subscribe(CHANNEL))).await;
}

/// Says that no news come in any more, also where a fault has ended it.
struct Ends<'a>(&'a Shared);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.listens.store(false, Ordering::Release);
    }
}

async fn listen_on(shared: &Arc<Shared>, mut subscription: Subscription) {
    let _ends = Ends(shared);
    while let Some(heard) = subscription.next().await {
        match heard {
            Heard::Gap => {
                shared.metrics.gaps.increment(1);
                shared.generation.fetch_add(1, Ordering::AcqRel);
                shared.listens.store(true, Ordering::Release);
            }
            Heard::Lost => shared.listens.store(false, Ordering::Release),
            Heard::Message(news) => shared.heard(&news).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use firstcome_testkit::RedisServer;
    use tokio::sync::mpsc;
    use tokio::time::{Instant, sleep, timeout};

    use super::*;

    const WAIT_MAX: Duration = Duration::from_secs(30);
    const NAME: &str = "with a fault";

    /// Tells of the versions that it hears of, and fails at the first.
    struct Faulty(mpsc::UnboundedSender<u64>);

    #[async_trait]
    impl Hearer for Faulty {
        async fn heard(&self, _id: Uuid, version: u64) {
            self.0.send(version).expect("the test listens");
            assert!(version > 1, "a fault");
        }
    }

    #[tokio::test]
    async fn news_come_in_again_after_a_fault_and_none_are_believed_to_until_then() {
        let server = RedisServer::start().await;
        let config = RedisConfig { url: server.url(), ..RedisConfig::default() };
        let caches = Caches::start(&config).expect("a configuration");
        let (shared, _listener) = caches.listening.as_ref().expect("with Redis");
        let (told, mut versions) = mpsc::unbounded_channel();
        let hearer: Arc<dyn Hearer> = Arc::new(Faulty(told));
        shared.hearers.write().expect("no panic while held").push((NAME, Arc::downgrade(&hearer)));
        let listens = async |wanted| {
            let deadline = Instant::now() + WAIT_MAX;
            while caches.listens() != wanted {
                assert!(Instant::now() < deadline, "not in time: {wanted}");
                sleep(Duration::from_millis(1)).await;
            }
        };
        for version in [1, 2] {
            listens(true).await;
            let letter = shared.letters.write().letter;
            let news = News::Changed { cache: NAME.to_owned(), id: Uuid::nil(), version, letter };
            let mut command = cmd("PUBLISH");
            command.arg(CHANNEL).arg(news.to_json());
            shared.redis.call::<usize>(&command).await.expect("Redis answers");
            let heard = timeout(WAIT_MAX, versions.recv()).await.expect("in time");
            assert_eq!(heard, Some(version));
            if version == 1 {
                listens(false).await;
            }
        }
    }
}
