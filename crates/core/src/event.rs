//! An event's lifecycle: when it is open is derived from what is stored, the window and the stock.

use crate::{Invalid, Quantity, Timestamp};

/// When an event is open by the clock: `[opens_at, closes_at)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    opens_at: Timestamp,
    closes_at: Timestamp,
}

impl Window {
    /// The window from `opens_at` until just before `closes_at`.
    ///
    /// # Errors
    /// When it would be empty.
    pub fn new(opens_at: Timestamp, closes_at: Timestamp) -> Result<Self, Invalid> {
        if opens_at < closes_at {
            Ok(Self { opens_at, closes_at })
        } else {
            Err(Invalid::new("must be later than opens_at"))
        }
    }

    /// The first moment of the window.
    #[must_use]
    pub const fn opens_at(&self) -> Timestamp {
        self.opens_at
    }

    /// The first moment after the window.
    #[must_use]
    pub const fn closes_at(&self) -> Timestamp {
        self.closes_at
    }
}

/// What decides an event's claims, and what a claim can change: the stored part of its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventRule {
    /// How many coupons it has.
    pub quantity: Quantity,
    /// How many are issued; also the last sequence given. Never above `quantity`.
    pub issued: u32,
    /// When it is open by the clock.
    pub window: Window,
    /// Opened by hand: the start of the window no longer matters.
    pub opened_early: bool,
    /// Paused by hand.
    pub paused: bool,
    /// Closed, by hand or by the clock; never taken back, whatever a clock does.
    pub closed: bool,
}

/// What people see of an event's lifecycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EventState {
    /// Its window has not begun, and nobody opened it early.
    Scheduled,
    /// Claims can win.
    Open,
    /// Paused by hand.
    Paused,
    /// Every coupon is issued.
    SoldOut,
    /// Its window has ended, or it was closed by hand.
    Closed,
}

impl EventState {
    /// Every state.
    pub const ALL: [Self; 5] =
        [Self::Scheduled, Self::Open, Self::Paused, Self::SoldOut, Self::Closed];

    /// The state's word in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Open => "open",
            Self::Paused => "paused",
            Self::SoldOut => "sold_out",
            Self::Closed => "closed",
        }
    }

    /// The state with this word; none for any other.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

/// What an admin does to an event's lifecycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Open before the window begins.
    Open,
    /// Stop answering claims with a win, for a while.
    Pause,
    /// End a pause.
    Resume,
    /// End the event for good.
    Close,
}

/// The action does not fit the state that the event is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the event is {}", state.as_str())]
pub struct WrongState {
    /// The state that it is in.
    pub state: EventState,
}

impl EventRule {
    /// The state at `now`. What people see and what claims meet are the same.
    #[must_use]
    pub fn state(&self, now: Timestamp) -> EventState {
        if self.closed || now >= self.window.closes_at {
            EventState::Closed
        } else if self.paused {
            EventState::Paused
        } else if now < self.window.opens_at && !self.opened_early {
            EventState::Scheduled
        } else if self.issued >= self.quantity.get() {
            EventState::SoldOut
        } else {
            EventState::Open
        }
    }

    /// How many coupons are left.
    #[must_use]
    pub fn remaining(&self) -> u32 {
        assert!(self.issued <= self.quantity.get(), "more coupons issued than the event has");
        self.quantity.get() - self.issued
    }

    /// The rule after an admin's action at `now`.
    ///
    /// # Errors
    /// [`WrongState`] when the action does not fit the present state.
    pub fn apply(self, action: Action, now: Timestamp) -> Result<Self, WrongState> {
        let state = self.state(now);
        match (action, state) {
            (Action::Open, EventState::Scheduled) => Ok(Self { opened_early: true, ..self }),
            (Action::Pause, EventState::Open | EventState::SoldOut) => {
                Ok(Self { paused: true, ..self })
            }
            (Action::Resume, EventState::Paused) => Ok(Self { paused: false, ..self }),
            (Action::Close, EventState::Closed) => Err(WrongState { state }),
            (Action::Close, _) => Ok(Self { closed: true, ..self }),
            (Action::Open | Action::Pause | Action::Resume, _) => Err(WrongState { state }),
        }
    }
}

/// Who decides an event's claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// The ledger itself.
    Ledger,
    /// The ledger, ordered by a lock in Redis.
    RedisLock,
    /// Redis, by a Lua script.
    Redis,
}

impl Strategy {
    /// Every strategy.
    pub const ALL: [Self; 3] = [Self::Ledger, Self::RedisLock, Self::Redis];

    /// The strategy's word in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ledger => "ledger",
            Self::RedisLock => "redis_lock",
            Self::Redis => "redis",
        }
    }

    /// The strategy with this word; none for any other.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|strategy| strategy.as_str() == word)
    }
}

/// What must hold a won claim before its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Commit {
    /// The ledger.
    Ledger,
    /// A topic of Kafka, from which workers write the ledger.
    Kafka,
    /// Redis itself, from which workers write the ledger.
    RedisStream,
}

impl Commit {
    /// Every commit.
    pub const ALL: [Self; 3] = [Self::Ledger, Self::Kafka, Self::RedisStream];

    /// The commit's word in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ledger => "ledger",
            Self::Kafka => "kafka",
            Self::RedisStream => "redis_stream",
        }
    }

    /// The commit with this word; none for any other.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|commit| commit.as_str() == word)
    }
}
