//! What an admin writes of an event.

use firstcome_core::{
    Commit, CouponId, EventId, EventRule, EventState, Invalid, Name, Quantity, Strategy, Timestamp,
    Window,
};
use firstcome_ledger::{EventRecord, NewEvent};
use firstcome_web::{Checks, Code, Integer, NameText, Problem, StrategyWord, present};
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::strategy::Restriction;

/// An event to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = NewEvent, examples(json!({
    "coupon_id": "0199a8e1-5f2c-7a10-9b00-0123456789ab", "name": "Ten o'clock drop",
    "quantity": 10000, "opens_at": "2026-11-27T10:00:00+09:00",
    "closes_at": "2026-11-27T12:00:00+09:00", "strategy": "ledger",
})))]
#[serde(deny_unknown_fields)]
pub struct EventBody {
    /// The coupon that it issues.
    #[schema(format = Uuid)]
    coupon_id: String,
    /// What people call it.
    #[schema(value_type = NameText)]
    name: String,
    /// How many coupons it has.
    #[schema(value_type = u32, minimum = 1, maximum = 10_000_000)]
    quantity: Integer,
    /// The first moment of its window.
    #[schema(format = DateTime)]
    opens_at: String,
    /// The first moment after its window.
    #[schema(format = DateTime)]
    closes_at: String,
    /// Who decides its claims; if absent, whoever the deployment names (`--strategy`).
    #[schema(value_type = Option<StrategyWord>, nullable = false)]
    #[serde(default, deserialize_with = "present")]
    strategy: Option<String>,
}

/// What shall change of an event; what is absent stays.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = EventChange, examples(json!({"quantity": 12000})))]
#[serde(deny_unknown_fields)]
pub struct EventPatch {
    /// What people call it.
    #[schema(value_type = Option<NameText>, nullable = false)]
    #[serde(default, deserialize_with = "present")]
    name: Option<String>,
    /// How many coupons it has; not below what is issued.
    #[schema(value_type = Option<u32>, nullable = false, minimum = 1, maximum = 10_000_000)]
    #[serde(default, deserialize_with = "present")]
    quantity: Option<Integer>,
    /// The first moment of its window.
    #[schema(nullable = false, format = DateTime)]
    #[serde(default, deserialize_with = "present")]
    opens_at: Option<String>,
    /// The first moment after its window.
    #[schema(nullable = false, format = DateTime)]
    #[serde(default, deserialize_with = "present")]
    closes_at: Option<String>,
}

/// A change of an event whose values are sound.
#[derive(Debug, Clone)]
pub(crate) struct EventChange {
    name: Option<Name>,
    quantity: Option<Quantity>,
    opens_at: Option<Timestamp>,
    closes_at: Option<Timestamp>,
}

impl EventBody {
    /// The event, with a new id.
    ///
    /// # Errors
    /// 422 `invalid` with every member that is not acceptable.
    pub(crate) fn parse(self, offered: Offered) -> Result<NewEvent, Problem> {
        let mut checks = Checks::new();
        let coupon_id = CouponId::parse(&self.coupon_id)
            .ok_or_else(|| Invalid::new("must be the id of a coupon"));
        let coupon_id = checks.field("/coupon_id", coupon_id);
        let name = checks.field("/name", Name::parse(&self.name));
        let quantity = checks.field("/quantity", Quantity::parse(self.quantity.0));
        let opens_at = checks.field("/opens_at", Timestamp::parse_rfc3339(&self.opens_at));
        let closes_at = checks.field("/closes_at", Timestamp::parse_rfc3339(&self.closes_at));
        let window = opens_at.zip(closes_at);
        let window =
            window.and_then(|(from, until)| checks.field("/closes_at", Window::new(from, until)));
        let strategy = checks.field("/strategy", offered.strategy(self.strategy.as_deref()));
        match (coupon_id, name, quantity, window, strategy) {
            (Some(coupon_id), Some(name), Some(quantity), Some(window), Some(strategy)) => {
                let rule = new_rule(quantity, window);
                let id = EventId::from_uuid(Uuid::now_v7());
                let commit = offered.commit(strategy);
                Ok(NewEvent { id, coupon_id, name, rule, strategy, commit })
            }
            _ => Err(checks.into_problem()),
        }
    }
}

fn new_rule(quantity: Quantity, window: Window) -> EventRule {
    EventRule { quantity, issued: 0, window, opened_early: false, paused: false, closed: false }
}

/// What a deployment can have events decided by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Offered {
    /// Where the event does not say.
    pub(crate) default: Strategy,
    /// What must hold wins that Redis decides.
    pub(crate) commit: Commit,
    /// Or what there is instead of one that can be used.
    pub(crate) redis: Result<(), &'static str>,
    /// Whether the ledger is on a database server.
    pub(crate) is_shared: bool,
}

