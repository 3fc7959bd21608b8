//! Latches: what a process remembers of sold-out events, to answer new shoppers from memory.
//!
//! A latch holds a Bloom filter of its event's winners, which has no false negatives: a shopper
//! outside it has won nothing and is sold out; one inside it may be a winner, and asks the
//! decider. That is true for as long as no admin changes the event and the clock stays within
//! its window, so:
//! - whoever changes an event [holds](Latches::hold) it open from before the change until after:
//!   its latch goes, a build under way is spoiled, and none begins;
//! - a build begins by taking the event's slot and only then reads the event, sold out and with
//!   all its winners; it is installed only if the slot is still its own;
//! - outside its window a latch answers nothing;
//! - where other processes may change the event, a latch is installed only if it has the version
//!   yet that it was read at, and from then on a [`watch`] looks for that all the time; while it
//!   cannot, or has not for a second, no latch answers.
//!
//! A look-up takes no lock.

pub(crate) mod watch;

use std::collections::HashMap;
use std::hash::RandomState;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use fastbloom::BloomFilter;
use firstcome_core::{Clock, EventId, EventRule, EventState, Timestamp, UserId};
use tokio::time::Instant;

use crate::IssuanceConfig;
use crate::metrics::Metrics;

/// With [`HASHES`], fewer than one shopper in a thousand asks the decider in vain.
const BITS_PER_WINNER: usize = 15;
const HASHES: u32 = 10;
/// How long an event whose latch could not be built, or a full house, is left alone.
const REST_MICROS: i64 = 10_000_000;
const FOREVER: u64 = u64::MAX;

/// What is remembered of a sold-out event.
pub(crate) struct Latch {
    /// The event answers by its stock from here …
    from: Timestamp,
    /// … until just before here.
    until: Timestamp,
    /// The event's version when it was read.
    version: u64,
    winners: BloomFilter<RandomState>,
}

/// What memory knows about a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// Sold out, for certain.
    SoldOut,
    /// The decider knows.
    AskDecider,
}

/// The latches of a process.
pub(crate) struct Latches {
    slots: ArcSwap<HashMap<EventId, Slot>>,
    began: Instant,
    /// Until when no change by another process can have been missed for long, in microseconds since
    /// they began; [`FOREVER`] where nobody else changes anything.
    trusted_until: AtomicU64,
    /// Whoever changes `slots` holds it.
    book: Mutex<Book>,
    latches_max: usize,
    bytes_max: usize,
    metrics: Metrics,
}

#[derive(Clone)]
enum Slot {
    /// The build with this number is under way.
    Building(u64),
    Latched(Arc<Latch>),
    /// No latch before this moment.
    Resting(Timestamp),
}

#[derive(Default)]
struct Book {
    /// Changes under way, by event.
    holds: HashMap<EventId, u32>,
    builds: u64,
    /// There is no room for another latch before this moment.
    full_until: Option<Timestamp>,
}

/// The right to build the latch of an event, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Build {
    pub(crate) event: EventId,
    number: u64,
}

/// Keeps an event without a latch until it is dropped.
pub(crate) struct Hold {
    latches: Arc<Latches>,
    event: EventId,
}

impl Latch {
    /// An empty latch of an event that is sold out now, at this version; none for any other.
    pub(crate) fn new(rule: &EventRule, version: u64, now: Timestamp) -> Option<Self> {
        if rule.state(now) != EventState::SoldOut {
            return None;
        }
        let opens_at = rule.window.opens_at();
        let from = if rule.opened_early { Timestamp::from_micros(0) } else { opens_at };
        let winners = BloomFilter::with_num_bits(rule.quantity.get() as usize * BITS_PER_WINNER)
            .hasher(RandomState::new())
            .hashes(HASHES);
        Some(Self { from, until: rule.window.closes_at(), version, winners })
    }

    /// Adds a winner.
    pub(crate) fn add(&mut self, user: &str) {
        self.winners.insert(user);
    }

    /// What it answers to a shopper at `now`.
    fn lookup(&self, user: &UserId, now: Timestamp) -> Lookup {
        if now < self.from || now >= self.until || self.winners.contains(user.as_str()) {
            Lookup::AskDecider
        } else {
            Lookup::SoldOut
        }
    }

    fn bytes(&self) -> usize {
        self.winners.num_bits() / 8
    }
}

impl Latches {
    pub(crate) fn new(config: &IssuanceConfig, metrics: Metrics) -> Self {
        Self {
            slots: ArcSwap::default(),
            began: Instant::now(),
            trusted_until: AtomicU64::new(FOREVER),
            book: Mutex::default(),
            latches_max: config.latches_max,
            bytes_max: config.latch_bytes_max,
            metrics,
        }
    }

    /// What memory knows about a claim. The clock is read only if there is a latch.
    pub(crate) fn lookup(&self, event: EventId, user: &UserId, clock: &dyn Clock) -> Lookup {
        match self.slots.load().get(&event) {
            Some(Slot::Latched(latch)) if self.is_trusted() => latch.lookup(user, clock.now()),
            Some(Slot::Latched(_) | Slot::Building(_) | Slot::Resting(_)) | None => {
                Lookup::AskDecider
            }
        }
    }

    /// The events that have a latch, each with the version that it was read at.
    pub(crate) fn versions(&self) -> Vec<(EventId, u64)> {
        let version = |(event, slot): (&EventId, &Slot)| match slot {
            Slot::Latched(latch) => Some((*event, latch.version)),
            Slot::Building(_) | Slot::Resting(_) => None,
        };
        self.slots.load().iter().filter_map(version).collect()
    }

