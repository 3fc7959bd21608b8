//! What processes tell each other: that something was changed, and that this was heard.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use uuid::Uuid;

/// The channel of all deployments on one Redis; ids are unique among them.
pub(crate) const CHANNEL: &str = "firstcome:1:news";
/// Longest that a change waits until all processes have heard of it.
const CONFIRM_MAX: Duration = Duration::from_millis(500);

/// A message on the channel.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum News {
    /// A value has this version from now on.
    Changed { cache: String, id: Uuid, version: u64, letter: Letter },
    /// A process has done what a letter says.
    Heard(Letter),
}

/// Which message: who sent it, and its number there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Letter {
    pub(crate) from: Uuid,
    number: u64,
}

/// The letters of a process that are not confirmed yet.
pub(crate) struct Letters {
    me: Uuid,
    next: AtomicU64,
    /// A permit for each process that has heard.
    waiting: Mutex<HashMap<u64, Arc<Semaphore>>>,
}

/// A letter under way.
pub(crate) struct Sent<'a> {
    letters: &'a Letters,
    pub(crate) letter: Letter,
    heard: Arc<Semaphore>,
}

impl News {
    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("plain values serialize")
    }
}

impl Letters {
    pub(crate) fn new() -> Self {
        Self { me: Uuid::new_v4(), next: AtomicU64::new(0), waiting: Mutex::default() }
    }

    /// A new letter, whose confirmations count from now on.
    pub(crate) fn write(&self) -> Sent<'_> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let heard = Arc::new(Semaphore::new(0));
        self.waiting.lock().expect("no panic while held").insert(number, Arc::clone(&heard));
        Sent { letters: self, letter: Letter { from: self.me, number }, heard }
    }

    /// A process has heard this letter.
    pub(crate) fn confirm(&self, letter: Letter) {
        if letter.from != self.me {
            return;
        }
        let waiting = self.waiting.lock().expect("no panic while held");
        if let Some(heard) = waiting.get(&letter.number) {
            heard.add_permits(1);
        }
    }
}

impl Sent<'_> {
    /// Waits until so many processes have heard it; whether they have, in time.
    pub(crate) async fn confirmed_by(&self, processes: usize) -> bool {
        let count = u32::try_from(processes).unwrap_or(u32::MAX);
        timeout(CONFIRM_MAX, self.heard.acquire_many(count)).await.is_ok_and(|held| held.is_ok())
    }
}

impl Drop for Sent<'_> {
    fn drop(&mut self) {
        let mut waiting = self.letters.waiting.lock().expect("no panic while held");
        waiting.remove(&self.letter.number);
    }
}
