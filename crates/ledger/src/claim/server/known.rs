//! What a process knows of the events whose claims it decides, so that it can decide and commit
//! the next batch in one message.
//!
//! It is a guess, that the database checks: where it is wrong, a batch takes longer.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use firstcome_core::{EventId, IssuedCouponId, UserId};

use super::super::batch::LiveEvent;

/// Events that are remembered; with more, all are forgotten.
const EVENTS_MAX: usize = 50_000;
/// Holders that are remembered, of all events; with more, all are forgotten. Some 20 MiB.
const HOLDERS_MAX: usize = 1_000_000;
/// Most batches that are decided by a look first, after guesses that were wrong: 2 to this power.
const DOUBT_MAX: u32 = 6;
/// Batches of which everyone is looked up, after a batch with a holder who was not known.
const LOOKED_UP_AFTER: u32 = 64;

/// An event as a batch has left it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Known {
    pub(super) version: u64,
    pub(super) issued: u32,
}

/// What is thought of a batch on one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Guess {
    pub(super) known: Known,
    /// None of the users holds a coupon.
    pub(super) all_new: bool,
}

/// The events that were open when this process decided their last batch.
#[derive(Default)]
pub(super) struct KnownEvents(Mutex<Memory>);

#[derive(Default)]
struct Memory {
    events: HashMap<EventId, Entry>,
    /// The ends of the ids, which are random, of coupons that were seen or issued.
    holders: HashSet<u64>,
}

struct Entry {
    known: Known,
    /// How often in a row the event was not as it was known. Where several processes decide its
    /// claims that is the rule, and a guess only costs time.
    wrong: u32,
    /// Batches that are to be decided by a look before the next guess.
    looks: u32,
    /// Batches of which nobody is taken for new.
    looked_up: u32,
}

impl KnownEvents {
    /// How the event is, and whether these users are new, if a guess is worth it.
    pub(super) fn guess(&self, id: EventId, takers: &[(IssuedCouponId, &UserId)]) -> Option<Guess> {
        let mut memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Memory { events, holders } = &mut *memory;
        let entry = events.get_mut(&id)?;
        if entry.looks > 0 {
            entry.looks -= 1;
            return None;
        }
        let looked_up = entry.looked_up > 0;
        entry.looked_up = entry.looked_up.saturating_sub(1);
        let all_new = !looked_up && !takers.iter().any(|(id, _)| holders.contains(&end(*id)));
        Some(Guess { known: entry.known, all_new })
    }

    /// The guess was right, and the event has issued so many by now.
    pub(super) fn was_right(
        &self,
        id: EventId,
        issued: u32,
        holders: impl Iterator<Item = IssuedCouponId>,
    ) {
        let mut memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = memory.events.get_mut(&id) {
            entry.known.issued = issued;
            entry.wrong = 0;
        }
        memory.add(holders);
    }

    /// The event was not as it was known.
    pub(super) fn was_wrong(&self, id: EventId) {
        let mut memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = memory.events.get_mut(&id) {
            entry.wrong = (entry.wrong + 1).min(DOUBT_MAX);
            entry.looks = 1 << entry.wrong;
        }
    }

    /// Somebody who was taken for new was not.
    pub(super) fn met_holders(&self, id: EventId) {
        let mut memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = memory.events.get_mut(&id) {
            entry.looked_up = LOOKED_UP_AFTER;
        }
    }

    /// Remembers an open event with what it has issued by now, and forgets one that is not open.
    pub(super) fn looked_at(
        &self,
        event: &LiveEvent,
        issued: u32,
        is_open: bool,
        holders: impl Iterator<Item = IssuedCouponId>,
    ) {
        let mut memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        memory.add(holders);
        if !is_open {
            memory.events.remove(&event.id);
            return;
        }
        let known = Known { version: event.version, issued };
        if let Some(entry) = memory.events.get_mut(&event.id) {
            entry.known = known;
            return;
        }
        if memory.events.len() >= EVENTS_MAX {
            memory.events.clear();
        }
        memory.events.insert(event.id, Entry { known, wrong: 0, looks: 0, looked_up: 0 });
    }
}

impl Memory {
    fn add(&mut self, holders: impl Iterator<Item = IssuedCouponId>) {
        if self.holders.len() >= HOLDERS_MAX {
            self.holders = HashSet::new();
        }
        self.holders.extend(holders.map(end));
    }
}

fn end(id: IssuedCouponId) -> u64 {
    id.as_uuid().as_u64_pair().1
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUED: u32 = 7;

    fn event_id() -> EventId {
        EventId::from_uuid(uuid::Uuid::from_u128(1))
    }

    fn user(name: &str) -> UserId {
        UserId::parse(name).expect("a user id")
    }

    fn held(name: &str) -> IssuedCouponId {
        IssuedCouponId::derive(event_id(), &user(name))
    }

    fn guess(events: &KnownEvents, names: &[&str]) -> Option<Guess> {
        let users: Vec<_> = names.iter().map(|name| (held(name), user(name))).collect();
        let takers: Vec<_> = users.iter().map(|(id, user)| (*id, user)).collect();
        events.guess(event_id(), &takers)
    }

    /// After a look at an open event of which `kim` holds a coupon.
    fn looked_at() -> KnownEvents {
        let columns = crate::records::EventColumns {
            no: 1,
            id: event_id().as_uuid(),
            coupon_id: uuid::Uuid::from_u128(2),
            quantity: 9,
            issued: 0,
            opens_at: 0,
            closes_at: 9,
            opened_early: false,
            paused: false,
            closed: false,
            valid_from: None,
            valid_until: None,
            valid_days: Some(1),
            version: 3,
            erased: 0,
            epoch: 0,
        };
        let event = LiveEvent::try_from(columns).expect("a sound row");
        let events = KnownEvents::default();
        events.looked_at(&event, ISSUED, true, [held("kim")].into_iter());
        events
    }

    #[test]
    fn an_event_is_guessed_as_it_was_left() {
        let events = looked_at();
        let known = Known { version: 3, issued: ISSUED };
        assert_eq!(guess(&events, &["lee"]), Some(Guess { known, all_new: true }));
        assert_eq!(guess(&events, &["lee", "kim"]), Some(Guess { known, all_new: false }));
        events.was_right(event_id(), 8, [held("lee")].into_iter());
        let known = Known { version: 3, issued: 8 };
        assert_eq!(guess(&events, &["lee"]), Some(Guess { known, all_new: false }));
        let unknown = EventId::from_uuid(uuid::Uuid::from_u128(9));
        assert_eq!(events.guess(unknown, &[]), None);
    }

    #[test]
    fn after_guesses_that_were_wrong_there_are_more_and_more_looks() {
        let events = looked_at();
        for looks in [2, 4, 8, 16, 32, 64, 64] {
            events.was_wrong(event_id());
            for _ in 0..looks {
                assert_eq!(guess(&events, &["lee"]), None);
            }
            assert!(guess(&events, &["lee"]).is_some());
        }
        events.was_right(event_id(), 8, std::iter::empty());
        events.was_wrong(event_id());
        assert_eq!([(); 3].map(|()| guess(&events, &["lee"]).is_some()), [false, false, true]);
    }

    #[test]
    fn after_an_unknown_holder_everyone_is_looked_up_for_a_while() {
        let events = looked_at();
        events.met_holders(event_id());
        for _ in 0..LOOKED_UP_AFTER {
            assert!(!guess(&events, &["lee"]).expect("a guess").all_new);
        }
        assert!(guess(&events, &["lee"]).expect("a guess").all_new);
    }
}