    /// Lets the latches answer until this moment, or not for now.
    pub(crate) fn trust(&self, until: Option<Instant>) {
        let micros = until.map_or(0, |until| (until - self.began).as_micros());
        // Before it is for ever, it is 500,000 years.
        self.trusted_until.store(u64::try_from(micros).unwrap_or(FOREVER), Ordering::Relaxed);
    }

    fn is_trusted(&self) -> bool {
        match self.trusted_until.load(Ordering::Relaxed) {
            FOREVER => true,
            until => self.began.elapsed().as_micros() < u128::from(until),
        }
    }

    /// The decider says that the event is sold out: the right to build its latch, unless it has
    /// one, or someone builds it, or it must not have one now.
    pub(crate) fn begin(&self, event: EventId, now: Timestamp) -> Option<Build> {
        match self.slots.load().get(&event) {
            Some(Slot::Building(_) | Slot::Latched(_)) => return None,
            Some(Slot::Resting(until)) if now < *until => return None,
            Some(Slot::Resting(_)) | None => {}
        }
        let mut book = self.book();
        if book.holds.contains_key(&event) || !self.has_room(&mut book, now) {
            return None;
        }
        book.builds += 1;
        let number = book.builds;
        // Another claim may have been here first.
        let begun = self.change(&book, |slots| match slots.get(&event) {
            Some(Slot::Building(_) | Slot::Latched(_)) => false,
            Some(Slot::Resting(_)) | None => {
                slots.insert(event, Slot::Building(number));
                true
            }
        });
        begun.then_some(Build { event, number })
    }

    /// Ends a build: with its latch, or without one. Nothing happens if the event was changed
    /// since the build began.
    pub(crate) fn finish(&self, build: Build, latch: Option<Latch>, now: Timestamp) {
        let book = self.book();
        self.change(&book, |slots| {
            drop_ended(slots, now);
            let ours = matches!(
                slots.get(&build.event),
                Some(Slot::Building(number)) if *number == build.number
            );
            if !ours {
                self.metrics.latches_spoiled.increment(1);
                return;
            }
            let (slot, outcome) = match latch.filter(|latch| self.fits(slots, latch)) {
                Some(latch) => (Slot::Latched(Arc::new(latch)), &self.metrics.latches_built),
                None => (Slot::Resting(rest_until(now)), &self.metrics.latches_declined),
            };
            outcome.increment(1);
            slots.insert(build.event, slot);
        });
    }

    /// The event has no latch from here on until the hold is dropped.
    pub(crate) fn hold(self: &Arc<Self>, event: EventId) -> Hold {
        let mut book = self.book();
        *book.holds.entry(event).or_default() += 1;
        self.change(&book, |slots| slots.remove(&event));
        Hold { latches: Arc::clone(self), event }
    }

    /// The decider contradicts the event's latch, if there is one.
    pub(crate) fn forget(&self, event: EventId) {
        if self.slots.load().contains_key(&event) {
            let book = self.book();
            self.change(&book, |slots| slots.remove(&event));
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the slots; the book is the proof that nobody else does.
    fn change<T>(
        &self,
        _book: &MutexGuard<'_, Book>,
        change: impl FnOnce(&mut HashMap<EventId, Slot>) -> T,
    ) -> T {
        let mut slots = HashMap::clone(&self.slots.load());
        let changed = change(&mut slots);
        let latched = slots.values().filter(|slot| matches!(slot, Slot::Latched(_))).count();
        self.metrics.latches.set(u32::try_from(latched).unwrap_or(u32::MAX));
        self.slots.store(Arc::new(slots));
        changed
    }

    /// Whether another slot may be taken; slots of events that have ended make room.
    fn has_room(&self, book: &mut MutexGuard<'_, Book>, now: Timestamp) -> bool {
        if self.slots.load().len() < self.latches_max {
            return true;
        }
        if book.full_until.is_some_and(|until| now < until) {
            return false;
        }
        let left = self.change(book, |slots| {
            drop_ended(slots, now);
            slots.len()
        });
        let full = left >= self.latches_max;
        book.full_until = full.then(|| rest_until(now));
        !full
    }

    fn fits(&self, slots: &HashMap<EventId, Slot>, latch: &Latch) -> bool {
        let bytes = slots.values().map(|slot| match slot {
            Slot::Latched(latch) => latch.bytes(),
            Slot::Building(_) | Slot::Resting(_) => 0,
        });
        bytes.sum::<usize>() + latch.bytes() <= self.bytes_max
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut book = self.latches.book();
        if let Some(holds) = book.holds.get_mut(&self.event) {
            *holds -= 1;
            if *holds == 0 {
                book.holds.remove(&self.event);
            }
        }
    }
}

/// Drops what answers nothing any more.
fn drop_ended(slots: &mut HashMap<EventId, Slot>, now: Timestamp) {
    slots.retain(|_, slot| match slot {
        Slot::Building(_) => true,
        Slot::Latched(latch) => now < latch.until,
        Slot::Resting(until) => now < *until,
    });
}

fn rest_until(now: Timestamp) -> Timestamp {
    Timestamp::from_micros(now.as_micros().saturating_add(REST_MICROS))
}

#[cfg(test)]
mod tests;
