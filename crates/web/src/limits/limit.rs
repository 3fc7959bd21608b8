//! One limit: a quota for each key, and what was spent of it.

use axum::http::HeaderValue;
use metrics::{Counter, Unit, counter, describe_counter};

use super::fields::{self, LimitFields};
use super::kind::Kind;
use super::quota::{Exhausted, Micros, Quota, Standing};
use super::table::Table;
use crate::problem::{Code, Problem};

const REFUSED: &str = "firstcome_rate_limited_total";

/// Declares the metric of the limits with its help text. Call it once a recorder is installed.
pub fn describe_metrics() {
    describe_counter!(REFUSED, Unit::Count, "Requests refused by a rate limit, by which one.");
}

/// A limit that is on.
pub(super) struct Limit {
    kind: Kind,
    quota: Quota,
    spent: Table,
    policy: HeaderValue,
    refused: Counter,
}

impl Limit {
    pub(super) fn new(kind: Kind, quota: Quota, keys_max: usize) -> Self {
        Self {
            kind,
            quota,
            spent: Table::new(keys_max),
            policy: fields::policy(kind, quota),
            refused: counter!(REFUSED, "limit" => kind.word()),
        }
    }

    /// Takes one of the key's quota; 429 `rate_limited` when none is left, and nothing is taken.
    pub(super) fn spend(&self, key: u64, now: Micros) -> Result<Standing, Problem> {
        let spent = self.spent.change(key, |whole_at| self.quota.spend(whole_at, now));
        let whole_at = spent.map_err(|exhausted| self.refuse(exhausted))?;
        Ok(self.quota.standing(whole_at, now))
    }

    /// The same without taking it.
    pub(super) fn check(&self, key: u64, now: Micros) -> Result<(), Problem> {
        let checked = self.quota.check(self.spent.read(key), now);
        checked.map_err(|exhausted| self.refuse(exhausted))
    }

    /// Takes one also when none is left, and has it paid back before the next; at most so much of
    /// that.
    pub(super) fn owe(&self, key: u64, now: Micros, debt_max: Micros) {
        let owe = |whole_at| Ok::<_, Exhausted>(self.quota.owe(whole_at, now, debt_max));
        // It never refuses.
        let _owed = self.spent.change(key, owe);
    }

    /// What an answer says of a key that was not refused.
    pub(super) fn fields(&self, standing: Standing) -> LimitFields {
        LimitFields::left(self.kind, &self.policy, standing)
    }

    fn refuse(&self, exhausted: Exhausted) -> Problem {
        self.refused.increment(1);
        let seconds = u32::try_from(exhausted.retry_seconds).unwrap_or(u32::MAX);
        Problem::new(Code::RateLimited, self.kind.refusal())
            .retry_after_seconds(seconds)
            .limited(LimitFields::exhausted(self.kind, &self.policy, seconds))
    }
}

impl std::fmt::Debug for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Limit").field("kind", &self.kind).finish_non_exhaustive()
    }
}
