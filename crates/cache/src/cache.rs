//! The cache of one kind of value.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use moka::future::Cache as Moka;
use moka::ops::compute::Op;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use uuid::Uuid;

use crate::caches::{Hearer, Listener, Shared};
use crate::level_two::{self, Found, Kept, Moment};
use crate::metrics::ReadMetrics;

/// Most values of one kind in a process.
const VALUES_MAX: u64 = 10_000;
/// How long the process keeps a value at most.
const KEPT: Duration = Duration::from_secs(10);
/// How long it knows that a value was changed: longer than any read of an older one takes.
const CHANGES_KEPT: Duration = Duration::from_secs(60);
/// Most reads that one answer waits for: the last is answered though a change has overtaken it. Two
/// at most began before the caller asked, the one kept and the one under way, so the last did not.
const READS_MAX: usize = 3;
const _: () = assert!(READS_MAX > 2, "the last read began after the caller asked");

/// The cache of one kind of value; cheap to clone.
pub struct Cache<V> {
    /// None: nothing is kept.
    entries: Option<Arc<Entries<V>>>,
}

impl<V> Clone for Cache<V> {
    fn clone(&self) -> Self {
        Self { entries: self.entries.clone() }
    }
}

/// The first level, and the way to the second.
pub(crate) struct Entries<V> {
    name: &'static str,
    identify: fn(&V) -> (Uuid, u64),
    shared: Arc<Shared>,
    _listener: Arc<Listener>,
    values: Moka<Uuid, Arc<Entry<V>>>,
    /// The version that a value had when it was last changed: an older one is not answered.
    changes: Moka<Uuid, u64>,
    metrics: ReadMetrics,
}

/// A value in the first level.
struct Entry<V> {
    value: V,
    version: u64,
    /// When it was read from the ledger, by whichever process, or earlier.
    read_at: Instant,
    /// Of the news at that moment.
    generation: u64,
}

/// Why there is nothing to keep.
enum Nothing<E> {
    Missing,
    Failed(Arc<E>),
}

impl<V: Clone + Send + Sync + Serialize + DeserializeOwned + 'static> Cache<V> {
    /// A cache that keeps nothing: every read is the ledger's.
    #[must_use]
    pub const fn none() -> Self {
        Self { entries: None }
    }

    pub(crate) const fn of(entries: Arc<Entries<V>>) -> Self {
        Self { entries: Some(entries) }
    }

    /// The value with this id: from the process, from Redis, or as `load` reads it from the ledger,
    /// once for all who ask at the same time. What is missing is not kept.
    ///
    /// # Errors
    /// What `load` failed with. Redis is no reason to fail.
    pub async fn get<E, F>(&self, id: Uuid, load: impl Fn() -> F) -> Result<Option<V>, Arc<E>>
    where
        F: Future<Output = Result<Option<V>, E>> + Send,
        E: Send + Sync + 'static,
    {
        match &self.entries {
            Some(entries) => entries.get(id, load).await,
            None => load().await.map_err(Arc::new),
        }
    }

    /// An admin has changed the value, and the ledger has it. When this ends, nobody in this
    /// process is answered an older one, nor in any other that hears of it.
    pub async fn changed(&self, value: &V) {
        if let Some(entries) = &self.entries {
            entries.changed(value).await;
        }
    }
}

