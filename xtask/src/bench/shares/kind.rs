//! The kinds of request, and what `docs/benchmarks.md` demands of each.

use crate::bench::ledger::Ledger;

/// What is asked again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Wins,
    SoldOut,
    EventPage,
    MyCoupons,
}

/// What a figure has to reach, and how that is said.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bar {
    pub(crate) limit: f64,
    pub(crate) text: &'static str,
}

const fn bar(limit: f64, text: &'static str) -> Option<Bar> {
    Some(Bar { limit, text })
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Wins, Self::SoldOut, Self::EventPage, Self::MyCoupons];

    /// Its name, for people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Wins => "every claim wins, durable, token checked",
            Self::SoldOut => "sold out, token checked",
            Self::EventPage => "an event's page, no token",
            Self::MyCoupons => "my coupons, one held, token checked",
        }
    }

    pub(crate) fn method(self) -> &'static str {
        match self {
            Self::Wins | Self::SoldOut => "POST",
            Self::EventPage | Self::MyCoupons => "GET",
        }
    }

    /// The least share of the limit's rate.
    pub(crate) fn share_min(self, ledger: Ledger) -> Option<Bar> {
        match (self, ledger) {
            (Self::Wins, Ledger::Sqlite) => bar(0.65, "≥ 0.65, aim 0.80"),
            (Self::Wins, Ledger::Postgres) => bar(0.40, "≥ 0.40, aim 0.60"),
            (Self::Wins, Ledger::Redis) => bar(0.28, "≥ 0.28, aim 0.45"),
            (Self::Wins, Ledger::Kafka) => bar(0.15, "≥ 0.15, aim 0.35"),
            (Self::SoldOut, Ledger::Sqlite) => bar(0.85, "≥ 0.85, aim 0.95"),
            _ => None,
        }
    }

    /// The most that the latency may be of the limit's.
    pub(crate) fn p99_ratio_max(self, ledger: Ledger) -> Option<Bar> {
        match (self, ledger) {
            (Self::Wins, Ledger::Sqlite) => bar(1.5, "≤ 1.5"),
            (Self::SoldOut, Ledger::Sqlite) => bar(1.2, "≤ 1.2"),
            _ => None,
        }
    }
}
