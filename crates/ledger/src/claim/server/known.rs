//! What a process knows of the events whose claims it decides, so that it can decide and commit
//! the next batch in one message.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use firstcome_core::EventId;

use super::super::batch::LiveEvent;

/// Events that are remembered; with more, all are forgotten.
const EVENTS_MAX: usize = 10_000;
/// Most batches that are decided by a look first, after guesses that were wrong: 2 to this power.
const DOUBT_MAX: u32 = 6;

/// An event as a batch has left it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Known {
    pub(super) version: u64,
    pub(super) issued: u32,
}

/// The events that were open when this process decided their last batch.
#[derive(Default)]
pub(super) struct KnownEvents(Mutex<HashMap<EventId, Entry>>);

struct Entry {
    known: Known,
    /// How often in a row the event was not as it was known. Where several processes decide its
    /// claims that is the rule, and a guess only costs time.
    wrong: u32,
    /// Batches that are to be decided by a look before the next guess.
    looks: u32,
}

impl KnownEvents {
    /// How the event is, if a guess is worth it. Counts the batches that are not guessed.
    pub(super) fn guess(&self, id: EventId) -> Option<Known> {
        let mut events = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = events.get_mut(&id)?;
        if entry.looks > 0 {
            entry.looks -= 1;
            return None;
        }
        Some(entry.known)
    }

    /// The guess was right, and the event has issued so many by now.
    pub(super) fn was_right(&self, id: EventId, issued: u32) {
        let mut events = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = events.get_mut(&id) {
            entry.known.issued = issued;
            entry.wrong = 0;
        }
    }

    /// The guess was wrong.
    pub(super) fn was_wrong(&self, id: EventId) {
        let mut events = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = events.get_mut(&id) {
            entry.wrong = (entry.wrong + 1).min(DOUBT_MAX);
            entry.looks = 1 << entry.wrong;
        }
    }

    /// Remembers an open event with what it has issued by now, and forgets one that is not open.
    pub(super) fn looked_at(&self, event: &LiveEvent, issued: u32, is_open: bool) {
        let mut events = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_open {
            events.remove(&event.id);
            return;
        }
        let known = Known { version: event.version, issued };
        if let Some(entry) = events.get_mut(&event.id) {
            entry.known = known;
            return;
        }
        if events.len() >= EVENTS_MAX {
            events.clear();
        }
        events.insert(event.id, Entry { known, wrong: 0, looks: 0 });
    }
}