impl<V: Clone + Send + Sync + Serialize + DeserializeOwned + 'static> Entries<V> {
    pub(crate) fn new(
        name: &'static str,
        identify: fn(&V) -> (Uuid, u64),
        shared: Arc<Shared>,
        listener: Arc<Listener>,
    ) -> Self {
        Self {
            name,
            identify,
            shared,
            _listener: listener,
            values: Moka::builder().max_capacity(VALUES_MAX).time_to_live(KEPT).build(),
            changes: Moka::builder().max_capacity(VALUES_MAX).time_to_live(CHANGES_KEPT).build(),
            metrics: ReadMetrics::declare(name),
        }
    }

    async fn get<E, F>(&self, id: Uuid, load: impl Fn() -> F) -> Result<Option<V>, Arc<E>>
    where
        F: Future<Output = Result<Option<V>, E>> + Send,
        E: Send + Sync + 'static,
    {
        let asked = Instant::now();
        if let Some(entry) = self.values.get(&id).await {
            if self.is_good(id, &entry, asked).await {
                self.metrics.process_hits.increment(1);
                return Ok(Some(entry.value.clone()));
            }
            self.drop_entry(id, &entry).await;
        }
        self.metrics.process_misses.increment(1);
        let mut reads = 0;
        loop {
            reads += 1;
            match self.values.try_get_with(id, self.read(id, &load)).await {
                Ok(entry) if reads == READS_MAX || self.is_good(id, &entry, asked).await => {
                    return Ok(Some(entry.value.clone()));
                }
                Ok(entry) => self.drop_entry(id, &entry).await,
                Err(nothing) => match &*nothing {
                    Nothing::Missing => return Ok(None),
                    Nothing::Failed(error) => return Err(Arc::clone(error)),
                },
            }
        }
    }

    /// Reads a value from Redis, or else from the ledger.
    async fn read<E, F>(&self, id: Uuid, load: &impl Fn() -> F) -> Result<Arc<Entry<V>>, Nothing<E>>
    where
        F: Future<Output = Result<Option<V>, E>> + Send,
    {
        let (asked, generation) = (Instant::now(), self.shared.generation());
        let (entry, redis_now) = self.read_from_redis(id, generation).await;
        if let Some(entry) = entry
            && self.is_good(id, &entry, asked).await
        {
            self.metrics.redis_hits.increment(1);
            self.metrics.process_loads.increment(1);
            return Ok(Arc::new(entry));
        }
        let read_at = Instant::now();
        let value = match load().await {
            Ok(Some(value)) => value,
            Ok(None) => return Err(Nothing::Missing),
            Err(error) => {
                self.metrics.load_failed.increment(1);
                return Err(Nothing::Failed(Arc::new(error)));
            }
        };
        self.metrics.loaded.increment(1);
        self.metrics.process_loads.increment(1);
        let (_, version) = (self.identify)(&value);
        if let Some(redis_now) = redis_now {
            let (shared, name) = (Arc::clone(&self.shared), self.name);
            let (kept, refreshed) = (kept(&value, version), self.metrics.redis_loads.clone());
            tokio::spawn(async move { shared.keep(name, id, &kept, redis_now, &refreshed).await });
        }
        Ok(Arc::new(Entry { value, version, read_at, generation }))
    }

    /// What Redis has, and its time before anything else is read; nothing where it is away.
    async fn read_from_redis(
        &self,
        id: Uuid,
        generation: u64,
    ) -> (Option<Entry<V>>, Option<Moment>) {
        let asked = Instant::now();
        let (found, now) = match level_two::read(self.shared.reading(), self.name, id).await {
            Ok(answer) => answer,
            Err(error) => {
                self.metrics.redis_unavailable.increment(1);
                tracing::debug!(cache = self.name, %id, "Redis is passed by: {error}");
                return (None, None);
            }
        };
        let entry = found.and_then(|Found { version, age, json }| {
            // Another release may have written it in another form.
            let value = serde_json::from_str(&json).ok()?;
            let read_at = asked.checked_sub(age)?;
            Some(Entry { value, version, read_at, generation })
        });
        if entry.is_none() {
            self.metrics.redis_misses.increment(1);
        }
        (entry, Some(now))
    }

    /// Whether it may be answered to who has asked then: young enough, or read after they asked,
    /// however long that took; no gap in the news since, and not known to have been changed since.
    async fn is_good(&self, id: Uuid, entry: &Entry<V>, asked: Instant) -> bool {
        let is_young = entry.read_at >= asked || entry.read_at.elapsed() < self.shared.age_max();
        is_young
            && entry.generation == self.shared.generation()
            && self.changes.get(&id).await.is_none_or(|version| entry.version >= version)
    }

    /// Drops an entry, unless another has taken its place.
    async fn drop_entry(&self, id: Uuid, entry: &Arc<Entry<V>>) {
        let is_same =
            |found: Option<&Arc<Entry<V>>>| found.is_some_and(|it| Arc::ptr_eq(it, entry));
        let same = self.values.entry(id).and_compute_with(async |found| {
            if is_same(found.as_ref().map(moka::Entry::value)) { Op::Remove } else { Op::Nop }
        });
        same.await;
    }

    async fn changed(&self, value: &V) {
        let (id, version) = (self.identify)(value);
        let (read_at, generation) = (Instant::now(), self.shared.generation());
        self.remember(id, version).await;
        let entry = Entry { value: value.clone(), version, read_at, generation };
        self.values.insert(id, Arc::new(entry)).await;
        self.metrics.process_changes.increment(1);
        let (kept, refreshed) = (kept(value, version), &self.metrics.redis_changes);
        self.shared.tell(self.name, id, &kept, read_at, refreshed).await;
    }

    /// Answers nothing older than this version from here on.
    async fn remember(&self, id: Uuid, version: u64) {
        let newest = self.changes.entry(id).and_upsert_with(async |known| {
            known.map_or(version, |known| version.max(known.into_value()))
        });
        newest.await;
    }
}

#[async_trait]
impl<V: Clone + Send + Sync + Serialize + DeserializeOwned + 'static> Hearer for Entries<V> {
    async fn heard(&self, id: Uuid, version: u64) {
        self.remember(id, version).await;
    }
}

/// What Redis keeps of a value.
fn kept<V: Serialize>(value: &V, version: u64) -> Kept {
    let json = serde_json::to_string(value).expect("plain values serialize");
    Kept { version, json }
}
