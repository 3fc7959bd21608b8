//! A second, naive implementation of an event: nothing but a log of what happened, read from its
//! beginning for each question. It shares no state, no shortcut and no line with the rule.

use firstcome_core::{Action, EventState, Timestamp, UserId, Verdict, Window};

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    /// An admin set the quantity.
    Quantity(u32),
    /// An admin's action was taken.
    Acted(Action),
    /// Claims were looked at, at this moment.
    Looked(Timestamp),
    /// A user won.
    Won(UserId),
}

/// An event as its log.
#[derive(Debug, Clone)]
pub(crate) struct Reference {
    window: Window,
    log: Vec<Entry>,
}

impl Reference {
    pub(crate) fn new(window: Window, quantity: u32) -> Self {
        Self { window, log: vec![Entry::Quantity(quantity)] }
    }

    /// Who won, in their order.
    pub(crate) fn winners(&self) -> Vec<&UserId> {
        let mut winners = Vec::new();
        for entry in &self.log {
            if let Entry::Won(user) = entry {
                winners.push(user);
            }
        }
        winners
    }

    pub(crate) fn claim(&mut self, user: &UserId, now: Timestamp) -> Verdict {
        self.look(now);
        if let Some(place) = self.winners().iter().position(|winner| *winner == user) {
            return Verdict::AlreadyClaimed(place_to_sequence(place));
        }
        match self.state(now) {
            EventState::Closed => Verdict::Closed,
            EventState::Paused => Verdict::Paused,
            EventState::Scheduled => Verdict::NotOpen { opens_at: self.window.opens_at() },
            EventState::SoldOut => Verdict::SoldOut,
            EventState::Open => {
                self.log.push(Entry::Won(user.clone()));
                Verdict::Issued(place_to_sequence(self.winners().len() - 1))
            }
        }
    }

    pub(crate) fn look(&mut self, now: Timestamp) {
        self.log.push(Entry::Looked(now));
    }

    /// Takes the action if it fits; whether it did.
    pub(crate) fn act(&mut self, action: Action, now: Timestamp) -> bool {
        let state = self.state(now).as_str();
        let fits = match action {
            Action::Open => ["scheduled"].contains(&state),
            Action::Pause => ["open", "sold_out"].contains(&state),
            Action::Resume => ["paused"].contains(&state),
            Action::Close => ["scheduled", "open", "sold_out", "paused"].contains(&state),
        };
        if fits {
            self.log.push(Entry::Acted(action));
        }
        fits
    }

    /// Sets the quantity unless more are issued already; whether it did.
    pub(crate) fn set_quantity(&mut self, quantity: u32) -> bool {
        let fits = self.winners().len() <= quantity as usize;
        if fits {
            self.log.push(Entry::Quantity(quantity));
        }
        fits
    }

    /// The state as the log tells it.
    pub(crate) fn state(&self, now: Timestamp) -> EventState {
        let ended = |entry: &Entry| match entry {
            Entry::Acted(Action::Close) => true,
            Entry::Looked(then) => *then >= self.window.closes_at(),
            _ => false,
        };
        let last_hold = self.log.iter().rev().find_map(|entry| match entry {
            Entry::Acted(Action::Pause) => Some(true),
            Entry::Acted(Action::Resume) => Some(false),
            _ => None,
        });
        let opened = self.log.contains(&Entry::Acted(Action::Open));
        if now >= self.window.closes_at() || self.log.iter().any(ended) {
            EventState::Closed
        } else if last_hold == Some(true) {
            EventState::Paused
        } else if !opened && now < self.window.opens_at() {
            EventState::Scheduled
        } else if self.winners().len() == self.quantity() as usize {
            EventState::SoldOut
        } else {
            EventState::Open
        }
    }

    /// The quantity that was set last.
    fn quantity(&self) -> u32 {
        let set = |entry: &Entry| match entry {
            Entry::Quantity(quantity) => Some(*quantity),
            _ => None,
        };
        self.log.iter().rev().find_map(set).expect("the log begins with a quantity")
    }
}

fn place_to_sequence(place: usize) -> firstcome_core::Sequence {
    let counted = i128::try_from(place + 1).expect("a short log");
    firstcome_core::Sequence::parse(counted).expect("a short log")
}
