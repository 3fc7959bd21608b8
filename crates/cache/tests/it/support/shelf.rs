//! Values that stand where the ledger would.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use firstcome_cache::redis::RedisConfig;
use firstcome_cache::{Cache, Caches};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::support::{config, until};

/// A value with a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Thing {
    pub(crate) id: Uuid,
    pub(crate) version: u64,
}

/// Things, and how often they were read.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    things: Mutex<HashMap<Uuid, Thing>>,
    reads: AtomicUsize,
}

impl Shelf {
    /// A shelf with one thing, of version 1.
    pub(crate) fn with_one() -> (Self, Uuid) {
        let (shelf, id) = (Self::default(), Uuid::new_v4());
        shelf.things.lock().unwrap().insert(id, Thing { id, version: 1 });
        (shelf, id)
    }

    /// Reads a thing, as the ledger would be.
    pub(crate) async fn read(&self, id: Uuid) -> Result<Option<Thing>, String> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        tokio::task::yield_now().await;
        Ok(self.things.lock().unwrap().get(&id).cloned())
    }

    /// How often things were read.
    pub(crate) fn reads(&self) -> usize {
        self.reads.load(Ordering::Relaxed)
    }

    /// The next version, which nobody is told of.
    pub(crate) fn change(&self, id: Uuid) -> Thing {
        let mut things = self.things.lock().unwrap();
        let thing = things.get_mut(&id).unwrap();
        thing.version += 1;
        thing.clone()
    }
}

/// What one process has.
pub(crate) struct Process {
    pub(crate) caches: Caches,
    pub(crate) things: Cache<Thing>,
}

impl Process {
    /// A process that hears the news.
    pub(crate) async fn start(url: &str) -> Self {
        let process = Self::start_alone(&config(url));
        until("news come in", async || process.caches.listens()).await;
        process
    }

    /// A process, whether or not Redis is there.
    pub(crate) fn start_alone(config: &RedisConfig) -> Self {
        let caches = Caches::start(config).unwrap();
        let things = caches.of("thing", |thing: &Thing| (thing.id, thing.version));
        Self { caches, things }
    }

    /// The version that a read answers.
    pub(crate) async fn version(&self, shelf: &Shelf, id: Uuid) -> u64 {
        self.things.get(id, || shelf.read(id)).await.unwrap().unwrap().version
    }
}