impl Offered {
    const fn commit(self, strategy: Strategy) -> Commit {
        match strategy {
            Strategy::Redis => self.commit,
            Strategy::Ledger | Strategy::RedisLock => Commit::Ledger,
        }
    }

    fn strategy(self, word: Option<&str>) -> Result<Strategy, Invalid> {
        let Some(word) = word else { return Ok(self.default) };
        match Strategy::parse(word) {
            Some(Strategy::RedisLock | Strategy::Redis) if let Err(instead) = self.redis => {
                let sentence =
                    format!("needs Redis, and this deployment has {instead}; use ledger");
                Err(Invalid::new(sentence))
            }
            Some(Strategy::Redis) if !self.is_shared => Err(Invalid::new(
                "needs a ledger on PostgreSQL, MySQL or MariaDB, and this one is embedded; use \
                 ledger or redis_lock",
            )),
            Some(strategy) => Ok(strategy),
            None => {
                let words = Strategy::ALL.map(Strategy::as_str).join(", ");
                Err(Invalid::new(format!("must be one of {words}")))
            }
        }
    }
}

impl EventPatch {
    /// The change.
    ///
    /// # Errors
    /// 422 `invalid` with every member that is not acceptable.
    pub(crate) fn parse(self) -> Result<EventChange, Problem> {
        let mut checks = Checks::new();
        let name = self.name.as_deref().map(Name::parse);
        let name = checks.optional("/name", name).flatten();
        let quantity = self.quantity.map(|quantity| Quantity::parse(quantity.0));
        let quantity = checks.optional("/quantity", quantity).flatten();
        let opens_at = self.opens_at.as_deref().map(Timestamp::parse_rfc3339);
        let opens_at = checks.optional("/opens_at", opens_at).flatten();
        let closes_at = self.closes_at.as_deref().map(Timestamp::parse_rfc3339);
        let closes_at = checks.optional("/closes_at", closes_at).flatten();
        if let (Some(from), Some(until)) = (opens_at, closes_at) {
            checks.field("/closes_at", Window::new(from, until));
        }
        checks.finish(EventChange { name, quantity, opens_at, closes_at })
    }
}

impl EventChange {
    /// What it may take away from what the event allows.
    pub(crate) fn restricts(&self, event: &EventRecord) -> Option<Restriction> {
        let quantity = self.quantity.filter(|quantity| *quantity < event.rule.quantity);
        let may = quantity.is_some() || self.opens_at.is_some() || self.closes_at.is_some();
        let narrows_window = self.opens_at.is_some_and(|at| at > event.rule.window.opens_at())
            || self.closes_at.is_some_and(|at| at < event.rule.window.closes_at());
        may.then_some(Restriction { quantity, narrows_window })
    }

    /// The event after the change at `now`.
    ///
    /// # Errors
    /// 409 `wrong_state` for another window of a closed event, 409 `quantity_below_issued`, 422
    /// `invalid` for a window that would be empty.
    pub(crate) fn apply(self, before: EventRecord, now: Timestamp) -> Result<EventRecord, Problem> {
        let mut after = before;
        after.rule.window = self.window(after.rule, now)?;
        after.name = self.name.unwrap_or(after.name);
        if let Some(quantity) = self.quantity {
            after.rule.quantity = not_below_issued(quantity, after.rule.issued)?;
        }
        Ok(after)
    }

    fn window(&self, rule: EventRule, now: Timestamp) -> Result<Window, Problem> {
        let opens_at = self.opens_at.unwrap_or(rule.window.opens_at());
        let closes_at = self.closes_at.unwrap_or(rule.window.closes_at());
        let window = Window::new(opens_at, closes_at).map_err(|invalid| {
            let mut checks = Checks::new();
            match self.closes_at {
                Some(_) => checks.refuse("/closes_at", invalid.to_string()),
                None => checks.refuse("/opens_at", "must be earlier than closes_at"),
            }
            checks.into_problem()
        })?;
        if window != rule.window && rule.state(now) == EventState::Closed {
            let detail = "The window of a closed event does not change.";
            return Err(wrong_state(EventState::Closed, detail));
        }
        Ok(window)
    }
}

fn not_below_issued(quantity: Quantity, issued: u32) -> Result<Quantity, Problem> {
    if quantity.get() >= issued {
        return Ok(quantity);
    }
    let detail = format!("{issued} coupons are issued already; the quantity cannot be {quantity}.");
    Err(Problem::new(Code::QuantityBelowIssued, detail).with("issued", issued))
}

/// 409 `wrong_state`, with the state.
pub(crate) fn wrong_state(
    state: EventState,
    detail: impl Into<std::borrow::Cow<'static, str>>,
) -> Problem {
    Problem::new(Code::WrongState, detail).with("state", state)
}
